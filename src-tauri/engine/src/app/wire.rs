//! What crosses the border to the window: requests, replies and errors, in the window's words.
//!
//! These types are a contract. `ui/src/backend/types.ts` is generated from them and a test fails when it
//! is stale. They carry facts, never finished sentences: the words come from the window's catalogue. The
//! one exception is [`AppError`], whose text names what only the engine knows.
//!
//! Money is in minor units with its currency. Instants are RFC 3339 in UTC; a [`Moment`] adds the wall
//! time of the place, computed here, because the webview's zone data is not ours.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

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

// ---- errors -------------------------------------------------------------------------------------------

/// The window switches on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub enum Code {
    #[serde(rename = "request.invalid")]
    Invalid,
    #[serde(rename = "request.unknown_command")]
    UnknownCommand,
    #[serde(rename = "request.not_found")]
    NotFound,
    #[serde(rename = "request.forbidden")]
    Forbidden,
    #[serde(rename = "request.command_reused")]
    CommandReused,
    #[serde(rename = "booking.slot_taken")]
    SlotTaken,
    #[serde(rename = "booking.refused")]
    Refused,
    #[serde(rename = "stream.conflict")]
    Conflict,
    #[serde(rename = "database.not_chosen")]
    DatabaseNotChosen,
    #[serde(rename = "database.starting")]
    DatabaseStarting,
    #[serde(rename = "database.unreachable")]
    DatabaseUnreachable,
    #[serde(rename = "database.wrong_password")]
    WrongPassword,
    #[serde(rename = "database.schema_older")]
    SchemaOlder,
    #[serde(rename = "database.schema_newer")]
    SchemaNewer,
    #[serde(rename = "database.no_server")]
    NoServer,
    #[serde(rename = "sandbox.unreachable")]
    SandboxUnreachable,
    #[serde(rename = "internal")]
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "when")]
pub enum Retry {
    Never,
    Now,
    After { seconds: u32 },
    NeedsPerson,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AppError {
    pub code: Code,
    /// What happened, with the values that matter.
    pub message: String,
    /// What to do now.
    pub hint: Option<String>,
    /// The field of the request that is wrong, as the request spells it: the window puts the error there.
    pub field: Option<String>,
    pub retry: Retry,
    /// Support finds the log line by it.
    pub correlation_id: Uuid,
}

// ---- host: works before any database is there -----------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// First run: nothing is chosen yet.
    Choose,
    Starting {
        step: StartStep,
        since: DateTime<Utc>,
    },
    Ready,
    Failed {
        error: AppError,
        since: DateTime<Utc>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    FindingServer,
    StartingServer,
    Connecting,
    Migrating,
    SeedingDemo,
    StartingWork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProfileKind {
    /// Demo business in a database of its own on the private server.
    Demo,
    /// A business of one's own on the private server.
    Own,
    /// A configured server (`DATABASE_URL` or a saved address).
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HostState {
    pub phase: Phase,
    pub profile: Option<ProfileKind>,
    pub app_version: String,
    pub data_folder: String,
    /// True when `DATABASE_URL` decides and the window must not offer a choice.
    pub fixed_by_environment: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "choice")]
pub enum ChooseStart {
    Explore,
    Empty {
        business_name: String,
        /// IANA zone of the first location.
        zone: String,
        /// ISO 4217.
        currency: String,
    },
    Connect {
        /// `postgres://user:password@host:port/database`
        url: String,
    },
}

// ---- session and status ----------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Viewer,
    Staff,
    Manager,
    Admin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No money moves.
    Sandbox,
    Live,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Session {
    pub login: String,
    pub display_name: String,
    pub group: Group,
    pub mode: Mode,
    pub profile: ProfileKind,
    pub business_name: String,
    pub location_name: String,
    pub zone: String,
    pub currency: String,
    pub database_name: String,
    /// `15.18`
    pub server_version: String,
    pub schema_version: u32,
    /// Why nothing can be changed from this window, and who must do what. `None`: changes are possible.
    pub read_only: Option<String>,
    /// This process runs background work.
    pub works_here: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LampState {
    Works,
    /// Works, but something needs attention.
    Limited,
    Down,
    /// Not asked, or no answer yet: grey, never green.
    Unknown,
    /// Not set up; the hint says how.
    NotSet,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Lamp {
    pub state: LampState,
    /// When this was last looked up.
    pub checked_at: Option<DateTime<Utc>>,
    pub latency_ms: Option<u32>,
    /// What is wrong.
    pub problem: Option<String>,
    /// How to mend it.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ProjectionStatus {
    pub name: String,
    pub version: i32,
    #[ts(type = "number")]
    pub position: i64,
    #[ts(type = "number")]
    pub lag_events: i64,
    pub lag_seconds: f64,
    pub parked: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Status {
    pub now: Moment,
    pub database: Lamp,
    pub stripe: Lamp,
    pub mail: Lamp,
    /// Live processes that do background work, this one included.
    pub workers: u32,
    pub works_here: bool,
    #[ts(type = "number")]
    pub position: i64,
    pub projections: Vec<ProjectionStatus>,
    /// Who keeps readers waiting, when somebody does: `pid 4242, open for 12 s: insert into …`
    pub lag_cause: Option<String>,
    pub counts: Counts,
}

/// A count is shown only if it asks something of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Counts {
    #[ts(type = "number")]
    pub sagas_need_person: i64,
    #[ts(type = "number")]
    pub sagas_open: i64,
    #[ts(type = "number")]
    pub deliveries_failing: i64,
}

// ---- bookings ----------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BookingState {
    Held,
    AwaitingPayment,
    Confirmed,
    Cancelled,
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum PaymentState {
    NotAsked,
    Requested,
    LinkSent,
    ActionRequired,
    Authorised,
    Paid,
    AtVenue,
    Declined,
    Unknown,
    Voided,
    RefundPending,
    PartRefunded,
    Refunded,
    RefundFailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    NotBegun,
    Running,
    Waiting,
    Done,
    /// This booking does not need the step (paid at the venue).
    NotNeeded,
    /// Asked, no answer yet: looked up, never guessed.
    Unknown,
    Failed,
    NeedsPerson,
    Undone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    Running,
    WaitingForCustomer,
    WaitingForProvider,
    NeedsPerson,
    Done,
    DoneWithWarnings,
    Undoing,
    Undone,
    Resolved,
    Paused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMode {
    /// The customer pays on a hosted page; the link is mailed and shown.
    Link,
    /// A saved card is charged while the customer is away.
    CardOnFile,
    /// Cash or a terminal at the desk: no Stripe step.
    Venue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Named {
    pub id: Uuid,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingRow {
    pub booking_id: Uuid,
    /// `BK-7Q4M2K`
    pub reference: String,
    pub customer: Named,
    pub service: Named,
    /// Staff first, then rooms.
    pub resources: Vec<Named>,
    pub starts: Moment,
    pub ends: Moment,
    pub state: BookingState,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub payment: PaymentState,
    pub payment_mode: PaymentMode,
    pub price: Money,
    pub saga_state: Option<SagaState>,
    /// Five, in order: hold, payment, capture, confirm, notify. Empty when no saga runs this booking.
    pub steps: Vec<StepState>,
    pub changed_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BookingSort {
    Starts,
    Changed,
    Customer,
    Price,
    Reference,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ListBookings {
    /// Matches reference, customer name, e-mail, phone and provider object ids (`pi_…`, `cs_…`).
    pub search: Option<String>,
    #[serde(default)]
    pub states: Vec<BookingState>,
    #[serde(default)]
    pub payments: Vec<PaymentState>,
    pub service_id: Option<Uuid>,
    pub resource_id: Option<Uuid>,
    /// Local dates of the place, inclusive, `2026-11-24`.
    pub from: Option<String>,
    pub to: Option<String>,
    pub sort: BookingSort,
    #[serde(default)]
    pub descending: bool,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 1,000.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingList {
    pub rows: Vec<BookingRow>,
    pub next: Option<String>,
    /// Bookings in all.
    #[ts(type = "number")]
    pub total: i64,
    /// Bookings that match the filters.
    #[ts(type = "number")]
    pub matched: i64,
    /// Position of the log that this answer shows.
    #[ts(type = "number")]
    pub position: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetBooking {
    /// A booking id, or a reference such as `BK-7Q4M2K`.
    pub booking: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CustomerRow {
    pub customer_id: Uuid,
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    #[ts(type = "number")]
    pub bookings: i64,
    pub last_booking_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MoneyLine {
    pub price: Money,
    pub authorised: Money,
    pub captured: Money,
    pub refunded: Money,
    /// Captured less refunded: what the business keeps before fees.
    pub kept: Money,
    /// `pi_…`, once known.
    pub payment_intent: Option<String>,
    /// When the provider's answer behind these figures was recorded.
    pub as_of: Option<DateTime<Utc>>,
    /// An answer is missing: the figures may be short by this effect.
    pub unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaStep {
    /// `hold`, `payment`, `capture`, `confirm`, `notify`
    pub step: String,
    pub state: StepState,
    /// Tries forward.
    pub attempts: u32,
    /// Tries at undoing it.
    pub undo_attempts: u32,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub undo_started_at: Option<DateTime<Utc>>,
    pub undo_ended_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    pub next_try_at: Option<DateTime<Utc>>,
}

/// Data behind "why is this stuck?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "waits_for")]
pub enum WaitsFor {
    Nothing,
    /// The customer must pay before the hold ends.
    Customer {
        until: Option<DateTime<Utc>>,
    },
    /// A retry is due.
    Retry {
        at: DateTime<Utc>,
        attempt: u32,
        cause: String,
    },
    /// The message is not accepted yet.
    Delivery {
        at: Option<DateTime<Utc>>,
        attempt: u32,
        cause: Option<String>,
    },
    /// The provider has not settled a refund yet.
    Provider {
        what: String,
    },
    /// No live process does background work.
    Worker,
    Person {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct SagaView {
    pub saga_id: Uuid,
    /// `booking@1`
    pub definition: String,
    pub state: SagaState,
    pub steps: Vec<SagaStep>,
    pub waits_for: WaitsFor,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it was undone, when it was.
    pub undo_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// A domain event of the booking.
    Event,
    /// A try of a saga step that left no event of its own (failed, waiting, looked up).
    SagaAttempt,
    /// A try at delivering a message.
    DeliveryAttempt,
    /// Planned: the next try. `at` lies ahead.
    Planned,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct TimelineItem {
    pub id: String,
    pub kind: TimelineKind,
    pub at: Moment,
    /// Event type, or `step.forward` / `step.undo`, or `email`.
    pub what: String,
    pub schema_version: Option<i32>,
    #[ts(type = "number | null")]
    pub position: Option<i64>,
    /// Login or worker that did it.
    pub actor: Option<String>,
    pub on_behalf_of: Option<String>,
    pub correlation_id: Option<Uuid>,
    /// Id of the item that caused this one, when it is on this timeline.
    pub caused_by: Option<String>,
    /// Event payload, or the facts of the try: `result`, `error`, `error_class`, `attempt`, `request_id`, `duration_ms`.
    #[ts(type = "Record<string, unknown>")]
    pub data: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Action {
    /// `cancel_booking`, `open_payment_page`
    pub name: String,
    /// `None`: can be done now. Else why not, in words.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BookingPage {
    pub row: BookingRow,
    pub customer: CustomerRow,
    /// What took the booking there: `cancelled_by`, `reason_code`, `reason`.
    pub cancelled: Option<Cancelled>,
    pub money: MoneyLine,
    pub saga: Option<SagaView>,
    /// The message that tells the customer.
    pub message: Option<MessageView>,
    /// Where the customer pays, while that is open.
    pub pay_url: Option<String>,
    /// Newest last.
    pub timeline: Vec<TimelineItem>,
    pub actions: Vec<Action>,
    /// Version of the booking's stream: send it back with a command.
    #[ts(type = "number")]
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Cancelled {
    pub by: String,
    /// `hold_expired`, `payment_failed`, `not_told`, `asked`
    pub reason_code: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Scheduled,
    Sending,
    Retrying,
    Delivered,
    GaveUp,
    Unclear,
    /// Nothing had to be said.
    Skipped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MessageView {
    pub delivery_id: Uuid,
    /// `email`
    pub channel: String,
    /// `booking_confirmed`, `booking_cancelled`, `payment_link`
    pub template: String,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_try_at: Option<DateTime<Utc>>,
    pub problem: Option<String>,
}

// ---- booking something ---------------------------------------------------------------------------------------

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

// ---- sandbox ----------------------------------------------------------------------------------------------------

/// A message that the sandbox's catch-all kept instead of sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CaughtMessage {
    pub id: String,
    pub at: DateTime<Utc>,
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    /// The attached calendar file.
    pub ics: Option<String>,
}

// ---- hints ------------------------------------------------------------------------------------------------------

/// "Refetch this", never state. At most one per 50 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Hint {
    /// `bookings`, `booking:<id>`, `customers`, `status`, `host`, `messages`, `catalogue`; `*` = everything (after a gap).
    pub topics: Vec<String>,
}
