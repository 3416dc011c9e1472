//! The place of business, and instants as its wall clock shows them.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use sqlx::PgConnection;

use super::wire::{AppError, Code, Moment, Money};
use crate::domain::slot;

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Place {
    pub business_name: String,
    pub name: String,
    pub zone: String,
    pub currency: String,
}

/// The location that the window works in: the one named in the settings, else the first. `None` before set-up.
pub async fn find(conn: &mut PgConnection) -> Result<Option<Place>, AppError> {
    let place = sqlx::query_as(
        "select business_name, name, zone, currency::text as currency from read.locations_v1
          where active
          order by location_id::text = (select value #>> '{}' from read.settings_v1 where name = 'default_location') desc nulls last, name
          limit 1",
    )
    .fetch_optional(conn)
    .await?;
    Ok(place)
}

pub async fn here(conn: &mut PgConnection) -> Result<Place, AppError> {
    find(conn).await?.ok_or_else(|| {
        AppError::new(Code::NotFound, "This business has no location yet.")
            .hint("An admin sets one up: it says in which time zone and currency the desk works.")
    })
}

pub fn moment(at: DateTime<Utc>, zone: &str) -> Result<Moment, AppError> {
    let (wall, abbreviation, offset_s) = slot::shown(at, zone).map_err(super::error::internal)?;
    Ok(Moment {
        utc: at,
        wall,
        zone: zone.to_owned(),
        abbreviation,
        offset_minutes: offset_s / 60,
    })
}

pub fn money(amount_minor: i64, currency: &str) -> Money {
    Money {
        amount_minor,
        currency: currency.to_owned(),
    }
}

/// A word of the database as one of the window's enums. Only our own code writes them, so another word is a fault.
pub fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, AppError> {
    let word: StrDeserializer<'a, WordError> = text.into_deserializer();
    T::deserialize(word).map_err(super::error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::wire::{BookingState, PaymentState};

    #[test]
    fn words_of_the_database_are_those_of_the_window() {
        assert_eq!(
            word::<BookingState>("awaiting_payment").unwrap(),
            BookingState::AwaitingPayment
        );
        assert_eq!(
            word::<PaymentState>("refund_failed").unwrap(),
            PaymentState::RefundFailed
        );
        assert!(word::<BookingState>("lost").is_err());
    }

    #[test]
    fn a_moment_shows_the_wall_clock_of_the_place() {
        let m = moment("2026-11-24T11:00:00Z".parse().unwrap(), "Europe/Lisbon").unwrap();
        assert_eq!(
            (m.wall.as_str(), m.abbreviation.as_str(), m.offset_minutes),
            ("2026-11-24T11:00:00", "WET", 0)
        );
    }
}
