//! What the database said no to, in the store's words.

use sqlx::postgres::PgDatabaseError;
use uuid::Uuid;

use super::AppendError;

pub fn refusal(error: sqlx::Error) -> AppendError {
    let sqlx::Error::Database(d) = &error else {
        return AppendError::Database(error);
    };
    let Some(pg) = d.try_downcast_ref::<PgDatabaseError>() else {
        return AppendError::Database(error);
    };
    let invalid = |field: &str, rule: &str| AppendError::Invalid {
        field: field.to_owned(),
        rule: rule.to_owned(),
    };
    match pg.code() {
        "42501" => AppendError::Forbidden(error),
        // Invalid parameter, or one limit of the function: it names the field as a column.
        "22023" | "54000" => match pg.column() {
            Some(field) => invalid(field, pg.message()),
            None => AppendError::Database(error),
        },
        "22P05" | "22021" => invalid(
            "data",
            "a text holds a character that PostgreSQL cannot store",
        ),
        "23505" if pg.constraint().is_some_and(|c| c.ends_with("event_id_key")) => {
            match pg.detail().and_then(id_in) {
                Some(event) => AppendError::DuplicateEvent { event },
                None => AppendError::Database(error),
            }
        }
        // A log without room for the next position answers with this state too, and names no constraint.
        "23514" => match pg.constraint() {
            Some("streams_stream_id_check") => {
                invalid("stream", "a stream is called by its category and an id")
            }
            Some(c) if c.ends_with("data_check") => {
                invalid("data", "data and metadata of an event are JSON objects")
            }
            _ => AppendError::Database(error),
        },
        _ => AppendError::Database(error),
    }
}

/// `Key (event_id)=(…) already exists.`
fn id_in(detail: &str) -> Option<Uuid> {
    let (_, rest) = detail.split_once(")=(")?;
    rest.split_once(')')?.0.parse().ok()
}
