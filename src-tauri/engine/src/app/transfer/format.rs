//! The file of an exported log, line by line. docs/EXPORT.md describes it for other programs.
//!
//! Each line is one JSON object of two members: what it is, and a SHA-256. An event's digest covers the digest of the
//! event before it, so a line that was changed, left out, put elsewhere or added shows at that very line.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub const FORMAT: &str = "bizing-desk-log";
pub const VERSION: u32 = 1;
/// A payload has at most 1 MB; nothing that this program writes comes near this.
pub const LINE_MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: String,
    pub version: u32,
    pub installation: String,
    pub mode: String,
    pub app_version: String,
    pub exported_at: DateTime<Utc>,
    /// The event before the first one of the file.
    pub after: Place,
    /// Every event up to this position is in the file.
    pub upto: i64,
    pub events: u64,
}

/// Where an event stands, and what it is. Position 0 is the beginning of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    pub position: i64,
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub events: u64,
    pub last_position: i64,
    /// Digest of the last event's line. Two files of the same events have the same one.
    pub log_sha256: String,
}

/// An event as it stands in a line, in this order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLine<'a> {
    pub position: i64,
    #[serde(borrow)]
    pub stream: std::borrow::Cow<'a, str>,
    pub version: i64,
    #[serde(borrow)]
    pub name: std::borrow::Cow<'a, str>,
    pub schema_version: i16,
    pub event_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    #[serde(with = "micros")]
    pub occurred_at: DateTime<Utc>,
    #[serde(with = "micros")]
    pub recorded_at: DateTime<Utc>,
    #[serde(borrow)]
    pub actor: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub metadata: &'a RawValue,
    #[serde(borrow)]
    pub data: &'a RawValue,
    #[serde(borrow)]
    pub hash: std::borrow::Cow<'a, str>,
}

/// One of three, as read: its body byte for byte.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    header: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    footer: Option<&'a RawValue>,
    #[serde(borrow)]
    sha256: std::borrow::Cow<'a, str>,
}

#[derive(Debug)]
pub enum Part<'a> {
    Header(Header),
    /// The event, and its body as it stands.
    Event(EventLine<'a>, &'a str),
    Footer(Footer),
}

/// Carries the digest from line to line, in writing and in reading alike.
#[derive(Default)]
pub struct Chain {
    last: [u8; 32],
}

impl Chain {
    pub fn header(&self, header: &Header) -> String {
        let body = json(header);
        let sha256 = hex(&Sha256::digest(body.as_bytes()));
        format!("{{\"header\":{body},\"sha256\":\"{sha256}\"}}\n")
    }

    pub fn event(&mut self, body: &str) -> String {
        self.last = next(&self.last, body);
        format!("{{\"event\":{body},\"sha256\":\"{}\"}}\n", hex(&self.last))
    }

    pub fn footer(&self, events: u64, last_position: i64) -> String {
        let body = json(&Footer {
            events,
            last_position,
            log_sha256: hex(&self.last),
        });
        let sha256 = hex(&next(&self.last, &body));
        format!("{{\"footer\":{body},\"sha256\":\"{sha256}\"}}\n")
    }

    pub fn log_sha256(&self) -> String {
        hex(&self.last)
    }

    /// Reads a line without its line feed. `Err` is the rule that it breaks.
    pub fn read<'a>(&mut self, line: &'a [u8]) -> Result<Part<'a>, String> {
        let text = std::str::from_utf8(line)
            .map_err(|e| format!("it is not UTF-8 from byte {} on", e.valid_up_to() + 1))?;
        let line: Line<'_> = serde_json::from_str(text)
            .map_err(|e| format!("it is not a line of this format: {e}"))?;
        let (part, expected) = match (line.header, line.event, line.footer) {
            (Some(body), None, None) => {
                let digest: [u8; 32] = Sha256::digest(body.get().as_bytes()).into();
                (Part::Header(parsed("header", body.get())?), digest)
            }
            (None, Some(body), None) => {
                let digest = next(&self.last, body.get());
                if hex(&digest) != line.sha256 {
                    return Err(ALTERED.to_owned());
                }
                self.last = digest;
                (
                    Part::Event(parsed("event", body.get())?, body.get()),
                    digest,
                )
            }
            (None, None, Some(body)) => {
                let digest = next(&self.last, body.get());
                (Part::Footer(parsed("footer", body.get())?), digest)
            }
            _ => return Err("it is neither a header nor an event nor a footer".to_owned()),
        };
        if hex(&expected) != line.sha256 {
            return Err(ALTERED.to_owned());
        }
        Ok(part)
    }
}

const ALTERED: &str = "its sha256 does not follow from the line before it: the line was changed, or a line was added, left out or put elsewhere";

impl EventLine<'_> {
    pub fn body(&self) -> String {
        json(self)
    }

    pub fn hash_bytes(&self) -> Result<Vec<u8>, String> {
        let text = self.hash.as_bytes();
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        let bytes: Option<Vec<u8>> = text
            .chunks(2)
            .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
            .collect();
        bytes
            .filter(|b| b.len() == 32)
            .ok_or_else(|| "`hash` is not 64 hexadecimal digits".to_owned())
    }

    /// The payload as a tree, for those who check it against its schema.
    pub fn payload(&self) -> Result<Value, String> {
        parsed("event.data", self.data.get())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[(b >> 4) as usize] as char);
        out.push(DIGITS[(b & 15) as usize] as char);
    }
    out
}

fn next(before: &[u8; 32], body: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(before)
        .chain_update(body.as_bytes())
        .finalize()
        .into()
}

fn parsed<'a, T: Deserialize<'a>>(what: &str, body: &'a str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|e| format!("`{what}` cannot be read: {e}"))
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs of strings and numbers become JSON")
}

/// Always six digits, always `Z`: the database keeps microseconds, and the same instant is the same text.
mod micros {
    use super::*;

    pub fn serialize<S: serde::Serializer>(at: &DateTime<Utc>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"position":7,"stream":"booking-01","version":1,"name":"BookingExpired","schema_version":1,"event_id":"00000000-0000-0000-0000-000000000001","correlation_id":"00000000-0000-0000-0000-000000000002","causation_id":null,"occurred_at":"2026-11-24T10:00:00.000001Z","recorded_at":"2026-11-24T10:00:00.000000Z","actor":"ana","metadata":{},"data":{"n": 1.50},"hash":"00"}"#;

    fn written() -> Vec<String> {
        let mut chain = Chain::default();
        let lines = [chain.event(BODY), chain.event(&BODY.replace(":7,", ":9,"))];
        let footer = chain.footer(2, 9);
        lines.into_iter().chain([footer]).collect()
    }

    fn read(lines: &[String]) -> Vec<Result<(), String>> {
        let mut chain = Chain::default();
        let each = lines
            .iter()
            .map(|l| chain.read(l.trim_end().as_bytes()).map(|_| ()));
        each.collect()
    }

    #[test]
    fn what_is_written_is_read_and_written_again_as_the_same_bytes() {
        assert!(read(&written()).iter().all(Result::is_ok));
        let lines = written();
        let mut chain = Chain::default();
        let Ok(Part::Event(event, body)) = chain.read(lines[0].trim_end().as_bytes()) else {
            panic!("an event");
        };
        assert_eq!((event.body().as_str(), body), (BODY, BODY));
    }

    #[test]
    fn a_change_of_one_sign_shows_at_its_line() {
        let mut lines = written();
        lines[1] = lines[1].replace("\"ana\"", "\"bea\"");
        assert_eq!(read(&lines)[..2], [Ok(()), Err(ALTERED.to_owned())]);
    }

    #[test]
    fn a_line_that_is_missing_or_moved_shows_where_the_order_breaks() {
        let lines = written();
        assert_eq!(read(&lines[1..])[0], Err(ALTERED.to_owned()));
        let turned = [lines[1].clone(), lines[0].clone()];
        assert_eq!(read(&turned)[0], Err(ALTERED.to_owned()));
    }
}
