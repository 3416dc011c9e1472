//! What crosses the border to the window: requests, replies and errors, in the window's words.
//!
//! These types are a contract. `ui/src/backend/types.ts` is generated from them and a test fails when it
//! is stale. They carry facts, never finished sentences: the words come from the window's catalogue. The
//! one exception is [`AppError`], whose text names what only the engine knows.
//!
//! Money is in minor units with its currency. Instants are RFC 3339 in UTC; a [`Moment`] adds the wall
//! time of the place, computed here, because the webview's zone data is not ours.

mod backups;
mod bookings;
mod create;
mod deliveries;
mod endpoints;
mod error;
mod events;
mod host;
mod inbox;
mod operations;
mod people;
mod projections;
mod sagas;
mod sandbox;
mod session;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

pub use backups::*;
pub use bookings::*;
pub use create::*;
pub use deliveries::*;
pub use endpoints::*;
pub use error::*;
pub use events::*;
pub use host::*;
pub use inbox::*;
pub use operations::*;
pub use people::*;
pub use projections::*;
pub use sagas::*;
pub use sandbox::*;
pub use session::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Empty {}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
pub struct Money {
    #[ts(type = "number")]
    pub amount_minor: i64,
    /// ISO 4217, upper case.
    pub currency: String,
}

/// An instant as a clock on the wall of a place shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Moment {
    pub utc: DateTime<Utc>,
    /// `2026-11-24T11:00:00`, no offset: lay out and format by this, never by `utc`.
    pub wall: String,
    /// IANA name, `Europe/Lisbon`.
    pub zone: String,
    /// `WET`
    pub abbreviation: String,
    pub offset_minutes: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Named {
    pub id: Uuid,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Action {
    /// `cancel_booking`, `open_payment_page`, `pause_projection`
    pub name: String,
    /// `None`: can be done now. Else why not, in words.
    pub refused: Option<String>,
}

/// "Refetch this", never state. At most one per 50 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Hint {
    /// `bookings`, `booking:<id>`, `customers`, `status`, `host`, `messages`, `catalogue`, `events`,
    /// `projections`, `sagas`, `backups`, `proofs`, `inbox`, `deliveries`; `*` = everything (after a gap).
    pub topics: Vec<String>,
}
