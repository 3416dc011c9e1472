//! Booking something: what is on offer, when it is free, who it is for.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Resource {
    pub resource_id: Uuid,
    /// `staff`, `room`, `equipment`
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Service {
    pub service_id: Uuid,
    pub name: String,
    pub category: String,
    pub duration_min: i32,
    pub buffer_before_min: i32,
    pub buffer_after_min: i32,
    pub price: Money,
    /// Staff who perform it.
    pub performed_by: Vec<Uuid>,
    /// Rooms it can take place in; empty: it needs none.
    pub rooms: Vec<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Catalogue {
    pub services: Vec<Service>,
    pub resources: Vec<Resource>,
    /// Test cards that the sandbox knows; empty when money is real.
    pub sandbox_cards: Vec<SandboxCard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SandboxCard {
    /// `pm_card_visa`
    pub payment_method: String,
    /// `accepted`, `declined`, `needs_authentication`
    pub behaviour: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FreeTimes {
    pub service_id: Uuid,
    /// Local date of the place, `2026-11-24`.
    pub date: String,
    /// Only this person; `None`: anyone who performs it.
    pub staff_id: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FreeTime {
    pub starts: Moment,
    pub staff: Named,
    pub room: Option<Named>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FreeTimesReply {
    pub date: String,
    pub times: Vec<FreeTime>,
    /// The next later date that has a free time, looked for up to 14 days ahead.
    pub next_date: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FindCustomers {
    pub search: String,
    /// 1 to 50.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ForCustomer {
    Known {
        customer_id: Uuid,
    },
    New {
        name: String,
        email: Option<String>,
        phone: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// Before the clock goes back.
    First,
    /// After it.
    Second,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CreateBooking {
    /// Made when the form opens: the same id books once, however often it is sent.
    pub command_id: Uuid,
    pub customer: ForCustomer,
    pub service_id: Uuid,
    pub staff_id: Uuid,
    pub room_id: Option<Uuid>,
    /// Wall time of the place, `2026-11-24T11:00`.
    pub starts: String,
    /// Which of two, in the hour that the clock shows twice.
    pub fold: Option<Fold>,
    pub payment_mode: PaymentMode,
    /// With `card_on_file`.
    pub payment_method: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Booked {
    pub booking_id: Uuid,
    pub reference: String,
    pub saga_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CancelBooking {
    pub command_id: Uuid,
    pub booking_id: Uuid,
    /// At least 10 characters; it stands in the audit.
    pub reason: String,
    /// `version` of the page the person looked at.
    #[ts(type = "number")]
    pub expected_version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CancelAsked {
    pub booking_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SetNoShow {
    pub command_id: Uuid,
    pub booking_id: Uuid,
    /// They did not come; `false`: they did, after all.
    pub no_show: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct NoShowSet {
    pub booking_id: Uuid,
    pub no_show: bool,
}
