//! The registry of event schemas: which shapes there are, what the database holds of them, and whether data fits.
//!
//! JSON Schemas are generated from the Rust types and committed beside them, one file for each version ever written.
//! Promises: a shape cannot change without a new version (a test compares the fingerprints); what the database holds
//! of a version is written once (a trigger refuses the rest); a program knows at its start which events it cannot read.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};

use super::upcast::{Unreplayable, reader};
use crate::domain::event::{EventType, TYPES};

/// Why raw data is not an event of that type and version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} version {version}: {message} (at {}, rule {rule})", if .pointer.is_empty() { "the top" } else { .pointer })]
pub struct Invalid {
    pub name: String,
    pub version: i16,
    /// JSON pointer to the field that is wrong; empty: the data as a whole.
    pub pointer: String,
    /// The word of JSON Schema that refused it (`required`, `type`, `pattern`, …), `known` for a type or version that
    /// this program does not know, `text` for a text that cannot be stored, `shape` where today's type cannot hold it.
    pub rule: String,
    /// What is wrong, with the values that matter.
    pub message: String,
}

/// Whether the data fits what is registered for this type and version. For data from outside (an import, a raw call);
/// what a program of ours builds fits by its type. Says the first thing that is wrong.
pub fn validate(name: &str, version: i16, data: &Value) -> Result<(), Invalid> {
    let invalid = |pointer: String, rule: &str, message: String| Invalid {
        name: name.to_owned(),
        version,
        pointer,
        rule: rule.to_owned(),
        message,
    };
    let reader =
        reader(name, version).map_err(|why| invalid(String::new(), "known", why.to_string()))?;
    let found = VALIDATORS
        .iter()
        .find(|v| v.name == name && v.version == version);
    if let Some(Err(error)) = found.map(|v| v.schema.validate(data)) {
        let pointer = pointer(&error);
        let keyword = error.kind().keyword().to_owned();
        return Err(invalid(pointer, &keyword, error.to_string()));
    }
    if let Some(pointer) = with_nul(data, String::new()) {
        let message = "the text holds the character U+0000, which cannot be stored".to_owned();
        return Err(invalid(pointer, "text", message));
    }
    // What a schema does not say: the width of a number, the range of a date.
    reader
        .read_value(data.clone())
        .map(|_| ())
        .map_err(|error| invalid(String::new(), "shape", error.to_string()))
}

/// Where it is wrong; of a field that is missing or too many, where it should or should not be.
fn pointer(error: &jsonschema::ValidationError<'_>) -> String {
    let at = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{at}/{}", escaped(property.as_str().unwrap_or_default()))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("{at}/{}", escaped(unexpected.first().map_or("", |f| f)))
        }
        _ => at.to_owned(),
    }
}

/// A name as a JSON pointer spells it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

struct Validator {
    name: &'static str,
    version: i16,
    schema: jsonschema::Validator,
}

static VALIDATORS: LazyLock<Vec<Validator>> = LazyLock::new(|| {
    TYPES
        .iter()
        .flat_map(|kind| {
            kind.versions.iter().map(|shape| Validator {
                name: kind.name,
                version: shape.version,
                schema: jsonschema::options()
                    .should_validate_formats(true)
                    .build(&parsed(shape.json_schema))
                    .expect("a committed schema is one: a test builds them all"),
            })
        })
        .collect()
});

fn parsed(schema: &str) -> Value {
    serde_json::from_str(schema).expect("a committed schema is JSON: a test reads them all")
}

fn with_nul(data: &Value, at: String) -> Option<String> {
    match data {
        Value::String(text) => text.contains('\0').then_some(at),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, v)| with_nul(v, format!("{at}/{i}"))),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, v)| with_nul(v, format!("{at}/{}", escaped(name)))),
        _ => None,
    }
}

/// What a schema demands, as a number: its words for people (titles, descriptions) may change, its rules may not.
pub fn fingerprint(schema: &Value) -> String {
    let rules = rules(schema);
    let hash = Sha256::digest(rules.to_string());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The schema without words for people, its keys in one order whatever map holds them.
fn rules(schema: &Value) -> Value {
    match schema {
        Value::Object(words) => {
            if let Some(values) = words.get("oneOf").and_then(choices) {
                // A comment at one of its values turns a plain list into this.
                return serde_json::json!({ "enum": values, "type": "string" });
            }
            let mut kept: Vec<(&String, Value)> = words
                .iter()
                .filter(|(word, _)| {
                    !matches!(
                        word.as_str(),
                        "title" | "description" | "$schema" | "examples"
                    )
                })
                .map(|(word, value)| {
                    // Below these the keys are names of fields, not words of the language.
                    let value = match (word.as_str(), value) {
                        ("properties" | "$defs" | "patternProperties", Value::Object(fields)) => {
                            let mut fields: Vec<_> = fields.iter().collect();
                            fields.sort_by_key(|(name, _)| name.as_str());
                            let fields = fields.into_iter().map(|(n, v)| (n.clone(), rules(v)));
                            Value::Object(fields.collect::<Map<_, _>>())
                        }
                        ("enum" | "required", Value::Array(texts)) => {
                            let mut texts = texts.clone();
                            texts.sort_by_key(Value::to_string);
                            Value::Array(texts)
                        }
                        _ => rules(value),
                    };
                    (word, value)
                })
                .collect();
            kept.sort_by_key(|(word, _)| word.as_str());
            Value::Object(kept.into_iter().map(|(w, v)| (w.clone(), v)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(rules).collect()),
        other => other.clone(),
    }
}

/// The texts that a choice of constant texts allows, in one order.
fn choices(one_of: &Value) -> Option<Vec<&str>> {
    let mut texts = vec![];
    for choice in one_of.as_array()? {
        match (&choice["const"], &choice["enum"]) {
            (Value::String(text), Value::Null) => texts.push(text.as_str()),
            (Value::Null, Value::Array(some)) => {
                for text in some {
                    texts.push(text.as_str()?);
                }
            }
            _ => return None,
        }
    }
    texts.sort_unstable();
    Some(texts)
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(
        "event {name} version {version} is registered with another schema than this program has: \
         a shape never changes, it gets a new version"
    )]
    Changed { name: String, version: i16 },
    #[error("the registry of event schemas could not be written")]
    Database(#[from] sqlx::Error),
}

/// Writes the schemas that the registry lacks, as the owner, at the end of a migration. Which types and versions there
/// are, and who may write them, is said by migrations; this adds what was generated.
pub async fn register(conn: &mut PgConnection) -> Result<(), RegisterError> {
    for kind in TYPES {
        for shape in kind.versions {
            let schema = parsed(shape.json_schema);
            let ours = fingerprint(&schema);
            sqlx::query(
                "insert into core.event_schemas (type_no, json_schema, fingerprint)
                 select type_no, $3, $4 from core.event_types where name = $1 and schema_version = $2
                 on conflict do nothing",
            )
            .bind(kind.name)
            .bind(shape.version)
            .bind(&schema)
            .bind(&ours)
            .execute(&mut *conn)
            .await?;
            let theirs: Option<String> = sqlx::query_scalar(
                "select fingerprint from core.event_schemas join core.event_types using (type_no) where name = $1 and schema_version = $2",
            )
            .bind(kind.name)
            .bind(shape.version)
            .fetch_optional(&mut *conn)
            .await?;
            if theirs.is_some_and(|theirs| theirs != ours) {
                return Err(RegisterError::Changed {
                    name: kind.name.to_owned(),
                    version: shape.version,
                });
            }
        }
    }
    Ok(())
}

/// A registered type and version that this program cannot bring to a type of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub name: String,
    pub version: i16,
    pub why: Unreplayable,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

/// What the log may hold that this program cannot read. Everything else goes on; a projection that meets one stops
/// there. Any login may ask.
pub async fn unreplayable(conn: &mut PgConnection) -> sqlx::Result<Vec<Unread>> {
    // Before its migration the registry is not there: a newer program only looks at such a database.
    let there: bool = sqlx::query_scalar("select to_regclass('read.event_types_v1') is not null")
        .fetch_one(&mut *conn)
        .await?;
    if !there {
        return Ok(vec![]);
    }
    let rows = sqlx::query(
        "select name, schema_version from read.event_types_v1 order by name, schema_version",
    )
    .fetch_all(conn)
    .await?;
    let mut unread = vec![];
    for row in rows {
        let (name, version): (String, i16) = (row.try_get(0)?, row.try_get(1)?);
        if let Err(why) = reader(&name, version) {
            unread.push(Unread { name, version, why });
        }
    }
    Ok(unread)
}

/// The committed schema of a version, for whoever shows it.
pub fn json_schema(name: &str, version: i16) -> Option<Value> {
    Some(parsed(EventType::named(name)?.shape(version)?.json_schema))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
