//! What is sealed in a payload: found by its shape, named by its path, and covered by a word.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::wire::{AppError, SealState, SealedField};
use crate::store::read::Recorded;

/// Who of the subjects of these events was erased.
pub struct Erased(HashSet<Uuid>);

impl Erased {
    pub async fn among<'a>(
        conn: &mut PgConnection,
        events: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<Erased, AppError> {
        let mut subjects = vec![];
        for event in events {
            // Only what holds a cipher is worth parsing.
            if event.data.text().contains("\"cipher\"") {
                subjects.extend(subject(&event.data.value()));
            }
        }
        if subjects.is_empty() {
            return Ok(Erased(HashSet::new()));
        }
        let erased: Vec<Uuid> = sqlx::query_scalar("select api.erased_subjects($1)")
            .bind(subjects)
            .fetch_all(conn)
            .await?;
        Ok(Erased(erased.into_iter().collect()))
    }

    /// The sealed fields of a payload, which are covered in it.
    pub fn cover(&self, data: &mut Value) -> Vec<SealedField> {
        let mut fields = vec![];
        let Some(subject_id) = subject(data) else {
            return fields;
        };
        let state = if self.0.contains(&subject_id) {
            SealState::Erased
        } else {
            SealState::Sealed
        };
        let word = match state {
            SealState::Erased => json!("erased"),
            _ => json!("sealed"),
        };
        for path in cover(data, &word, String::new()) {
            fields.push(SealedField {
                path,
                state,
                subject_id,
            });
        }
        fields
    }
}

/// Whose data it is: sealed fields stand beside their customer's id.
fn subject(data: &Value) -> Option<Uuid> {
    data.get("customer_id")?.as_str()?.parse().ok()
}

fn cover(value: &mut Value, word: &Value, at: String) -> Vec<String> {
    let sealed = ["cipher", "nonce", "text"]
        .iter()
        .all(|part| value.get(part).is_some_and(Value::is_string));
    if sealed {
        *value = word.clone();
        return vec![at];
    }
    let below = |name: &str| {
        if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    match value {
        Value::Object(fields) => fields
            .iter_mut()
            .flat_map(|(name, v)| cover(v, word, below(name)))
            .collect(),
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .flat_map(|(i, v)| cover(v, word, below(&i.to_string())))
            .collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_field_becomes_a_word_and_its_bytes_are_nowhere() {
        let id = Uuid::from_u128(7);
        let mut data = json!({ "customer_id": id, "personal": { "cipher": "x", "nonce": "bm9uY2U=", "text": "c2VhbGVk" }, "list": [{ "cipher": "x", "nonce": "n", "text": "t" }], "text": "plain" });
        let fields = Erased(HashSet::from([id])).cover(&mut data);
        assert_eq!(
            data,
            json!({ "customer_id": id, "personal": "erased", "list": ["erased"], "text": "plain" })
        );
        let mut paths: Vec<&str> = fields.iter().map(|f| f.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["list.0", "personal"]);
        assert!(
            fields
                .iter()
                .all(|f| f.state == SealState::Erased && f.subject_id == id)
        );
    }
}
