//! What an append may not be, said with the field and the rule before anything is sent. The database holds the same limits
//! for whoever calls it by other means.

use serde_json::value::RawValue;

use super::columns::data_text;
use super::{Append, AppendError};

/// Of one event's data, as JSON.
pub const MAX_DATA_BYTES: usize = 1_048_576;
/// Of one call.
pub const MAX_EVENTS: usize = 10_000;
/// Streams, of one call.
pub const MAX_REQUESTS: usize = 1_000;

pub fn check(appends: &[Append]) -> Result<(), AppendError> {
    let events = appends.iter().map(|a| a.events.len()).sum::<usize>();
    if appends.len() > MAX_REQUESTS || events > MAX_EVENTS {
        return Err(invalid(
            "events",
            format!(
                "an append takes up to {MAX_REQUESTS} requests and {MAX_EVENTS} events, not {} and {events}; send them in several appends",
                appends.len()
            ),
        ));
    }
    match appends.iter().find(|a| !is_stream_name(&a.stream.0)) {
        None => Ok(()),
        Some(bad) => Err(invalid(
            "stream",
            format!(
                "a stream is called by its category and an id, as in booking-0193a1b2-…, not {}",
                bad.stream.0.chars().take(60).collect::<String>()
            ),
        )),
    }
}

/// The data of each event as it goes over the wire.
pub fn payload(append: &Append) -> Result<Vec<Box<RawValue>>, AppendError> {
    let texts = append.events.iter().map(|new| data_text(&new.event));
    texts
        .enumerate()
        .map(|(index, data)| {
            let bytes = data.get().len();
            let rule = if bytes > MAX_DATA_BYTES {
                format!("the data of an event may have up to 1 MB, not {bytes} bytes")
            } else if has_nul(data.get()) {
                "a text may not hold the character U+0000, which PostgreSQL cannot store".to_owned()
            } else {
                return Ok(data);
            };
            Err(invalid(format!("events[{index}].data"), rule))
        })
        .collect()
}

fn invalid(field: impl Into<String>, rule: impl Into<String>) -> AppendError {
    AppendError::Invalid {
        field: field.into(),
        rule: rule.into(),
    }
}

/// `category-uuid`, the category in up to 40 small letters.
fn is_stream_name(name: &str) -> bool {
    let Some((category, id)) = name.split_once('-') else {
        return false;
    };
    (1..=40).contains(&category.len())
        && category.bytes().all(|b| b.is_ascii_lowercase())
        && id.len() == 36
        && id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// Whether JSON text holds an escaped NUL: `\u0000` behind an even number of other backslashes.
fn has_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json.as_bytes()[..at]
            .iter()
            .rev()
            .take_while(|b| **b == b'\\')
            .count();
        before % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_category_and_an_id_name_a_stream() {
        let id = "0193a1b2-1111-7000-8000-00000000000a";
        assert!(is_stream_name(&format!("booking-{id}")));
        let long = "b".repeat(41);
        for bad in [
            String::new(),
            "booking".to_owned(),
            format!("-{id}"),
            format!("Booking-{id}"),
            format!("booking-{id}0"),
            format!("booking-{}", id.to_uppercase()),
            format!("booking-{}", id.replace('-', "0")),
            format!("böking-{id}"),
            format!("{long}-{id}"),
            format!("booking-{id}\n"),
        ] {
            assert!(!is_stream_name(&bad), "{bad}");
        }
    }

    #[test]
    fn an_escaped_nul_is_found_and_a_text_about_one_is_not() {
        for (text, found) in [
            ("a\0b", true),
            ("\\\0", true),
            ("\\u0000", false),
            ("\\\\u0000", false),
            ("", false),
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(has_nul(&json), found, "{json}");
        }
    }
}
