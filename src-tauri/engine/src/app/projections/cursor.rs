//! Where a page of the history ends: a time and an id.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::app::wire::{AppError, Moment};

pub fn write(at: &Moment, id: Uuid) -> String {
    format!("{}.{id}", at.utc.timestamp_micros())
}

pub fn read(text: &str) -> Result<(DateTime<Utc>, Uuid), AppError> {
    let parse = || {
        let (micros, id) = text.split_once('.')?;
        Some((
            DateTime::from_timestamp_micros(micros.parse().ok()?)?,
            id.parse().ok()?,
        ))
    };
    parse().ok_or_else(|| AppError::invalid("after", "This is not the end of a page."))
}
