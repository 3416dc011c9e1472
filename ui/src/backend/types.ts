// Generated from Rust by `bizing-desk types`. Do not edit.

export type Action = { 
/**
 * `cancel_booking`, `open_payment_page`
 */
name: string, 
/**
 * `None`: can be done now. Else why not, in words.
 */
refused: string | null, };

export type AppError = { code: Code, 
/**
 * What happened, with the values that matter.
 */
message: string, 
/**
 * What to do now.
 */
hint: string | null, 
/**
 * The field of the request that is wrong, as the request spells it: the window puts the error there.
 */
field: string | null, retry: Retry, 
/**
 * Support finds the log line by it.
 */
correlation_id: string, };

export type Booked = { booking_id: string, reference: string, saga_id: string, };

export type BookingList = { rows: Array<BookingRow>, next: string | null, 
/**
 * Bookings in all.
 */
total: number, 
/**
 * Bookings that match the filters.
 */
matched: number, 
/**
 * Position of the log that this answer shows.
 */
position: number, };

export type BookingPage = { row: BookingRow, customer: CustomerRow, 
/**
 * What took the booking there: `cancelled_by`, `reason_code`, `reason`.
 */
cancelled: Cancelled | null, money: MoneyLine, saga: SagaView | null, 
/**
 * The message that tells the customer.
 */
message: MessageView | null, 
/**
 * Where the customer pays, while that is open.
 */
pay_url: string | null, 
/**
 * Newest last.
 */
timeline: Array<TimelineItem>, actions: Array<Action>, 
/**
 * Version of the booking's stream: send it back with a command.
 */
version: number, };

export type BookingRow = { booking_id: string, 
/**
 * `BK-7Q4M2K`
 */
reference: string, customer: Named, service: Named, 
/**
 * Staff first, then rooms.
 */
resources: Array<Named>, starts: Moment, ends: Moment, state: BookingState, hold_expires_at: string | null, payment: PaymentState, payment_mode: PaymentMode, price: Money, saga_state: SagaState | null, 
/**
 * Five, in order: hold, payment, capture, confirm, notify. Empty when no saga runs this booking.
 */
steps: Array<StepState>, changed_at: string, };

export type BookingSort = "starts" | "changed" | "customer" | "price" | "reference";

export type BookingState = "held" | "awaiting_payment" | "confirmed" | "cancelled" | "expired";

export type CancelAsked = { booking_id: string, };

export type CancelBooking = { command_id: string, booking_id: string, 
/**
 * At least 10 characters; it stands in the audit.
 */
reason: string, 
/**
 * `version` of the page the person looked at.
 */
expected_version: number, };

export type Cancelled = { by: string, 
/**
 * `hold_expired`, `payment_failed`, `not_told`, `asked`
 */
reason_code: string, reason: string | null, };

export type Catalogue = { services: Array<Service>, resources: Array<Resource>, 
/**
 * Test cards that the sandbox knows; empty when money is real.
 */
sandbox_cards: Array<SandboxCard>, };

export type CaughtMessage = { id: string, at: string, from: string, to: Array<string>, subject: string, text: string, 
/**
 * The attached calendar file.
 */
ics: string | null, };

export type ChooseStart = { "choice": "explore" } | { "choice": "empty", business_name: string, 
/**
 * IANA zone of the first location.
 */
zone: string, 
/**
 * ISO 4217.
 */
currency: string, } | { "choice": "connect", 
/**
 * `postgres://user:password@host:port/database`
 */
url: string, };

export type Code = "request.invalid" | "request.unknown_command" | "request.not_found" | "request.forbidden" | "request.command_reused" | "booking.slot_taken" | "booking.refused" | "stream.conflict" | "database.not_chosen" | "database.starting" | "database.unreachable" | "database.wrong_password" | "database.schema_older" | "database.schema_newer" | "database.no_server" | "sandbox.unreachable" | "internal";

export type Commands = { 
/**
 * Where the app stands: choosing, starting, ready or failed.
 */
host_state: [Empty, HostState], 
/**
 * Answers the first-run question. Returns at once; the progress is in `host_state`.
 */
choose_start: [ChooseStart, HostState], 
/**
 * Tries the failed start again.
 */
retry_start: [Empty, HostState], 
/**
 * Back to the first-run question. Nothing is deleted.
 */
leave_database: [Empty, HostState], session: [Empty, Session], status: [Empty, Status], list_bookings: [ListBookings, BookingList], get_booking: [GetBooking, BookingPage], create_booking: [CreateBooking, Booked], 
/**
 * Asks the saga to stop and take everything back.
 */
cancel_booking: [CancelBooking, CancelAsked], catalogue: [Empty, Catalogue], free_times: [FreeTimes, FreeTimesReply], find_customers: [FindCustomers, Array<CustomerRow>], 
/**
 * What the sandbox's mail catch-all holds, newest first.
 */
caught_messages: [Empty, Array<CaughtMessage>], };

export type Counts = { sagas_need_person: number, sagas_open: number, deliveries_failing: number, };

export type CreateBooking = { 
/**
 * Made when the form opens: the same id books once, however often it is sent.
 */
command_id: string, customer: ForCustomer, service_id: string, staff_id: string, room_id: string | null, 
/**
 * Wall time of the place, `2026-11-24T11:00`.
 */
starts: string, 
/**
 * Which of two, in the hour that the clock shows twice.
 */
fold: Fold | null, payment_mode: PaymentMode, 
/**
 * With `card_on_file`.
 */
payment_method: string | null, };

export type CustomerRow = { customer_id: string, name: string, email: string | null, phone: string | null, bookings: number, last_booking_at: string | null, };

export type DeliveryState = "scheduled" | "sending" | "retrying" | "delivered" | "gave_up" | "unclear" | "skipped";

export type Empty = Record<symbol, never>;

export type FindCustomers = { search: string, 
/**
 * 1 to 50.
 */
limit: number, };

export type Fold = "first" | "second";

export type ForCustomer = { "is": "known", customer_id: string, } | { "is": "new", name: string, email: string | null, phone: string | null, };

export type FreeTime = { starts: Moment, staff: Named, room: Named | null, };

export type FreeTimes = { service_id: string, 
/**
 * Local date of the place, `2026-11-24`.
 */
date: string, 
/**
 * Only this person; `None`: anyone who performs it.
 */
staff_id: string | null, };

export type FreeTimesReply = { date: string, times: Array<FreeTime>, 
/**
 * The next later date that has a free time, looked for up to 14 days ahead.
 */
next_date: string | null, };

export type GetBooking = { 
/**
 * A booking id, or a reference such as `BK-7Q4M2K`.
 */
booking: string, };

export type Group = "viewer" | "staff" | "manager" | "admin";

export type Hint = { 
/**
 * `bookings`, `booking:<id>`, `customers`, `status`, `host`, `messages`, `catalogue`; `*` = everything (after a gap).
 */
topics: Array<string>, };

export type HostState = { phase: Phase, profile: ProfileKind | null, app_version: string, data_folder: string, 
/**
 * True when `DATABASE_URL` decides and the window must not offer a choice.
 */
fixed_by_environment: boolean, };

export type Lamp = { state: LampState, 
/**
 * When this was last looked up.
 */
checked_at: string | null, latency_ms: number | null, 
/**
 * What is wrong.
 */
problem: string | null, 
/**
 * How to mend it.
 */
hint: string | null, };

export type LampState = "works" | "limited" | "down" | "unknown" | "not_set";

export type ListBookings = { 
/**
 * Matches reference, customer name, e-mail, phone and provider object ids (`pi_…`, `cs_…`).
 */
search: string | null, states: Array<BookingState>, payments: Array<PaymentState>, service_id: string | null, resource_id: string | null, 
/**
 * Local dates of the place, inclusive, `2026-11-24`.
 */
from: string | null, to: string | null, sort: BookingSort, descending: boolean, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 1,000.
 */
limit: number, };

export type MessageView = { delivery_id: string, 
/**
 * `email`
 */
channel: string, 
/**
 * `booking_confirmed`, `booking_cancelled`, `payment_link`
 */
template: string, state: DeliveryState, attempts: number, next_try_at: string | null, problem: string | null, };

export type Mode = "sandbox" | "live";

export type Moment = { utc: string, 
/**
 * `2026-11-24T11:00:00`, no offset: lay out and format by this, never by `utc`.
 */
wall: string, 
/**
 * IANA name, `Europe/Lisbon`.
 */
zone: string, 
/**
 * `WET`
 */
abbreviation: string, offset_minutes: number, };

export type Money = { amount_minor: number, 
/**
 * ISO 4217, upper case.
 */
currency: string, };

export type MoneyLine = { price: Money, authorised: Money, captured: Money, refunded: Money, 
/**
 * Captured less refunded: what the business keeps before fees.
 */
kept: Money, 
/**
 * `pi_…`, once known.
 */
payment_intent: string | null, 
/**
 * When the provider's answer behind these figures was recorded.
 */
as_of: string | null, 
/**
 * An answer is missing: the figures may be short by this effect.
 */
unknown: boolean, };

export type Named = { id: string, name: string, };

export type PaymentMode = "link" | "card_on_file" | "venue";

export type PaymentState = "not_asked" | "requested" | "link_sent" | "action_required" | "authorised" | "paid" | "at_venue" | "declined" | "unknown" | "voided" | "refund_pending" | "part_refunded" | "refunded" | "refund_failed";

export type Phase = { "is": "choose" } | { "is": "starting", step: StartStep, since: string, } | { "is": "ready" } | { "is": "failed", error: AppError, since: string, };

export type ProfileKind = "demo" | "own" | "server";

export type ProjectionStatus = { name: string, version: number, position: number, lag_events: number, lag_seconds: number, parked: string | null, };

export type Resource = { resource_id: string, 
/**
 * `staff`, `room`, `equipment`
 */
kind: string, name: string, };

export type Retry = { "when": "never" } | { "when": "now" } | { "when": "after", seconds: number, } | { "when": "needs_person" };

export type SagaState = "running" | "waiting_for_customer" | "waiting_for_provider" | "needs_person" | "done" | "done_with_warnings" | "undoing" | "undone" | "resolved" | "paused";

export type SagaStep = { 
/**
 * `hold`, `payment`, `capture`, `confirm`, `notify`
 */
step: string, state: StepState, 
/**
 * Tries forward.
 */
attempts: number, 
/**
 * Tries at undoing it.
 */
undo_attempts: number, started_at: string | null, ended_at: string | null, undo_started_at: string | null, undo_ended_at: string | null, error: string | null, next_try_at: string | null, };

export type SagaView = { saga_id: string, 
/**
 * `booking@1`
 */
definition: string, state: SagaState, steps: Array<SagaStep>, waits_for: WaitsFor, started_at: string, finished_at: string | null, 
/**
 * Why it was undone, when it was.
 */
undo_reason: string | null, };

export type SandboxCard = { 
/**
 * `pm_card_visa`
 */
payment_method: string, 
/**
 * `accepted`, `declined`, `needs_authentication`
 */
behaviour: string, };

export type Service = { service_id: string, name: string, category: string, duration_min: number, buffer_before_min: number, buffer_after_min: number, price: Money, 
/**
 * Staff who perform it.
 */
performed_by: Array<string>, 
/**
 * Rooms it can take place in; empty: it needs none.
 */
rooms: Array<string>, };

export type Session = { login: string, display_name: string, group: Group, mode: Mode, profile: ProfileKind, business_name: string, location_name: string, zone: string, currency: string, database_name: string, 
/**
 * `15.18`
 */
server_version: string, schema_version: number, 
/**
 * Why nothing can be changed from this window, and who must do what. `None`: changes are possible.
 */
read_only: string | null, 
/**
 * This process runs background work.
 */
works_here: boolean, };

export type StartStep = "finding_server" | "starting_server" | "connecting" | "migrating" | "seeding_demo" | "starting_work";

export type Status = { now: Moment, database: Lamp, stripe: Lamp, mail: Lamp, 
/**
 * Live processes that do background work, this one included.
 */
workers: number, works_here: boolean, position: number, projections: Array<ProjectionStatus>, 
/**
 * Who keeps readers waiting, when somebody does: `pid 4242, open for 12 s: insert into …`
 */
lag_cause: string | null, counts: Counts, };

export type StepState = "not_begun" | "running" | "waiting" | "done" | "not_needed" | "unknown" | "failed" | "needs_person" | "undone";

export type TimelineItem = { id: string, kind: TimelineKind, at: Moment, 
/**
 * Event type, or `step.forward` / `step.undo`, or `email`.
 */
what: string, schema_version: number | null, position: number | null, 
/**
 * Login or worker that did it.
 */
actor: string | null, on_behalf_of: string | null, correlation_id: string | null, 
/**
 * Id of the item that caused this one, when it is on this timeline.
 */
caused_by: string | null, 
/**
 * Event payload, or the facts of the try: `result`, `error`, `error_class`, `attempt`, `request_id`, `duration_ms`.
 */
data: Record<string, unknown>, };

export type TimelineKind = "event" | "saga_attempt" | "delivery_attempt" | "planned";

export type WaitsFor = { "waits_for": "nothing" } | { "waits_for": "customer", until: string | null, } | { "waits_for": "retry", at: string, attempt: number, cause: string, } | { "waits_for": "delivery", at: string | null, attempt: number, cause: string | null, } | { "waits_for": "provider", what: string, } | { "waits_for": "worker" } | { "waits_for": "person", reason: string, };
