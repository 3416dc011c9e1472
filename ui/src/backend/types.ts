// Generated from Rust by `bizing-desk types`. Do not edit.

export type Action = { 
/**
 * `cancel_booking`, `open_payment_page`, `pause_projection`
 */
name: string, 
/**
 * `None`: can be done now. Else why not, in words.
 */
refused: string | null, };

export type AddIncomingSecret = { 
/**
 * Made when the dialog opens: pressed twice, it is one.
 */
secret_id: string, secret: string, 
/**
 * So long those that are here go on beside it, 0 to 168 hours; `None`: for good.
 */
others_for_h: number | null, reason: string, };

export type AddPerson = { 
/**
 * 2 to 31 of `a` to `z`, digits and `_`, a letter first.
 */
login: string, name: string, group: Group, };

export type AllowList = { version: number, 
/**
 * `10.1.0.0/16`, `printer.local`
 */
entries: Array<string>, changed_by: string | null, changed_at: string | null, reason: string | null, refused: string | null, };

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

export type Approval = { command: SagaCommand, plan: SagaPlan, 
/**
 * Something changed since it was asked for: it can only be refused.
 */
changed: boolean, };

export type Arrival = { row: InboxRow, api_version: string | null, created_at: string | null, bytes: number | null, 
/**
 * Which secret of how many, from 1.
 */
secret_no: number | null, secrets: number | null, signed_at: string | null, 
/**
 * Allowed between signing and receiving.
 */
tolerance_s: number, 
/**
 * The receiving computer's clock less the provider's, when it was seen.
 */
skew_s: number | null, receiver: string | null, saga_id: string | null, steps: Array<InboxStep>, 
/**
 * As it came, byte for byte; cut at 256 KiB.
 */
raw: string | null, reprocess_refused: string | null, };

export type AsOf = { "as_of": "latest" } | { "as_of": "version", version: number, } | { "as_of": "position", position: number, } | { "as_of": "time", 
/**
 * Wall time of the place, `2026-11-24T11:00`.
 */
wall: string, };

export type AskStripe = { 
/**
 * Made when it is pressed: pressing twice asks once.
 */
ask_id: string, saga_id: string, };

export type AuditFound = { 
/**
 * `stream.hash_chain`
 */
name: string, found: number, };

export type BackUpNow = { command_id: string, };

export type Backup = { backup_id: string, made: Moment, why: BackupWhy, 
/**
 * The schema that was about to be installed, when that is why.
 */
before_schema: number | null, by: string | null, file: string, size_bytes: number, schema_version: number, 
/**
 * `15.18`
 */
server_version: string, 
/**
 * The log up to here is in it.
 */
position: number, events: number, proof: BackupProof, };

export type BackupProof = { state: ProofState, at: Moment | null, 
/**
 * Events that the restored copy held.
 */
events: number | null, chain_intact: boolean | null, seconds: number | null, problem: string | null, };

export type BackupRun = { work: BackupWork, backup_id: string | null, by: string | null, started_at: string, };

export type BackupWhy = "daily" | "before_migration" | "asked";

export type BackupWork = "back_up" | "verify" | "restore";

export type Backups = { 
/**
 * Newest first.
 */
rows: Array<Backup>, 
/**
 * The newest that was restored on trial and found whole.
 */
last_good: string | null, 
/**
 * Where they lie. `None`: nowhere yet.
 */
folder: string | null, kept_days: number, kept_bytes: number, 
/**
 * Wall time of the place, `03:30`. `None`: no daily backup is set up.
 */
daily_at: string | null, next: Moment | null, 
/**
 * What is being done with them now.
 */
running: BackupRun | null, 
/**
 * `back_up_now`, `verify_backup`, `restore_backup`.
 */
actions: Array<Action>, };

export type BatchItem = { saga_id: string, reference: string, customer: string, 
/**
 * `pending`, `applied`, `refused`
 */
status: string, 
/**
 * Why it was left out.
 */
refusal: string | null, 
/**
 * When it was asked for, or refused.
 */
at: string | null, 
/**
 * Where its saga stands now: asking is not succeeding.
 */
saga_state: SagaState | null, 
/**
 * What its plan gives back; `None`: nothing, or it was left out.
 */
refund: Money | null, 
/**
 * That has come about.
 */
refunded: boolean, 
/**
 * By what its end can be seen.
 */
evidence: string | null, };

export type BatchMember = { saga_id: string, version: number, hash: string, 
/**
 * `resolve`: by what its end can be seen. Each has its own.
 */
evidence?: string | null, };

export type BatchPage = { batch: SagaBatch, 
/**
 * In the order in which they are taken.
 */
items: Array<BatchItem>, 
/**
 * What was given back so far, a sum for each currency. What is under way is not in it.
 */
refunded: Array<Money>, };

export type BatchPlan = { 
/**
 * What would be done: send it back to begin. What comes later never joins.
 */
members: Array<BatchMember>, 
/**
 * The members by name, in the same order.
 */
seen: Array<BatchSeen>, refused: Array<BatchRefusal>, 
/**
 * A sum for each currency.
 */
refunds: Array<Money>, refund_count: number, 
/**
 * Authorisations that are let go, a sum for each currency.
 */
authorisations: Array<Money>, 
/**
 * `resolve`: what lies with the business and stays there, a sum for each currency.
 */
kept: Array<Money>, bookings_cancelled: number, slots_freed: number, messages: number, needs_approval: boolean, 
/**
 * The number of sagas must be typed.
 */
typed: boolean, };

export type BatchRefusal = { saga_id: string, reference: string, reason: string, };

export type BatchSeen = { saga_id: string, reference: string, customer: string, 
/**
 * What lies with the business.
 */
kept: Money, };

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
cancelled: Cancelled | null, 
/**
 * Somebody noted that they did not come.
 */
no_show: boolean, money: MoneyLine, 
/**
 * Of its payment, oldest first.
 */
disputes: Array<Dispute>, saga: SagaView | null, 
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
 * Which saga runs this booking: `booking`, `booking_free`, `cancellation`. It says what the steps are.
 */
saga: string | null, 
/**
 * One for each step of it, in order. Empty when no saga runs this booking.
 */
steps: Array<StepState>, changed_at: string, };

export type BookingSort = "starts" | "changed" | "customer" | "price" | "reference";

export type BookingState = "held" | "awaiting_payment" | "confirmed" | "cancelled" | "expired";

export type BulkAction = "redeliver" | "cancel" | "recover" | "reprocess";

export type BulkShare = { destination_id: string, destination: string, count: number, 
/**
 * Of those, were delivered before: the receiver gets them twice.
 */
delivered_before: number, 
/**
 * `paused`, `failing`, `disabled`: they wait until it works.
 */
waits_for: string | null, };

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

export type CancelDelivery = { delivery_id: string, reason: string, };

export type Cancelled = { by: string, 
/**
 * `hold_expired`, `payment_failed`, `not_told`, `asked`
 */
reason_code: string, reason: string | null, };

export type CaptureExhausted = "park" | "undo";

export type CardDeclined = "link" | "park";

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

export type CauseEdge = { from: string, to: string, how: CauseHow, };

export type CauseGraph = { 
/**
 * Oldest first.
 */
nodes: Array<CauseNode>, edges: Array<CauseEdge>, 
/**
 * Nodes that were left out because the conversation is longer than one answer.
 */
left_out: number, };

export type CauseHow = "caused" | "matched";

export type CauseKind = "command" | "event" | "saga_attempt" | "signal" | "delivery";

export type CauseNode = { 
/**
 * Unique in this graph.
 */
id: string, kind: CauseKind, 
/**
 * Event name, `payment.forward`, command name, `email`.
 */
what: string, schema_version: number | null, position: number | null, at: Moment, actor: string | null, subject: string | null, 
/**
 * Result of a try, state of a delivery.
 */
state: string | null, 
/**
 * What else names it: the start of a command id, a provider's object.
 */
mark: string | null, };

export type ChainCheck = { at: Moment, intact: boolean, events: number, 
/**
 * Where it broke first.
 */
broken_at: number | null, };

export type ChangeBatch = { batch_id: string, 
/**
 * `approve`, `reject`, `stop`, `go_on`, `end`
 */
change: string, 
/**
 * `reject`: why, for whoever asked.
 */
reason: string, };

export type ChangeEndpoint = { destination_id: string, version: number, action: EndpointAction, 
/**
 * With `enable`: what happened since then is owed too.
 */
recover_since: string | null, reason: string, };

export type ChangePerson = { login: string, change: PersonChange, };

export type ChangeProjection = { command_id: string, projection: string, 
/**
 * Needed to roll back: at least 10 characters.
 */
reason: string | null, };

export type ChangeRebuild = { command_id: string, rebuild_id: string, 
/**
 * Needed to cancel and to swap: at least 10 characters.
 */
reason: string | null, };

export type ChangeRedelivery = { bulk_id: string, 
/**
 * `stop`, `go_on`, `cancel`
 */
change: string, };

export type CheckOrphan = { 
/**
 * Made when it is pressed: pressing twice asks once.
 */
ask_id: string, case_id: string, };

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

export type CloseOrphan = { case_id: string, reason: string, 
/**
 * By what it can be seen: `re_…`, a bank's reference, a note.
 */
evidence: string, };

export type Code = "request.invalid" | "request.unknown_command" | "request.not_found" | "request.forbidden" | "request.command_reused" | "booking.slot_taken" | "booking.refused" | "stream.conflict" | "database.not_chosen" | "database.starting" | "database.unreachable" | "database.wrong_password" | "database.schema_older" | "database.schema_newer" | "database.no_server" | "sandbox.unreachable" | "internal";

export type CodeClass = "none" | "ok" | "redirect" | "client" | "server";

export type CommandSaga = { 
/**
 * Made when the dialog opens: pressing twice acts once.
 */
command_id: string, saga_id: string, action: string, version: number, plan_hash: string | null, params: SagaParams, reason: string, 
/**
 * `correct`: the customer's right address. It goes sealed into the customer's history, and never into the audit.
 */
email?: string | null, };

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
leave_database: [Empty, HostState], session: [Empty, Session], status: [Empty, Status], 
/**
 * What closing this window would cut short.
 */
leaving: [Empty, Leaving], list_bookings: [ListBookings, BookingList], get_booking: [GetBooking, BookingPage], create_booking: [CreateBooking, Booked], 
/**
 * Asks the saga to stop and take everything back.
 */
cancel_booking: [CancelBooking, CancelAsked], 
/**
 * Whether the customer came, as the place saw it.
 */
set_no_show: [SetNoShow, NoShowSet], catalogue: [Empty, Catalogue], free_times: [FreeTimes, FreeTimesReply], find_customers: [FindCustomers, Array<CustomerRow>], get_customer_history: [GetCustomerHistory, CustomerHistory], 
/**
 * What the sandbox's mail catch-all holds, newest first.
 */
caught_messages: [Empty, Array<CaughtMessage>], 
/**
 * The log, newest first, a page at a time.
 */
list_events: [ListEvents, EventPage], get_event: [GetEvent, EventDetail], 
/**
 * The graph of one conversation.
 */
event_causes: [EventCauses, CauseGraph], 
/**
 * A stream as it was, told from its events.
 */
state_as_of: [StateAsOf, StreamState], event_catalogue: [Empty, EventCatalogue], copy_events: [CopyEvents, EventsCopied], export_events: [ExportEvents, EventLines], 
/**
 * Sagas by whom they wait for, with counts and causes.
 */
list_sagas: [ListSagas, SagaList], 
/**
 * A page of the list for a spreadsheet.
 */
export_sagas: [ListSagas, SagaCsv], 
/**
 * How sagas went in the last days.
 */
saga_figures: [GetSagaFigures, SagaFigures], get_saga: [GetSaga, SagaPage], 
/**
 * What an action would do now. Changes nothing.
 */
preview_saga: [PreviewSaga, SagaPlan], command_saga: [CommandSaga, SagaCommanded], 
/**
 * A request that waits for a second person, with its plan as it is now.
 */
get_approval: [GetApproval, Approval], decide_saga_command: [DecideCommand, SagaCommand], 
/**
 * Walks along Stripe's lists now, for what does not fit the ledger.
 */
ask_sweep: [Empty, Empty], close_orphan: [CloseOrphan, Empty], 
/**
 * Lets a worker look at that one object again. What holds no money any more is closed by it.
 */
check_orphan: [CheckOrphan, StripeAsk], 
/**
 * Takes it into the books, or gives it back; a worker does it.
 */
decide_orphan: [DecideOrphan, StripeAsk], 
/**
 * Lets a worker that holds the key look at Stripe. Changes nothing.
 */
ask_stripe: [AskStripe, StripeAsk], get_ask: [GetAsk, StripeAsk], 
/**
 * What one decision for many would do. Changes nothing.
 */
preview_batch: [PreviewBatch, BatchPlan], 
/**
 * What is left of a decision for many that was asked for, as it is now. Changes nothing.
 */
preview_asked_batch: [PreviewAskedBatch, BatchPlan], 
/**
 * Freezes the set that was seen; workers carry it out.
 */
start_batch: [StartBatch, SagaBatch], change_batch: [ChangeBatch, SagaBatch], 
/**
 * A decision for many with what became of each.
 */
get_batch: [GetBatch, BatchPage], get_saga_policy: [Empty, SagaPolicy], 
/**
 * A new version of the policies, with its reason.
 */
put_saga_policy: [PutSagaPolicy, SagaPolicy], 
/**
 * How fast and how many at once each provider is asked, and whether it is.
 */
list_providers: [Empty, Providers], put_provider: [PutProvider, Providers], 
/**
 * Lets one saga ahead at once; its answer opens the way for the others.
 */
open_gate: [OpenGate, Providers], 
/**
 * Where things are sent, worst first.
 */
list_endpoints: [Empty, Endpoints], get_endpoint: [GetEndpoint, Endpoint], 
/**
 * What got through, what failed and how long tries took, by the hour or the day.
 */
get_endpoint_history: [GetEndpointHistory, EndpointHistory], put_endpoint: [PutEndpoint, EndpointSaved], change_endpoint: [ChangeEndpoint, Endpoint], 
/**
 * What turning it on again would owe to it. Changes nothing.
 */
preview_recovery: [PreviewRecovery, RecoveryPlan], rotate_secret: [RotateSecret, EndpointSaved], 
/**
 * Shows a secret once more, and writes down who looked.
 */
reveal_secret: [RevealSecret, SecretShown], 
/**
 * Which of the last events would go there. Changes nothing.
 */
try_filter: [TryFilter, FilterTried], send_test: [SendTest, DeliveryRef], hook_catalogue: [Empty, Array<HookEvent>], get_allow_list: [Empty, AllowList], put_allow_list: [PutAllowList, AllowList], get_notice_list: [Empty, NoticeList], put_notice_list: [PutNoticeList, NoticeList], get_delivery_retention: [Empty, DeliveryRetention], 
/**
 * A new version of how long deliveries are kept, with its reason.
 */
put_delivery_retention: [PutDeliveryRetention, DeliveryRetention], list_deliveries: [ListDeliveries, DeliveryList], get_delivery: [GetDelivery, DeliveryDetail], redeliver: [Redeliver, DeliveryRef], cancel_delivery: [CancelDelivery, DeliveryRef], 
/**
 * What sending many again would do. Changes nothing.
 */
preview_redelivery: [PreviewRedelivery, RedeliveryPlan], 
/**
 * Freezes the set that was seen; a worker carries it out.
 */
start_redelivery: [StartRedelivery, Redelivery], change_redelivery: [ChangeRedelivery, Redelivery], list_redeliveries: [Empty, Array<Redelivery>], 
/**
 * What came in, newest first, and how it comes in.
 */
list_inbox: [ListInbox, InboxList], get_arrival: [GetArrival, Arrival], 
/**
 * Once more through the same door.
 */
reprocess: [Reprocess, Reprocessed], preview_reprocess: [PreviewReprocess, ReprocessPlan], start_reprocess: [StartReprocess, Redelivery], 
/**
 * Lets whoever reads the provider's list of events do it at once.
 */
poll_now: [Empty, Empty], 
/**
 * What a provider signs with, masked, and who added and ended which.
 */
list_incoming_secrets: [Empty, IncomingSecrets], add_incoming_secret: [AddIncomingSecret, IncomingSecrets], end_incoming_secret: [EndIncomingSecret, IncomingSecrets], list_people: [Empty, People], list_names: [Empty, PeopleNames], 
/**
 * A login of their own; its password is shown this once.
 */
add_person: [AddPerson, PersonMade], change_person: [ChangePerson, Person], reset_password: [ResetPassword, PersonMade], list_projections: [Empty, Projections], list_rebuilds: [ListRebuilds, RebuildList], list_projection_changes: [ListProjectionChanges, ProjectionChanges], get_rebuild: [GetRebuild, Rebuild], 
/**
 * What a replay would read, and how long it would take. Changes nothing.
 */
preview_replay: [PreviewReplay, ReplayPreview], start_replay: [StartReplay, ReplayStarted], pause_rebuild: [ChangeRebuild, Rebuild], resume_rebuild: [ChangeRebuild, Rebuild], cancel_rebuild: [ChangeRebuild, Rebuild], set_rebuild_speed: [SetRebuildSpeed, Rebuild], 
/**
 * Readers go over to the new generation; the old one is kept for a roll back.
 */
swap_rebuild: [ChangeRebuild, Rebuild], list_diff: [ListDiff, DiffPage], pause_projection: [ChangeProjection, Projection], resume_projection: [ChangeProjection, Projection], roll_back_projection: [ChangeProjection, Projection], retry_parked: [ChangeProjection, Projection], skip_parked: [SkipParked, Projection], withdraw_skip: [WithdrawSkip, Projection], list_backups: [Empty, Backups], back_up_now: [BackUpNow, BackupRun], 
/**
 * Restores it into a database of its own, counts, checks the chain, and drops the copy.
 */
verify_backup: [VerifyBackup, BackupRun], preview_restore: [PreviewRestore, RestorePreview], restore_backup: [RestoreBackup, BackupRun], 
/**
 * What the doctor found the last times, for everybody who may look.
 */
list_proofs: [Empty, Proofs], 
/**
 * Runs every audit, and hashes every event again. Returns at once; what comes of it is in `list_proofs`.
 */
examine: [Examine, DoctorRunning], 
/**
 * The room that the database takes.
 */
space: [Empty, Space], preview_erasure: [PreviewErasure, ErasurePreview], erase_customer: [EraseCustomer, CustomerErased], };

export type Compare = { rows: number, 
/**
 * `false`: these are the counts so far.
 */
complete: boolean, different: number, only_live: number, only_new: number, 
/**
 * Over every row of each, hex.
 */
live_hash: string | null, new_hash: string | null, 
/**
 * `false`: the live rows were parked or paused, and what they have not read yet counts as a difference.
 */
same_position: boolean, };

export type CopyEvents = { "copy": "event", position: number, } | { "copy": "correlation", correlation_id: string, };

export type Count = { count: number, 
/**
 * Taken from the server's statistics, not counted.
 */
estimated: boolean, };

export type Counts = { 
/**
 * Sagas that a person must decide, and disputes that nobody has answered yet.
 */
sagas_need_person: number, sagas_open: number, deliveries_failing: number, 
/**
 * Gave up, are unclear or held, and endpoints that turned themselves off: nobody tries again by itself. Counted up to 1,000.
 */
deliveries_need_person: number, };

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

export type CustomerErased = { customer_id: string, erased_at: string, };

export type CustomerHistory = { bookings: number, 
/**
 * Confirmed, not given up, begun, and they came.
 */
visits: number, no_shows: number, cancelled: number, 
/**
 * Paid and not given back, by currency. Empty: nothing yet.
 */
spent: Array<Money>, 
/**
 * By their start, the latest first; no more than eight.
 */
latest: Array<CustomersBooking>, };

export type CustomerRow = { customer_id: string, name: string, email: string | null, phone: string | null, bookings: number, last_booking_at: string | null, };

export type CustomersBooking = { booking_id: string, reference: string, service: string, starts: Moment, state: BookingState, };

export type DecideCommand = { command_id: string, approve: boolean, plan_hash: string, reason: string, };

export type DecideOrphan = { 
/**
 * Made when the dialog opens: pressing twice does it once.
 */
ask_id: string, case_id: string, 
/**
 * `adopt`, `give_back`
 */
deed: string, 
/**
 * At least 10 characters; it stands with the case and in the saga's history.
 */
reason: string, };

export type DeliveryCounts = { delivered_today: number, scheduled: number, retrying: number, gave_up: number, unclear: number, held: number, all: Count, };

export type DeliveryDetail = { row: DeliveryRow, event_version: number, correlation_id: string, timeout_ms: number | null, url: string | null, 
/**
 * Newest first.
 */
tries: Array<DeliveryTry>, 
/**
 * The first ones are not among them: those from before then are no longer kept.
 */
tries_forgotten_before: string | null, 
/**
 * Exactly the bytes that would be sent now. Of an e-mail: `None`.
 */
body: string | null, 
/**
 * Those that tries sent, one for each shape.
 */
bodies: Array<ShapedBody>, signature: SignatureView | null, 
/**
 * Placeholders stand for secrets.
 */
curl: string | null, 
/**
 * Why it cannot be sent again.
 */
redeliver_refused: string | null, cancel_refused: string | null, };

export type DeliveryFilter = { 
/**
 * Those whose event is younger.
 */
since: string | null, until: string | null, states: Array<DeliveryState>, destination_ids: Array<string>, events: Array<string>, codes: Array<CodeClass>, errors: Array<ErrorClass>, booking_id: string | null, event_id: string | null, 
/**
 * The event's payload contains this (`jsonb @>`).
 */
payload: Record<string, unknown> | null, 
/**
 * A booking's reference, a delivery's or a message's id.
 */
search: string | null, };

export type DeliveryList = { rows: Array<DeliveryRow>, next: string | null, counts: DeliveryCounts, 
/**
 * Of what was asked for; with a payload or a search it is counted up to 1,000.
 */
matching: Count, 
/**
 * A search in payloads looks through the newest 100,000 deliveries. `None`: that is all of what was asked for.
 */
looked_since: string | null, };

export type DeliveryRef = { delivery_id: string, };

export type DeliveryRetention = { version: number, deliveries_days: number, 
/**
 * `None`: as shipped.
 */
changed_by: string | null, changed_at: string, reason: string | null, refused: string | null, };

export type DeliveryRow = { delivery_id: string, 
/**
 * When something last happened to it.
 */
at: string, created_at: string, state: DeliveryState, event_name: string, event_id: string, position: number, booking_id: string | null, reference: string | null, destination_id: string, 
/**
 * `webhook`, `email`
 */
kind: string, 
/**
 * The destination's name.
 */
destination: string, 
/**
 * Of an e-mail: which.
 */
template: string | null, 
/**
 * Made so far.
 */
tries: number, 
/**
 * Made at most.
 */
most_tries: number, code: number | null, error: string | null, total_ms: number | null, next_at: string | null, give_up_at: string | null, 
/**
 * Why it waits although it is due: `paused`, `failing`, `retry_after`, `held`, `in_order`, `disabled`.
 */
waits_for: string | null, trigger: DeliveryTrigger, };

export type DeliveryState = "scheduled" | "sending" | "retrying" | "delivered" | "gave_up" | "unclear" | "skipped" | "paused" | "held" | "cancelled";

export type DeliveryTrigger = "auto" | "manual" | "replay" | "test";

export type DeliveryTry = { no: number, trigger: DeliveryTrigger, 
/**
 * Of a try that a person asked for.
 */
by: string | null, reason: string | null, started_at: string, ended_at: string | null, 
/**
 * `accepted`, `not_sent`, `later`, `refused`, `unclear`, `skipped`; `None` while it is made.
 */
result: string | null, 
/**
 * `dns`, `connect`, `tls`, `timeout`, `blocked_address`, `redirect`, `status`, `interrupted`, …
 */
error_class: string | null, error: string | null, code: number | null, 
/**
 * Where it went, and what it was: today's endpoint may differ.
 */
url: string | null, shape: EndpointShape, timings: TryTimings | null, peer: string | null, 
/**
 * `TLSv1.3`; of a webhook that went by `https`.
 */
tls: string | null, 
/**
 * Name and value; secret values are `***`.
 */
request_headers: Array<[string, string]>, response_headers: Array<[string, string]>, 
/**
 * The first 16 KiB, as text.
 */
response_body: string | null, response_cut: boolean, };

export type DiffCell = { column: string, live: unknown, new: unknown, };

export type DiffKind = "different" | "only_live" | "only_new";

export type DiffPage = { rows: Array<DiffRow>, next: string | null, };

export type DiffRow = { 
/**
 * The table, when a projection has several: `bookings`.
 */
table: string, key: string, 
/**
 * What people call the row.
 */
subject: string | null, 
/**
 * Columns that differ; every column, when the row stands on one side only.
 */
cells: Array<DiffCell>, };

export type Disk = { free_bytes: number, size_bytes: number, };

export type Dispute = { 
/**
 * `dp_…`
 */
dispute_id: string, saga_id: string, booking_id: string, reference: string | null, 
/**
 * In Stripe's words: `needs_response`, `under_review`, `won`, …; `None`: it could not be looked at yet.
 */
status: string | null, 
/**
 * In Stripe's words: `fraudulent`, `product_not_received`, …
 */
reason: string | null, amount: Money | null, 
/**
 * Until when Stripe takes evidence.
 */
evidence_due_at: string | null, 
/**
 * Evidence was sent in.
 */
answered: boolean, told_at: string, closed_at: string | null, 
/**
 * Why it could not be looked at, or fits no payment here.
 */
problem: string | null, };

export type DoctorRun = { run_id: string, at: Moment, by: string, seconds: number, deep: boolean, events: number, audits: Array<AuditFound>, };

export type DoctorRunning = { run_id: string, started_at: string, 
/**
 * Streams hashed so far, and in all; `None` before that begins.
 */
streams: number | null, of: number | null, };

export type Empty = Record<symbol, never>;

export type EndExhausted = "park" | "continue";

export type EndIncomingSecret = { secret_id: string, reason: string, };

export type Endpoint = { row: EndpointRow, 
/**
 * Of a webhook; other kinds are set up under Settings.
 */
url: string | null, note: string | null, shape: EndpointShape, 
/**
 * `BookingConfirmed`, `Payment*`, `*`
 */
events: Array<string>, 
/**
 * Those that it takes today.
 */
matches: Array<string>, filter: Record<string, unknown> | null, secrets: Array<EndpointSecret>, sending: EndpointSending | null, last_delivered_at: string | null, consecutive_failures: number, changes: Array<EndpointChange>, };

export type EndpointAction = "pause" | "resume" | "try_now" | "keep_on" | "disable" | "enable" | "delete" | "send_held" | "send_held_newest" | "cancel_held";

export type EndpointBar = { from: string, until: string, delivered: number, 
/**
 * Tries; a delivery may have several.
 */
failed: number, 
/**
 * Half of its tries, and 19 of 20, took at most so long. From counts by length, so a little high.
 */
p50_ms: number | null, p95_ms: number | null, };

export type EndpointChange = { at: string, by: string, 
/**
 * `created`, `changed`, `paused`, `resumed`, `disabled`, `enabled`, `secret_rotated`, `secret_shown`, `deleted`, …
 */
what: string, reason: string | null, };

export type EndpointHistory = { 
/**
 * The oldest first; the last is not over.
 */
bars: Array<EndpointBar>, 
/**
 * Of all of them.
 */
delivered: number, failed: number, p50_ms: number | null, p95_ms: number | null, };

export type EndpointHour = { at: string, delivered: number, failed: number, };

export type EndpointRow = { destination_id: string, 
/**
 * `webhook`, `email`
 */
kind: string, name: string, 
/**
 * Of a webhook: its host.
 */
host: string | null, state: EndpointState, 
/**
 * Why it is not working, as the engine noted it: `failing`, `gone`, `refuses_key`, `retry_after`, `by_person`, `days_of_failures`.
 */
why: string | null, 
/**
 * The last thing that went wrong, in the words of whoever said it.
 */
last_error: string | null, last_code: number | null, since: string | null, failing_since: string | null, 
/**
 * It turns itself off then, if nothing gets through.
 */
disabled_at: string | null, 
/**
 * Types of events that it takes, written out.
 */
takes: Array<string>, hours: Array<EndpointHour>, delivered_today: number, 
/**
 * Due or scheduled, not over.
 */
owed: number, sending: number, 
/**
 * Wait for a decision after this desk was closed for long.
 */
held: number, gave_up: number, unclear: number, oldest_owed_at: string | null, p95_ms: number | null, 
/**
 * When it is tried next, or its next delivery is due.
 */
next_at: string | null, version: number, };

export type EndpointSaved = { endpoint: Endpoint, secret: string | null, };

export type EndpointSecret = { secret_id: string, 
/**
 * `whsec_…t4Qe`
 */
hint: string, created_at: string, 
/**
 * Signs until then; `None`: for good.
 */
expires_at: string | null, };

export type EndpointSending = { 
/**
 * Seconds before each try; the first is 0.
 */
schedule_s: Array<number>, timeout_ms: number, max_in_flight: number, rate_per_s: number | null, 
/**
 * The deliveries of one booking follow one another.
 */
in_order: boolean, 
/**
 * Values are sealed at rest and shown as `***`, except to whoever just typed them.
 */
headers: { [key in string]: string }, };

export type EndpointShape = "event" | "slack" | "discord" | "teams";

export type EndpointSpan = "day" | "week" | "month";

export type EndpointState = "works" | "failing" | "waiting" | "paused" | "disabled";

export type EndpointTrouble = { destination_id: string, name: string, 
/**
 * `gone`, `days_of_failures`; `None`: it still works on, and warns.
 */
off: string | null, since: string | null, 
/**
 * When it turns itself off, if nothing gets through.
 */
off_at: string | null, error: string | null, 
/**
 * Rises with each thing that there is to tell.
 */
news: number, };

export type Endpoints = { 
/**
 * Worst first.
 */
rows: Array<EndpointRow>, delivered_today: number, 
/**
 * Why the person may not make or change endpoints, turn them on and off, delete them or look at secrets: admins do.
 */
refused: string | null, 
/**
 * Why the person may not pause and resume them, try them now, send a test or decide what is held: managers do.
 */
run_refused: string | null, };

export type EraseCustomer = { command_id: string, customer_id: string, 
/**
 * At least 10 characters; it stands in the audit and names nobody.
 */
reason: string, };

export type ErasurePreview = { customer: CustomerRow, 
/**
 * Events with sealed fields that nobody can open afterwards.
 */
events: number, bookings: number, 
/**
 * `name`, `email`, `phone`
 */
fields: Array<string>, 
/**
 * Backups that still hold the key; a restore erases again.
 */
backups: number, refused: string | null, };

export type ErrorClass = "name" | "connect" | "tls" | "timeout" | "broken" | "blocked" | "too_large" | "answer";

export type EventCatalogue = { 
/**
 * By name.
 */
types: Array<EventType>, categories: Array<string>, 
/**
 * The logins of people, and who has written lately. Any other login may be asked for as well.
 */
actors: Array<string>, };

export type EventCauses = { correlation_id: string, };

export type EventDelivery = { delivery_id: string, 
/**
 * `email`
 */
kind: string, destination: string, template: string | null, state: DeliveryState, attempts: number, next_try_at: string | null, finished_at: string | null, };

export type EventDetail = { row: EventRow, 
/**
 * Versions that the stream has now.
 */
stream_versions: number, 
/**
 * The event that caused it, when an event did.
 */
cause: EventRef | null, app_version: string | null, metadata: Record<string, unknown>, 
/**
 * As it lies in the table, sealed fields included.
 */
stored: Record<string, unknown>, 
/**
 * As the code of today reads it. `None`: this app cannot read it, see `unreadable`.
 */
read: Record<string, unknown> | null, read_version: number, unreadable: string | null, 
/**
 * From the stored version to `read_version`, in order; empty when they are one.
 */
upcast: Array<UpcastStep>, sealed: Array<SealedField>, 
/**
 * Every registered version of this event's type, oldest first.
 */
schemas: Array<EventSchema>, 
/**
 * Hex.
 */
hash: string, 
/**
 * Of the event before in the stream, hex; empty for the first.
 */
hash_before: string, 
/**
 * Computed again while this was read.
 */
hash_matches: boolean, 
/**
 * What was owed because of this event.
 */
deliveries: Array<EventDelivery>, };

export type EventFilter = { 
/**
 * Event names, `BookingConfirmed`; any of them.
 */
types: Array<string>, 
/**
 * `booking-0193…`, or a booking's reference, `BK-7Q4M2K`.
 */
stream: string | null, 
/**
 * `booking`, `customer`
 */
category: string | null, correlation_id: string | null, causation_id: string | null, 
/**
 * The login, as the database knows it.
 */
actor: string | null, 
/**
 * Wall time of the place, `2026-11-24T11:00`; recorded at or after it.
 */
from: string | null, 
/**
 * Wall time of the place; recorded before it.
 */
to: string | null, 
/**
 * SQL/JSON path over the stored payload, `$.price.amount_minor > 10000`.
 */
json_path: string | null, };

export type EventLines = { 
/**
 * One JSON object a line, as an event is copied.
 */
lines: string, events: number, 
/**
 * All up to here was looked at. At `upto` it is the last piece.
 */
after: number, upto: number, };

export type EventPage = { 
/**
 * Newest first, whichever way was read.
 */
rows: Array<EventRow>, 
/**
 * There are more in the direction that was read, or may be: see `searched`.
 */
more: boolean, 
/**
 * The filter has to look at one event after the other, and stopped here for now.
 */
searched: Searched | null, 
/**
 * Events in the whole log.
 */
total: Count, 
/**
 * Events that match. `None`: nobody counted, because it would read the log.
 */
matched: Count | null, 
/**
 * Every event at or below it is decided; rows never lie above it.
 */
safe_position: number, 
/**
 * The last check of the hash chain; `None`: never checked.
 */
chain: ChainCheck | null, };

export type EventRef = { position: number, name: string, };

export type EventRow = { position: number, event_id: string, 
/**
 * `BookingConfirmed`
 */
name: string, 
/**
 * As stored.
 */
schema_version: number, 
/**
 * `booking-0193…`
 */
stream_id: string, 
/**
 * `booking`
 */
category: string, 
/**
 * What people call the thing: a booking's reference, a customer's name. `None`: nothing shorter than the id.
 */
subject: string | null, 
/**
 * In its stream.
 */
version: number, correlation_id: string, causation_id: string | null, occurred: Moment, recorded_at: string, actor: string, on_behalf_of: string | null, };

export type EventSchema = { version: number, 
/**
 * The one that is written today.
 */
current: boolean, registered_at: string | null, 
/**
 * JSON Schema.
 */
schema: Record<string, unknown> | null, };

export type EventType = { name: string, 
/**
 * Registered versions, oldest first; the last one is written today.
 */
versions: Array<number>, };

export type EventsCopied = { 
/**
 * One object for an event, a list for a conversation, indented.
 */
json: string, events: number, 
/**
 * Events that were left out because there are more than one answer holds.
 */
left_out: number, };

export type Examine = { command_id: string, };

export type ExportEvents = { filter: EventFilter, 
/**
 * Events after this position: 0, then what the answer before said.
 */
after: number, 
/**
 * None for the first piece, then what its answer said: the file ends there, however the log grows.
 */
upto: number | null, };

export type FactKind = "booking_state" | "payment_state" | "money" | "moment" | "text" | "number" | "other";

export type FilterTried = { 
/**
 * The last 20 of the types it takes, newest first.
 */
events: Array<TriedEvent>, types_today: Array<string>, };

export type FindCustomers = { search: string, 
/**
 * 1 to 50.
 */
limit: number, };

export type Fold = "first" | "second";

export type FoldedWithout = { event_name: string, 
/**
 * The rows have no event of this type up to here.
 */
upto: number, };

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

export type GetApproval = { command_id: string, };

export type GetArrival = { arrival_id: number, };

export type GetAsk = { ask_id: string, };

export type GetBatch = { batch_id: string, };

export type GetBooking = { 
/**
 * A booking id, or a reference such as `BK-7Q4M2K`.
 */
booking: string, };

export type GetCustomerHistory = { customer_id: string, };

export type GetDelivery = { delivery_id: string, };

export type GetEndpoint = { destination_id: string, };

export type GetEndpointHistory = { destination_id: string, span: EndpointSpan, };

export type GetEvent = { position: number, };

export type GetRebuild = { rebuild_id: string, };

export type GetSaga = { saga_id: string, };

export type GetSagaFigures = { 
/**
 * 1 to 366.
 */
days: number, };

export type Group = "viewer" | "staff" | "manager" | "admin";

export type Hint = { 
/**
 * `bookings`, `booking:<id>`, `customers`, `status`, `host`, `messages`, `catalogue`, `events`,
 * `projections`, `sagas`, `backups`, `proofs`, `inbox`, `deliveries`; `*` = everything (after a gap).
 */
topics: Array<string>, };

export type HookEvent = { name: string, version: number, schema: Record<string, unknown>, example: Record<string, unknown>, };

export type HostState = { phase: Phase, profile: ProfileKind | null, app_version: string, data_folder: string, 
/**
 * True when `DATABASE_URL` decides and the window must not offer a choice.
 */
fixed_by_environment: boolean, };

export type InboxCheck = "asked" | "genuine" | "too_old" | "from_the_future" | "forged" | "malformed";

export type InboxCounts = { today: number, done_today: number, duplicates_today: number, refused_today: number, waiting: number, quarantined: number, };

export type InboxFilter = { since: string | null, until: string | null, results: Array<InboxResult>, via: InboxVia | null, kinds: Array<string>, booking_id: string | null, 
/**
 * The payload contains this (`jsonb @>`).
 */
payload: Record<string, unknown> | null, 
/**
 * `evt_…`, `pi_…`, `re_…`, a booking's reference.
 */
search: string | null, 
/**
 * What this decision for many had processed again.
 */
decision: string | null, };

export type InboxList = { rows: Array<InboxRow>, next: string | null, counts: InboxCounts, sources: Array<InboxSource>, };

export type InboxResult = "waiting" | "done" | "nothing_new" | "not_ours" | "kept" | "duplicate" | "not_taken" | "quarantined";

export type InboxRow = { 
/**
 * Of one arrival: a duplicate or a refused one has its own.
 */
arrival_id: number, 
/**
 * `stripe`
 */
source: string, 
/**
 * `evt_…`; `None` if it could not be read.
 */
external_id: string | null, kind: string | null, object_id: string | null, via: InboxVia, received_at: string, check: InboxCheck, result: InboxResult, booking_id: string | null, reference: string | null, 
/**
 * Why it waits or failed, in words.
 */
problem: string | null, tries: number, next_at: string | null, 
/**
 * What the desk wrote because of it.
 */
led_to: LedTo | null, };

export type InboxSource = { 
/**
 * `stripe`
 */
source: string, polls: boolean, poll_at: string | null, poll_problem: string | null, 
/**
 * Seconds between two questions as things are.
 */
poll_every_s: number | null, payments_awaited: number, cursor: string | null, cursor_created_at: string | null, 
/**
 * Kept, not processed.
 */
waiting: number, 
/**
 * From the provider's clock to our inbox, of today.
 */
lag_p95_s: number | null, 
/**
 * Our clock less the provider's.
 */
skew_s: number | null, 
/**
 * A secret is set: webhooks are taken.
 */
webhook: boolean, webhook_at: string | null, };

export type InboxStep = { 
/**
 * `refused`, `kept`, `came_again`, `came_by_poll`, `signalled`, `event`, `quarantined`, `reprocessed`
 */
what: string, at: string, 
/**
 * Of an event that followed: `PaymentReceived`.
 */
name: string | null, position: number | null, event_id: string | null, by: string | null, text: string | null, };

export type InboxVia = "webhook" | "poll";

export type IncomingSecret = { secret_id: string, 
/**
 * `whsec_…t4Qe`
 */
hint: string, added_at: string, added_by: string, 
/**
 * Counts until then; `None`: for good.
 */
expires_at: string | null, };

export type IncomingSecretChange = { at: string, by: string, 
/**
 * Added, or ended.
 */
added: boolean, hint: string, reason: string | null, };

export type IncomingSecrets = { 
/**
 * The newest first.
 */
secrets: Array<IncomingSecret>, changes: Array<IncomingSecretChange>, 
/**
 * Why the person may not add or end one.
 */
refused: string | null, };

export type LagReason = { pid: number, login: string | null, query: string | null, age_seconds: number, };

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

export type Leaving = { 
/**
 * Bookings of which a request is with the payment provider, and its answer not written yet.
 */
with_provider: number, 
/**
 * Another process does background work, and takes them up at once.
 */
elsewhere: boolean, };

export type LedTo = { event_name: string, position: number, 
/**
 * How many there are before it.
 */
before: number, };

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

export type ListDeliveries = { filter: DeliveryFilter, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 500.
 */
limit: number, };

export type ListDiff = { rebuild_id: string, kind: DiffKind, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 1,000.
 */
limit: number, };

export type ListEvents = { filter: EventFilter, 
/**
 * Older than this position. At most one of `before` and `after`; neither: from the newest on.
 */
before: number | null, 
/**
 * Newer than this position: the ones nearest to it.
 */
after: number | null, 
/**
 * 1 to 1,000.
 */
limit: number, };

export type ListInbox = { filter: InboxFilter, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 500.
 */
limit: number, };

export type ListProjectionChanges = { 
/**
 * `None`: of every projection.
 */
projection: string | null, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 200.
 */
limit: number, };

export type ListRebuilds = { 
/**
 * `None`: of every projection.
 */
projection: string | null, 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 200.
 */
limit: number, };

export type ListSagas = { 
/**
 * `next` of the page before.
 */
after: string | null, 
/**
 * 1 to 500.
 */
limit: number, tab: SagaTab, 
/**
 * A group's key: only sagas of that step and cause.
 */
group: string | null, 
/**
 * Only those that the reader, or nobody, looks after.
 */
who: SagaWho | null, 
/**
 * Reference, name, e-mail, phone, `pi_…`, `re_…`, `evt_…` or the saga's id. Looks in every tab.
 */
search: string | null, 
/**
 * `booking`, `booking_free`, `cancellation`.
 */
definition: string | null, 
/**
 * Only what is as it is for longer than so many hours: 1 to 87,600.
 */
older_than_h: number | null, price: PriceRange | null, order: SagaOrder, };

export type LogChange = { what: LogChangeKind, found_at: Moment, 
/**
 * When the backup was taken that was restored.
 */
taken_at: Moment | null, 
/**
 * How far this computer had read.
 */
read_upto: number, 
/**
 * How much of that is known to be the same; `None`: not known.
 */
kept_upto: number | null, };

export type LogChangeKind = "restored" | "went_back" | "replaced" | "other_copy";

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
 * What the customer's bank has taken back in disputes and not returned.
 */
disputed: Money, 
/**
 * Captured less refunded and disputed: what the business keeps before fees.
 */
kept: Money, 
/**
 * What of that stays because a person decided so, when more could have gone back.
 */
kept_by_decision: Money, 
/**
 * What the provider kept for carrying the payment, in its account's currency; known some time after the payment.
 */
fee: Money | null, 
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

export type NoShowSet = { booking_id: string, no_show: boolean, };

export type NoticeList = { version: number, count: number, 
/**
 * E-mail addresses, and addresses of chat programs. Only admins see them.
 */
entries: Array<string>, 
/**
 * Whether this computer has a mail server.
 */
mail_set: boolean, 
/**
 * What was not taken yet, and why.
 */
problems: Array<string>, changed_by: string | null, changed_at: string, reason: string | null, 
/**
 * Why the person may not change it.
 */
refused: string | null, };

export type OnExhausted = "compensate" | "park" | "continue";

export type OpenGate = { provider: string, reason: string, };

export type Orphan = { case_id: string, saga_id: string | null, reference: string | null, 
/**
 * `unknown`: no call of ours made it. `denied`: we believe that it never happened. `settled`: a person
 * had said what became of its call, and it went through besides. `missing`: we believe that it is there, and Stripe's
 * list does not show it. `differs`: both have it, with another sum.
 */
why: string, 
/**
 * `intent`, `refund`
 */
what: string, object: string, status: string | null, 
/**
 * What Stripe has.
 */
amount: Money | null, 
/**
 * `differs`: what the books have.
 */
booked: Money | null, opened_at: string, 
/**
 * When it was looked at again, and for whom.
 */
checked_at: string | null, checked_by: string | null, 
/**
 * What Stripe had given back of it by then.
 */
refunded: Money | null, 
/**
 * Why it cannot be looked at again from here; `None`: it can.
 */
check_refused: string | null, 
/**
 * Why it cannot be taken into the books, or given back; `None`: it can.
 */
adopt_refused: string | null, give_back_refused: string | null, 
/**
 * As much goes back only when a second person says yes.
 */
give_back_waits: boolean, };

export type Parked = { position: number, 
/**
 * The event it cannot read.
 */
event_name: string, schema_version: number, stream_id: string, subject: string | null, error: string, 
/**
 * Lines that show the place, when the error has one.
 */
excerpt: string | null, since: string, 
/**
 * Automatic tries that failed.
 */
attempts: number, };

export type ParkedFigures = { decided: number, p50_s: number | null, p95_s: number | null, open: number, oldest_at: string | null, };

export type Paused = { by: string, at: string, reason: string | null, };

export type PayloadChange = { kind: PayloadChangeKind, 
/**
 * `price.amount_minor`
 */
path: string, before: unknown, after: unknown, };

export type PayloadChangeKind = "added" | "removed" | "changed";

export type PaymentMode = "link" | "card_on_file" | "venue";

export type PaymentState = "not_asked" | "requested" | "link_sent" | "action_required" | "authorised" | "paid" | "at_venue" | "declined" | "unknown" | "voided" | "refund_pending" | "part_refunded" | "refunded" | "refund_failed" | "disputed" | "dispute_lost";

export type People = { 
/**
 * People by name, then computers.
 */
rows: Array<Person>, 
/**
 * Why logins cannot be made or changed from here.
 */
refused: string | null, };

export type PeopleNames = { rows: Array<PersonName>, };

export type Person = { login: string, 
/**
 * `None`: a computer's own login, or one that was made outside the desk.
 */
name: string | null, 
/**
 * `None`: the login is not on this server, as after a restore on another one.
 */
group: Group | null, active: boolean, 
/**
 * Whoever asks.
 */
own: boolean, last_seen_at: string | null, created_at: string | null, created_by: string | null, password_at: string | null, disabled_at: string | null, disabled_by: string | null, };

export type PersonChange = "disable" | "enable" | "viewer" | "staff" | "manager" | "admin";

export type PersonMade = { person: Person, password: string, 
/**
 * What they enter at the first start, with a place for the password: `postgres://anna:…@db.example:5432/bizing`.
 */
address: string, };

export type PersonName = { login: string, name: string, 
/**
 * May look after something.
 */
able: boolean, };

export type Phase = { "is": "choose" } | { "is": "starting", step: StartStep, since: string, } | { "is": "ready" } | { "is": "failed", error: AppError, since: string, };

export type PhaseTime = { phase: RebuildPhase, started_at: string, ended_at: string | null, };

export type PlannedOp = { step: string | null, 
/**
 * `disputed`, `correct_email`, `migrate`, `contradicts`, `refund`, `keep_part`, `void`, `release`, `cancel_booking`, `correct`, `nothing`, `look_first`, `send_again`, …
 */
op: string, amount: Money | null, count: number | null, 
/**
 * Of what was paid, where a fee stays.
 */
percent: number | null, 
/**
 * Versions of a definition.
 */
from: number | null, to: number | null, 
/**
 * `disputed`, `dispute_lost`: which dispute; `slot_taken`: the booking that has the slot.
 */
object: string | null, 
/**
 * `clock_hold`, `clock_authorisation`: when it runs out, whatever is done; `extend`, `hold_again`: until when.
 */
at: Moment | null, 
/**
 * `extend`: when it would have ended; `hold_again`: when it ended.
 */
since: Moment | null, };

export type PreviewAskedBatch = { batch_id: string, };

export type PreviewBatch = { 
/**
 * `retry`, `compensate`, `skip`, `resolve`, `assign`, `pause`, `resume`
 */
action: string, 
/**
 * At most 1,000, chosen one by one; empty with a filter.
 */
saga_ids: Array<string>, 
/**
 * Instead of ids: all that it finds now, and no more than 1,000.
 */
filter: SagaFilter | null, };

export type PreviewErasure = { customer_id: string, };

export type PreviewRecovery = { destination_id: string, since: string, };

export type PreviewRedelivery = { action: BulkAction, filter: DeliveryFilter, };

export type PreviewReplay = { projection: string, from: ReplayFrom, };

export type PreviewReprocess = { filter: InboxFilter, };

export type PreviewRestore = { backup_id: string, target: RestoreTarget, };

export type PreviewSaga = { saga_id: string, action: string, params: SagaParams, };

export type PreviousGeneration = { generation: number, shape_version: number, 
/**
 * It still follows the log, so that a roll back loses nothing.
 */
current: boolean, swapped_at: string, kept_until: string | null, };

export type PriceRange = { currency: string, from_minor: number | null, to_minor: number | null, };

export type ProfileKind = "demo" | "own" | "server";

export type Projection = { 
/**
 * `bookings`
 */
name: string, 
/**
 * Shape of the rows that readers see.
 */
shape_version: number, 
/**
 * Shape that this app's code makes.
 */
code_shape_version: number, generation: number, state: ProjectionState, position: number, 
/**
 * Positions that were given out and are not in its rows, those of appends that are still open among them.
 */
lag_events: number, lag_seconds: number, 
/**
 * Events a second now. `None`: not known.
 */
rate_per_s: number | null, 
/**
 * Events a second over the last ten minutes, oldest first; `null` where nothing was measured.
 */
rates: Array<number | null>, rows: Count | null, 
/**
 * What it reads.
 */
event_types: Array<string>, 
/**
 * Login or worker that runs it.
 */
holder: string | null, 
/**
 * Of the event that it is parked at, or why it cannot be moved at all for now.
 */
last_error: string | null, parked: Parked | null, paused: Paused | null, 
/**
 * Events that a person let it pass by, newest first, 100 at most.
 */
skipped: Array<SkippedEvent>, 
/**
 * Events whose skip was withdrawn and that the live rows lack until a rebuild is swapped in, newest first.
 */
lacks: number[], 
/**
 * What its rows were folded with and this program does not know, as `BookingMoved v2`: a newer build's, which this one
 * leaves alone.
 */
newer_types: Array<string>, 
/**
 * What an older build passed by. A rebuild is recommended.
 */
folded_without: Array<FoldedWithout>, rebuild_id: string | null, 
/**
 * The generation before, while it is kept for a roll back.
 */
previous: PreviousGeneration | null, 
/**
 * `pause_projection`, `resume_projection`, `start_replay`, `roll_back_projection`, `retry_parked`, `skip_parked`,
 * `withdraw_skip`.
 */
actions: Array<Action>, };

export type ProjectionAct = "dry_run" | "rebuild" | "pause_rebuild" | "resume_rebuild" | "cancel_rebuild" | "swap_rebuild" | "gentle" | "normal" | "all_cores" | "pause" | "resume" | "retry" | "skip" | "withdraw_skip" | "roll_back";

export type ProjectionChange = { command_id: string, at: Moment, by: string, projection: string, what: ProjectionAct, 
/**
 * The event whose skip was withdrawn, or at which it was parked, when it was.
 */
position: number | null, reason: string | null, };

export type ProjectionChanges = { 
/**
 * Newest first.
 */
rows: Array<ProjectionChange>, next: string | null, };

export type ProjectionState = "up_to_date" | "behind" | "rebuilding" | "parked" | "paused" | "unknown";

export type ProjectionStatus = { name: string, version: number, position: number, 
/**
 * Positions that were given out and are not in its rows, those of appends that are still open among them.
 */
lag_events: number, lag_seconds: number, parked: string | null, };

export type Projections = { 
/**
 * By name.
 */
rows: Array<Projection>, safe_position: number, 
/**
 * Whose open transaction keeps every reader waiting, when one does.
 */
lag_reason: LagReason | null, 
/**
 * Live processes that do background work. 0: nothing goes on.
 */
workers: number, 
/**
 * Every rebuild that is not over.
 */
rebuilds: Array<Rebuild>, now: Moment, };

export type ProofState = "not_proved" | "running" | "restored" | "failed";

export type Proofs = { 
/**
 * The last time that every audit ran, hashes or not.
 */
last: DoctorRun | null, 
/**
 * The last time that every event was hashed again.
 */
last_deep: DoctorRun | null, 
/**
 * What runs in this process now.
 */
running: DoctorRunning | null, 
/**
 * `examine`
 */
actions: Array<Action>, };

export type Provider = { provider: string, 
/**
 * `closed`: it is asked. `open`: it refuses everybody, and nobody asks. `half_open`: one saga was sent ahead.
 */
state: string, reason: string | null, 
/**
 * When one saga is sent ahead.
 */
next_at: string | null, 
/**
 * So many sagas a second follow when it answers again.
 */
rate_per_s: number, 
/**
 * So many calls at once, from each worker.
 */
max_in_flight: number, waiting: number, 
/**
 * Running workers that hold its key.
 */
workers: number, changed_by: string | null, changed_at: string | null, 
/**
 * `limits`, `opened`
 */
change: string | null, change_reason: string | null, };

export type ProviderGate = { provider: string, 
/**
 * Nothing is asked of it now; sagas wait and use up no tries.
 */
paused: boolean, reason: string | null, since: string | null, 
/**
 * Sagas whose next step asks it.
 */
waiting: number, };

export type Providers = { rows: Array<Provider>, 
/**
 * Why limits cannot be changed from here.
 */
limits_refused: string | null, 
/**
 * Why a gate cannot be opened from here.
 */
open_refused: string | null, };

export type PutAllowList = { version: number, entries: Array<string>, reason: string, };

export type PutDeliveryRetention = { version: number, deliveries_days: number, reason: string, };

export type PutEndpoint = { 
/**
 * Made when the dialog opens: pressing twice makes one.
 */
destination_id: string, 
/**
 * `None`: a new one. Otherwise the version that was looked at.
 */
version: number | null, name: string, url: string, note: string | null, 
/**
 * `None`: stays as it is, or the event.
 */
shape: EndpointShape | null, events: Array<string>, filter: Record<string, unknown> | null, sending: SendingChange, };

export type PutNoticeList = { 
/**
 * Of the list that was looked at.
 */
version: number, entries: Array<string>, reason: string, };

export type PutProvider = { provider: string, 
/**
 * The limits that were looked at.
 */
seen_rate_per_s: number, seen_max_in_flight: number, rate_per_s: number, max_in_flight: number, reason: string, };

export type PutSagaPolicy = { 
/**
 * The version that was looked at.
 */
version: number, on_exhausted: OnExhausted, approval: Money, blast_sagas: number, blast_minutes: number, late_hours: number, 
/**
 * Until so many hours before the start a cancellation is free,
 */
cancel_free_hours: number, 
/**
 * from then on so much of what was paid stays,
 */
cancel_fee_percent: number, 
/**
 * and closer to the start than this
 */
cancel_late_hours: number, 
/**
 * so much.
 */
cancel_late_percent: number, steps: StepRules, reason: string, };

export type Rebuild = { rebuild_id: string, projection: string, mode: ReplayMode, from: ReplayFrom, 
/**
 * Of the live tables when it began.
 */
live_generation: number, live_shape_version: number, generation: number, shape_version: number, state: RebuildState, phase: RebuildPhase, 
/**
 * Those that have begun, in order.
 */
phases: Array<PhaseTime>, events_done: number, events_total: number, 
/**
 * Events a second, lately. `None`: not known yet.
 */
rate_per_s: number | null, left_seconds: number | null, ends: Moment | null, 
/**
 * What a stop keeps.
 */
ranges_done: number, ranges_total: number, speed: ReplaySpeed, started: Moment, ended: Moment | null, by: string, reason: string, 
/**
 * Who stopped, swapped or rolled it back, when somebody did.
 */
ended_by: string | null, error: string | null, compare: Compare | null, 
/**
 * Events that a person let the projection pass by: they are in neither the live rows nor the new ones. The first 100.
 */
skipped: Array<SkippedEvent>, 
/**
 * `pause_rebuild`, `resume_rebuild`, `cancel_rebuild`, `set_rebuild_speed`, `swap_rebuild`.
 */
actions: Array<Action>, };

export type RebuildList = { 
/**
 * Newest first.
 */
rows: Array<Rebuild>, next: string | null, };

export type RebuildPhase = "prepare" | "read" | "catch_up" | "compare" | "swap";

export type RebuildState = "running" | "paused" | "waits_for_swap" | "done" | "cancelled" | "failed" | "rolled_back";

export type RecoveryPlan = { 
/**
 * Events that it wanted and was not owed.
 */
missed: number, 
/**
 * Deliveries that were given up.
 */
given_up: number, };

export type Redeliver = { delivery_id: string, reason: string, };

export type Redelivery = { bulk_id: string, action: BulkAction, filter: DeliveryFilter, 
/**
 * What was asked for in the inbox, where that is what it is about.
 */
came: InboxFilter | null, by: string, reason: string, at: string, 
/**
 * `running`, `stopped`, `done`, `cancelled`
 */
state: string, count: number, done: number, delivered: number, failed: number, per_second: number, 
/**
 * Of a recovery: the share of the log that was gone through. `None`: it waits for appends that had begun before the endpoint was on.
 */
looked: number | null, ended_at: string | null, };

export type RedeliveryPlan = { count: number, shares: Array<BulkShare>, 
/**
 * Cannot be sent again, by reason: messages to customers leave once.
 */
left_out: Array<[string, number]>, first_at: string | null, last_at: string | null, 
/**
 * Of the set as it is now: another set is refused.
 */
hash: string, refused: string | null, };

export type ReplayFrom = { "from": "start" } | { "from": "position", position: number, } | { "from": "time", 
/**
 * Wall time of the place, `2026-11-01T00:00`.
 */
wall: string, } | { "from": "stream", 
/**
 * `booking-0193…`, or a booking's reference.
 */
stream: string, };

export type ReplayMode = "dry_run" | "rebuild";

export type ReplayPreview = { 
/**
 * First event that is read.
 */
from_position: number, from_at: Moment | null, 
/**
 * Events to read.
 */
events: Count, 
/**
 * At normal speed. `None`: nothing was measured here yet.
 */
seconds: number | null, 
/**
 * What is replayed, when it is one stream.
 */
subject: string | null, 
/**
 * Other rebuilds that run and share the disk.
 */
running: Array<string>, 
/**
 * `dry_run`, `rebuild`: what may be started, and why not.
 */
actions: Array<Action>, };

export type ReplaySpeed = "gentle" | "normal" | "all_cores";

export type ReplayStarted = { rebuild_id: string, };

export type Reprocess = { 
/**
 * At most 500.
 */
arrival_ids: Array<number>, reason: string, };

export type ReprocessPlan = { 
/**
 * Events, however often each of them came.
 */
count: number, 
/**
 * By what became of them so far.
 */
shares: Array<[InboxResult, number]>, 
/**
 * Not processed again, by reason.
 */
left_out: Array<[string, number]>, 
/**
 * Of the set as it is now: another set is refused.
 */
hash: string, refused: string | null, };

export type Reprocessed = { count: number, };

export type ResetPassword = { login: string, };

export type Resource = { resource_id: string, 
/**
 * `staff`, `room`, `equipment`
 */
kind: string, name: string, };

export type RestoreBackup = { command_id: string, backup_id: string, target: RestoreTarget, 
/**
 * As the preview asks.
 */
typed: string, 
/**
 * At least 10 characters; it stands in the audit.
 */
reason: string, };

export type RestorePreview = { backup: Backup, 
/**
 * Events recorded since: the restored copy does not have them.
 */
events_missing: number, 
/**
 * Customers erased since: they are erased in the copy as well, before anybody can open it.
 */
erasures_again: number, free_bytes: number | null, seconds: number | null, 
/**
 * What the person types to go on.
 */
typed: string, refused: string | null, };

export type RestoreTarget = { "into": "database", name: string, } | { "into": "folder", path: string, };

export type Retry = { "when": "never" } | { "when": "now" } | { "when": "after", seconds: number, } | { "when": "needs_person" };

export type RevealSecret = { destination_id: string, secret_id: string, };

export type RotateSecret = { destination_id: string, 
/**
 * Hours in which the old one signs too: 0 to 168.
 */
overlap_hours: number, reason: string, };

export type SagaActs = { action: string, applied: number, 
/**
 * By the plan, or because somebody was faster.
 */
refused: number, 
/**
 * Decided by a second person: yes, and no.
 */
approved: number, rejected: number, };

export type SagaAttempt = { 
/**
 * `3`, or `message:2`
 */
id: string, step: string, undoing: boolean, 
/**
 * `auto`, `reconcile`, `operator`, `skip`, `message`
 */
kind: string, at: Moment, took_ms: number | null, 
/**
 * `done`, `unknown`, `declined`, `refused`, `busy`, …
 */
result: string | null, error_class: string | null, 
/**
 * What it said.
 */
message: string | null, effect_id: string | null, worker: string | null, fence: number | null, next_try_at: string | null, output: unknown, error: unknown, };

export type SagaBatch = { batch_id: string, action: string, reason: string, by: string, at: string, 
/**
 * `running`, `stopped`, `done`, `rejected`
 */
state: string, 
/**
 * `not_needed`, `pending`, `approved`, `rejected`, `expired`
 */
approval: string, approved_by: string | null, 
/**
 * Why the second person said no.
 */
refusal: string | null, ended_at: string | null, refunds: Array<Money>, 
/**
 * `resolve`: what stays with the business.
 */
kept: Array<Money>, count: number, applied: number, 
/**
 * Of those, asked in vain: they wait for a person again.
 */
parked: number, left: number, refused: Array<BatchRefusal>, own: boolean, };

export type SagaCommand = { command_id: string, 
/**
 * None where a case at Stripe belongs to no saga.
 */
saga_id: string | null, 
/**
 * `BK-7Q4M2K`
 */
reference: string | null, action: string, reason: string, by: string, at: string, 
/**
 * `applied`, `awaiting_approval`, `refused`, `rejected`, `expired`
 */
status: string, refusal: string | null, 
/**
 * Of a decision about a case: what it is about at Stripe.
 */
object: string | null, approved_by: string | null, approved_at: string | null, expires_at: string | null, 
/**
 * What the next try came to; `None` while it has not ended.
 */
outcome: string | null, refund: Money | null, 
/**
 * What stays of it by the decision.
 */
keeps: Money | null, 
/**
 * The reader asked for it, so somebody else decides.
 */
own: boolean, };

export type SagaCommanded = { command_id: string, 
/**
 * A second person has to say yes first.
 */
awaits_approval: boolean, };

export type SagaCounts = { needs_person: number, snoozed: number, at_risk: number, waiting_for_customer: number, waiting_for_provider: number, running: number, done: Count, };

export type SagaCsv = { 
/**
 * The first page begins with the names of the columns.
 */
csv: string, rows: number, next: string | null, };

export type SagaEffect = { effect_id: string, step: string, undoing: boolean, generation: number, provider: string, operation: string, idempotency_key: string, intended_at: string, last_sent_at: string | null, sends: number, 
/**
 * `intended`, `unknown`, `confirmed`, `rejected`, `not_executed`
 */
outcome: string, 
/**
 * `response`, `lookup`, `webhook`, `operator`
 */
resolved_via: string | null, resolved_at: string | null, provider_object: string | null, provider_status: string | null, request_id: string | null, 
/**
 * As it was written down before it went out.
 */
request: SagaRequest | null, };

export type SagaFailures = { step: string, undoing: boolean, cause: string, tries: number, sagas: number, last_at: string, };

export type SagaFigures = { since: string, 
/**
 * Of each kind that ended since.
 */
kinds: Array<SagaKindFigures>, 
/**
 * What failed, by step and cause, the most frequent first.
 */
failures: Array<SagaFailures>, 
/**
 * What went back to customers since, by the books.
 */
given_back: Array<Money>, parked: ParkedFigures, 
/**
 * What people decided, the most frequent first.
 */
acts: Array<SagaActs>, };

export type SagaFilter = { tab: SagaTab, 
/**
 * A group's key: only sagas of that step and cause.
 */
group: string | null, 
/**
 * Only those that the reader, or nobody, looks after.
 */
who: SagaWho | null, 
/**
 * Reference, name, e-mail, phone, `pi_…`, `re_…`, `evt_…` or the saga's id. Looks in every tab.
 */
search: string | null, 
/**
 * `booking`, `booking_free`, `cancellation`.
 */
definition: string | null, 
/**
 * Only what is as it is for longer than so many hours: 1 to 87,600.
 */
older_than_h: number | null, price: PriceRange | null, order: SagaOrder, };

export type SagaGroup = { 
/**
 * `notify:F:refused`
 */
key: string, step: string, undoing: boolean, 
/**
 * Error class, or the code of what parked it.
 */
cause: string, 
/**
 * `stripe`, `email`; `None`: it happened here.
 */
provider: string | null, count: number, 
/**
 * What lies with the business, a sum for each currency.
 */
kept: Array<Money>, first_at: string, last_at: string, 
/**
 * One of their messages, as an example.
 */
message: string | null, };

export type SagaKindFigures = { definition: string, over: number, completed: number, 
/**
 * Completed, with a warning.
 */
warned: number, compensated: number, 
/**
 * Ended by a person, with evidence.
 */
resolved: number, 
/**
 * Of the completed ones that nobody had to decide about, without the time in which a customer was waited for; the newest
 * 20,000 count.
 */
p50_s: number | null, p95_s: number | null, };

export type SagaList = { rows: Array<SagaRow>, next: string | null, counts: SagaCounts, 
/**
 * Of what needs a person, by step and cause; most money first.
 */
groups: Array<SagaGroup>, 
/**
 * What waits for a person, a sum for each currency.
 */
kept: Array<Money>, gates: Array<ProviderGate>, 
/**
 * Requests that wait for a second person, oldest first.
 */
approvals: Array<SagaCommand>, 
/**
 * Decisions for many: open ones, and those that ended lately.
 */
batches: Array<SagaBatch>, 
/**
 * What Stripe and the ledger do not agree about, oldest first; at most 50.
 */
orphans: Array<Orphan>, 
/**
 * Those that are open, by their last day.
 */
disputes: Array<Dispute>, sweep: Sweep, };

export type SagaOffer = { action: string, 
/**
 * `None`: can be done now. Else why not, in one word, and in a sentence.
 */
code: string | null, refused: string | null, needs_approval: boolean, };

export type SagaOrder = "time" | "price";

export type SagaPage = { row: SagaRow, saga: SagaView, money: MoneyLine, email: string | null, paused: SagaPaused | null, 
/**
 * The provider of the step at work refuses everybody.
 */
gate: ProviderGate | null, 
/**
 * A live worker knows this definition.
 */
supported: boolean, workers: number, fence: number, 
/**
 * Newest last.
 */
attempts: Array<SagaAttempt>, effects: Array<SagaEffect>, 
/**
 * Newest last.
 */
commands: Array<SagaCommand>, signals: Array<SagaSignal>, offers: Array<SagaOffer>, 
/**
 * What undoing it would do from here, in order.
 */
undo: Array<PlannedOp>, resolution: SagaResolution | null, 
/**
 * Why Stripe cannot be asked from here now; `None`: it can.
 */
ask_refused: string | null, 
/**
 * What was asked of Stripe, newest first.
 */
asks: Array<StripeAsk>, };

export type SagaParams = { 
/**
 * `resolve_step`: `done` or `not_done`.
 */
outcome?: string | null, 
/**
 * By what it can be seen: `re_…`, a bank's reference, a note.
 */
evidence?: string | null, to?: string | null, until?: string | null, minutes?: number | null, 
/**
 * `cancel`: a manager lets the fee go.
 */
waive_fee?: boolean | null, 
/**
 * `correct`: `email` or `payment_method`.
 */
field?: string | null, 
/**
 * `correct`: another saved card, `pm_…`.
 */
payment_method?: string | null, 
/**
 * `migrate`: the version to go over to; the newest when left out.
 */
to_version?: number | null, 
/**
 * `resolve`: what was looked at before it was ended: `money`, `booking` and `slot`.
 */
checked?: Array<string> | null, 
/**
 * `undo_from`: the step from which the undoing goes on.
 */
step?: string | null, 
/**
 * `refund_part`: what goes back, in minor units of the payment's currency; the rest stays.
 */
refund_minor?: number | null, };

export type SagaParked = { 
/**
 * `guard_money`, `guard_blast`, `guard_late`, `refund_failed`, `refund_refused`, `exhausted`, `reopened`, …; `other` of old.
 */
code: string, 
/**
 * What the engine noted, as it was.
 */
reason: string, at: string, };

export type SagaPaused = { by: string, at: string, reason: string | null, };

export type SagaPlan = { 
/**
 * Send it back with the command: another plan is refused.
 */
hash: string, version: number, code: string | null, refused: string | null, operations: Array<PlannedOp>, refund: Money | null, kept: Money, needs_approval: boolean, 
/**
 * From this sum on a second person decides.
 */
threshold: Money, 
/**
 * `undo_from`: the step that was chosen, and those that can be, in the order of an undoing.
 */
step: string | null, choices: Array<string>, 
/**
 * `refund_part`: what could go back, and what of it stays.
 */
whole: Money | null, keeps: Money | null, };

export type SagaPolicy = { version: number, on_exhausted: OnExhausted, 
/**
 * From this sum on a second person decides, and nothing is undone by itself.
 */
approval: Money, blast_sagas: number, blast_minutes: number, late_hours: number, 
/**
 * Until so many hours before the start a cancellation is free,
 */
cancel_free_hours: number, 
/**
 * from then on so much of what was paid stays,
 */
cancel_fee_percent: number, 
/**
 * and closer to the start than this
 */
cancel_late_hours: number, 
/**
 * so much.
 */
cancel_late_percent: number, steps: StepRules, changed_by: string, changed_at: string, reason: string, 
/**
 * Why they cannot be changed from here.
 */
refused: string | null, };

export type SagaRequest = { method: string, path: string, 
/**
 * Name and value of each field, in their order.
 */
fields: Array<[string, string]>, };

export type SagaResolution = { by: string, reason: string, evidence: string, };

export type SagaRow = { saga_id: string, booking: BookingRow, 
/**
 * The step at work: `hold`, `payment`, `capture`, `confirm`, `notify`; of a cancellation `cancel`, `refund`, `release`, `notify`. `None` when it is over.
 */
step: string | null, undoing: boolean, parked: SagaParked | null, error_class: string | null, error: string | null, 
/**
 * Captured less refunded: what lies with the business.
 */
kept: Money, captured: Money, attempt: number, next_try_at: string | null, 
/**
 * Since when it is as it is.
 */
since: string, 
/**
 * Who looks after it.
 */
assigned_to: string | null, snoozed_until: string | null, version: number, };

export type SagaSignal = { signal_id: string, kind: string, received_at: string, consumed_at: string | null, };

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

export type SagaTab = "needs_person" | "snoozed" | "at_risk" | "waiting_for_customer" | "waiting_for_provider" | "running" | "done";

export type SagaView = { saga_id: string, 
/**
 * `booking@1`
 */
definition: string, state: SagaState, steps: Array<SagaStep>, waits_for: WaitsFor, started_at: string, finished_at: string | null, 
/**
 * Why it was undone, when it was.
 */
undo_reason: string | null, };

export type SagaWho = "me" | "nobody";

export type SandboxCard = { 
/**
 * `pm_card_visa`
 */
payment_method: string, 
/**
 * `accepted`, `declined`, `needs_authentication`
 */
behaviour: string, };

export type SealState = "opened" | "sealed" | "erased";

export type SealedField = { 
/**
 * `email`
 */
path: string, state: SealState, 
/**
 * Whose key it is.
 */
subject_id: string, };

export type Searched = { 
/**
 * `before` or `after` of the page that goes on.
 */
position: number, 
/**
 * When the event there was recorded.
 */
at: Moment | null, };

export type SecretShown = { secret_id: string, secret: string, };

export type SendTest = { destination_id: string, 
/**
 * Whose example is sent.
 */
event_name: string, };

export type SendingChange = { schedule_s?: Array<number>, timeout_ms?: number, max_in_flight?: number, 
/**
 * 0: no limit.
 */
rate_per_s?: number, in_order?: boolean, 
/**
 * All that are to be there: `***` keeps the value.
 */
headers?: { [key in string]: string }, };

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

export type SetNoShow = { command_id: string, booking_id: string, 
/**
 * They did not come; `false`: they did, after all.
 */
no_show: boolean, };

export type SetRebuildSpeed = { command_id: string, rebuild_id: string, speed: ReplaySpeed, };

export type ShapedBody = { shape: EndpointShape, body: string, };

export type SignatureView = { 
/**
 * `msg_…`: the same for every try.
 */
message_id: string, 
/**
 * `msg_….1795520515.{"type":…`: what was signed at the newest try. Of another try: its `webhook-timestamp` and body in the same places.
 */
base_string: string, 
/**
 * One for each secret that signed.
 */
hints: Array<string>, };

export type SkipParked = { command_id: string, projection: string, 
/**
 * The event that the person looked at: another one is not skipped.
 */
position: number, 
/**
 * At least 10 characters; it stands in the audit.
 */
reason: string, };

export type SkippedEvent = { position: number, event_name: string | null, reason: string, by: string, at: string, };

export type Space = { 
/**
 * Largest first; together the whole database.
 */
parts: Array<SpacePart>, events: Count, 
/**
 * Of the disk under the data folder; `None`: the database is on another computer.
 */
disk: Disk | null, 
/**
 * What the last 30 days added, spread over them; `None`: too young to tell.
 */
bytes_per_day: number | null, };

export type SpaceOf = "events" | "lists" | "deliveries" | "sagas" | "rest";

export type SpacePart = { of: SpaceOf, bytes: number, };

export type StartBatch = { 
/**
 * Made when the dialog opens: pressing twice begins once.
 */
batch_id: string, action: string, members: Array<BatchMember>, typed: number | null, 
/**
 * `assign`: who looks after them; empty: nobody.
 */
to?: string | null, reason: string, };

export type StartRedelivery = { 
/**
 * Made when the dialog opens: pressing twice begins once.
 */
bulk_id: string, action: BulkAction, filter: DeliveryFilter, hash: string, per_second: number, reason: string, };

export type StartReplay = { 
/**
 * Made when the dialog opens: the same id starts once, however often it is sent.
 */
command_id: string, projection: string, from: ReplayFrom, mode: ReplayMode, speed: ReplaySpeed, 
/**
 * At least 10 characters; it stands in the audit.
 */
reason: string, };

export type StartReprocess = { 
/**
 * Made when the dialog opens: pressing twice begins once.
 */
bulk_id: string, filter: InboxFilter, hash: string, per_second: number, reason: string, };

export type StartStep = "finding_server" | "starting_server" | "connecting" | "migrating" | "seeding_demo" | "starting_work";

export type StateAsOf = { 
/**
 * `booking-0193…`, or a booking's reference.
 */
stream: string, at: AsOf, };

export type StateFact = { 
/**
 * `state`, `payment`, `starts`, `captured`: the window has the words.
 */
name: string, kind: FactKind, 
/**
 * One version earlier. `None`: not known then.
 */
before: unknown, at: unknown, };

export type Status = { now: Moment, database: Lamp, stripe: Lamp, mail: Lamp, 
/**
 * Live processes that do background work, this one included.
 */
workers: number, works_here: boolean, position: number, projections: Array<ProjectionStatus>, 
/**
 * Of the running rebuild that is least far. `None`: none runs.
 */
rebuild_percent: number | null, 
/**
 * Who keeps readers waiting, when somebody does: `pid 4242, open for 12 s: insert into …`
 */
lag_cause: string | null, 
/**
 * Who has kept old rows from being cleaned up for long: `pid 4242, …`. It delays nobody and lets tables grow.
 */
old_snapshot: string | null, 
/**
 * Which log this is: a restore gives it a new id. `None`: the schema is older than that.
 */
log_id: string | null, 
/**
 * The log is not the one that this computer followed before.
 */
log_change: LogChange | null, 
/**
 * When the newest backup was taken that was restored on trial.
 */
last_good_backup: Moment | null, 
/**
 * There is something to lose, and no good backup of the last days.
 */
backup_overdue: boolean, counts: Counts, 
/**
 * Webhook endpoints that turned themselves off and about which nobody has decided, or that will.
 */
endpoints_in_trouble: Array<EndpointTrouble>, };

export type StepRules = { card_declined: CardDeclined, 
/**
 * Tries at taking the money whose outcome stays open, before a person decides.
 */
capture_tries: number, 
/**
 * Tries at each undo and each refund, before a person decides.
 */
undo_tries: number, 
/**
 * The pause after the first failure; it doubles with each,
 */
backoff_base_s: number, 
/**
 * up to this.
 */
backoff_cap_s: number, 
/**
 * With a card at hand.
 */
hold_card_minutes: number, 
/**
 * With a payment link, and never into the appointment.
 */
hold_link_hours: number, 
/**
 * When the last try at taking the money is spent.
 */
capture_exhausted: CaptureExhausted, 
/**
 * Tries at a message to the customer,
 */
message_tries: number, 
/**
 * and how long in all, whichever is spent first.
 */
message_minutes: number, 
/**
 * When the message of a cancellation reaches nobody.
 */
end_exhausted: EndExhausted, };

export type StepState = "not_begun" | "running" | "waiting" | "done" | "not_needed" | "unknown" | "failed" | "needs_person" | "undone";

export type StreamState = { stream_id: string, category: string, subject: string | null, 
/**
 * The version that is shown; 0: before the first event.
 */
version: number, 
/**
 * Every version of the stream, oldest first.
 */
versions: Array<StreamVersion>, 
/**
 * One a fact, in the order they are to be read.
 */
facts: Array<StateFact>, };

export type StreamVersion = { version: number, position: number, name: string, at: Moment, };

export type StripeAbsent = { id: string, 
/**
 * Of the example's past, which was written and never asked for at Stripe.
 */
example: boolean, };

export type StripeAnswer = { intent: StripeObject | null, page: StripeObject | null, authorised: StripeSum, captured: StripeSum, refunded: StripeSum, refunds: Array<StripeRefund>, 
/**
 * Calls whose outcome was open, and what Stripe shows of them.
 */
calls: Array<StripeCall>, 
/**
 * What our books name and Stripe does not know.
 */
absent: StripeAbsent | null, 
/**
 * Each sum is the same on both sides, and what our books name is there.
 */
agrees: boolean, };

export type StripeAsk = { ask_id: string, by: string, at: string, 
/**
 * `open`, `answered`, `failed`, `unanswered`
 */
state: string, answered_at: string | null, 
/**
 * Why there is no answer.
 */
problem: string | null, answer: StripeAnswer | null, };

export type StripeCall = { effect_id: string, operation: string, 
/**
 * `happened`, `overtaken`, `absent`
 */
found: string, object: string | null, };

export type StripeObject = { id: string, status: string, };

export type StripeRefund = { id: string, status: string, amount: Money, 
/**
 * A call of ours asked for it.
 */
known: boolean, };

export type StripeSum = { stripe: Money, ledger: Money, };

export type Sweep = { running: boolean, ended_at: string | null, looked: number, problem: string | null, };

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

export type TriedEvent = { position: number, event_id: string, name: string, at: string, matches: boolean, };

export type TryFilter = { events: Array<string>, filter: Record<string, unknown> | null, };

export type TryTimings = { dns_ms: number | null, connect_ms: number | null, tls_ms: number | null, first_byte_ms: number | null, body_ms: number | null, total_ms: number, };

export type UpcastStep = { from_version: number, to_version: number, changes: Array<PayloadChange>, };

export type VerifyBackup = { command_id: string, backup_id: string, };

export type WaitsFor = { "waits_for": "nothing" } | { "waits_for": "customer", until: string | null, } | { "waits_for": "retry", at: string, attempt: number, cause: string, } | { "waits_for": "delivery", at: string | null, attempt: number, cause: string | null, } | { "waits_for": "provider", what: string, } | { "waits_for": "worker" } | { "waits_for": "person", reason: string, };

export type WithdrawSkip = { command_id: string, projection: string, position: number, 
/**
 * At least 10 characters; it stands in the audit.
 */
reason: string, };
