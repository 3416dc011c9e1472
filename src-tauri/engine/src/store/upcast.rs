//! Reading old shapes: from the data of any version that was ever written to today's event.
//!
//! A [`Reader`] is found once per type of a page; with it an event of today's shape goes from its text straight into
//! the typed event, and an older one through its steps. Stored events never change.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::event::{Event, EventType};
use crate::domain::upcasters::{Step, steps};

/// JSON as it came from the database, parsed by whoever needs it.
#[derive(Clone)]
pub struct Payload(Box<str>);

impl Payload {
    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or(Value::Null)
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(raw: Box<RawValue>) -> Payload {
        Payload(raw.into())
    }
}

/// Text of a `jsonb` column: the server vouches for it.
impl From<&str> for Payload {
    fn from(text: &str) -> Payload {
        Payload(text.into())
    }
}

/// Why events of a type and version cannot be read by this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    #[error("this program knows no event of that name")]
    UnknownType,
    #[error("it was written by a later version of the app: this one knows versions up to {knows}")]
    FromTheFuture { knows: i16 },
    #[error("there never was such a version: this program knows 1 to {knows}")]
    UnknownVersion { knows: i16 },
}

/// How the data of one type and version becomes today's event.
#[derive(Clone, Copy)]
pub struct Reader {
    kind: &'static EventType,
    steps: &'static [Step],
}

/// One step taken, for whoever wants to see the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Upcast {
    pub from: i16,
    pub to: i16,
    pub what: &'static str,
    /// The data after it.
    pub data: Value,
}

pub fn reader(name: &str, version: i16) -> Result<Reader, Unreplayable> {
    let kind = EventType::named(name).ok_or(Unreplayable::UnknownType)?;
    let knows = kind.current();
    match version {
        v if v > knows => Err(Unreplayable::FromTheFuture { knows }),
        v if kind.shape(v).is_none() => Err(Unreplayable::UnknownVersion { knows }),
        v => Ok(Reader {
            kind,
            steps: &steps(name)[usize::from(v.unsigned_abs()) - 1..],
        }),
    }
}

impl Reader {
    pub fn read(&self, data: &Payload) -> serde_json::Result<Event> {
        self.read_text(data.text())
    }

    pub fn read_text(&self, data: &str) -> serde_json::Result<Event> {
        if self.steps.is_empty() {
            return (self.kind.from_text)(data);
        }
        self.read_value(serde_json::from_str(data)?)
    }

    pub fn read_value(&self, data: Value) -> serde_json::Result<Event> {
        // A step is written for data of its version. What is no object is none, and says so when it is read.
        if !data.is_object() {
            return (self.kind.from_value)(&data);
        }
        (self.kind.from_value)(&self.steps.iter().fold(data, |data, step| (step.run)(data)))
    }

    /// Each step with what it made of the data; empty for an event of today's version.
    pub fn way(&self, data: &Value) -> Vec<Upcast> {
        let mut at = data.clone();
        self.steps
            .iter()
            .filter(|_| data.is_object())
            .map(|step| {
                at = (step.run)(std::mem::take(&mut at));
                Upcast {
                    from: step.from,
                    to: step.from + 1,
                    what: step.what,
                    data: at.clone(),
                }
            })
            .collect()
    }

    pub fn current(&self) -> i16 {
        self.kind.current()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {} steps", self.kind.name, self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::TYPES;

    #[test]
    fn every_version_of_every_type_leads_to_todays_without_a_step_left_out() {
        for kind in TYPES {
            let versions: Vec<i16> = kind.versions.iter().map(|s| s.version).collect();
            assert_eq!(
                versions,
                (1..=kind.current()).collect::<Vec<_>>(),
                "{}",
                kind.name
            );
            let from: Vec<i16> = steps(kind.name).iter().map(|s| s.from).collect();
            assert_eq!(
                from,
                (1..kind.current()).collect::<Vec<_>>(),
                "{}",
                kind.name
            );
            for version in versions {
                let reader = reader(kind.name, version).unwrap();
                assert_eq!(
                    reader.steps.len(),
                    (kind.current() - version).unsigned_abs() as usize
                );
            }
        }
    }

    #[test]
    fn what_this_program_does_not_know_has_a_reason_of_its_own() {
        let why = |name, version| reader(name, version).unwrap_err();
        assert_eq!(why("SlotMoved", 1), Unreplayable::UnknownType);
        assert_eq!(
            why("BookingConfirmed", 9),
            Unreplayable::FromTheFuture { knows: 1 }
        );
        assert_eq!(
            why("BookingConfirmed", 0),
            Unreplayable::UnknownVersion { knows: 1 }
        );
        assert_eq!(
            why("BookingConfirmed", -1),
            Unreplayable::UnknownVersion { knows: 1 }
        );
    }

    #[test]
    fn data_that_is_no_object_is_an_error_and_never_a_panic() {
        for text in ["null", "[]", "\"x\"", "7", "{}"] {
            let value: Value = serde_json::from_str(text).unwrap();
            for version in [1, 2] {
                let reader = reader("BookingCancelled", version).unwrap();
                assert!(reader.read_value(value.clone()).is_err(), "{text}");
                reader.way(&value);
            }
        }
    }
}
