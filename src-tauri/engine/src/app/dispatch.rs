//! The one list of what the window may ask. Router, names and TypeScript types all come from it, so none
//! of them can drift. Two thin doors call [`dispatch`]: the Tauri command `rpc` and HTTP in `serve`.

use serde_json::value::RawValue;
use ts_rs::TS;

use super::host::Host;
use super::wire::*;
use super::{
    backups, bookings, catalogue, customers, deliveries, doctor, endpoints, error, events, inbox,
    messages, people, projections, sagas, session, space,
};

/// `name(Request) -> Reply = handler;` The handlers of `host` work before any database is there; those of
/// `desk` get the open desk, or the caller gets the reason why there is none.
macro_rules! commands {
    (
        host { $( $(#[$hdoc:meta])* $hname:ident($hreq:ty) -> $hres:ty = $hfn:path; )* }
        desk { $( $(#[$ddoc:meta])* $dname:ident($dreq:ty) -> $dres:ty = $dfn:path; )* }
    ) => {
        /// Every command, as `name: [request, reply]`.
        #[derive(TS)]
        #[allow(dead_code)]
        pub struct Commands {
            $( $(#[$hdoc])* pub $hname: ($hreq, $hres), )*
            $( $(#[$ddoc])* pub $dname: ($dreq, $dres), )*
        }

        pub const NAMES: &[&str] = &[ $( stringify!($hname), )* $( stringify!($dname), )* ];

        /// Runs one command and serialises its reply once.
        pub async fn dispatch(host: &Host, command: &str, params: &RawValue) -> Result<String, AppError> {
            match command {
                $( stringify!($hname) => reply::<$hres>(&$hfn(host, parse::<$hreq>(command, params)?).await?), )*
                $( stringify!($dname) => {
                    let request = parse::<$dreq>(command, params)?;
                    let desk = host.desk()?;
                    // Boxed, or every caller carries room for the largest of them.
                    reply::<$dres>(&desk.answered(Box::pin($dfn(&desk, request))).await?)
                } )*
                _ => Err(error::unknown_command(command)),
            }
        }
    };
}

commands! {
    host {
        /// Where the app stands: choosing, starting, ready or failed.
        host_state(Empty) -> HostState = super::host::state;
        /// Answers the first-run question. Returns at once; the progress is in `host_state`.
        choose_start(ChooseStart) -> HostState = super::host::choose;
        /// Tries the failed start again.
        retry_start(Empty) -> HostState = super::host::retry;
        /// Back to the first-run question. Nothing is deleted.
        leave_database(Empty) -> HostState = super::host::leave;
    }
    desk {
        session(Empty) -> Session = session::session;
        status(Empty) -> Status = session::status;
        /// What closing this window would cut short.
        leaving(Empty) -> Leaving = session::leaving;
        list_bookings(ListBookings) -> BookingList = bookings::list::list;
        get_booking(GetBooking) -> BookingPage = bookings::page::page;
        create_booking(CreateBooking) -> Booked = bookings::create::create;
        /// Asks the saga to stop and take everything back.
        cancel_booking(CancelBooking) -> CancelAsked = bookings::cancel::cancel;
        /// Whether the customer came, as the place saw it.
        set_no_show(SetNoShow) -> NoShowSet = bookings::no_show::set;
        catalogue(Empty) -> Catalogue = catalogue::catalogue;
        free_times(FreeTimes) -> FreeTimesReply = catalogue::free_times;
        find_customers(FindCustomers) -> Vec<CustomerRow> = customers::find;
        get_customer_history(GetCustomerHistory) -> CustomerHistory = customers::history;
        /// What the sandbox's mail catch-all holds, newest first.
        caught_messages(Empty) -> Vec<CaughtMessage> = messages::caught;

        /// The log, newest first, a page at a time.
        list_events(ListEvents) -> EventPage = events::list;
        get_event(GetEvent) -> EventDetail = events::get;
        /// The graph of one conversation.
        event_causes(EventCauses) -> CauseGraph = events::causes;
        /// A stream as it was, told from its events.
        state_as_of(StateAsOf) -> StreamState = events::state_as_of;
        event_catalogue(Empty) -> EventCatalogue = events::catalogue;
        copy_events(CopyEvents) -> EventsCopied = events::copy;
        export_events(ExportEvents) -> EventLines = events::lines;

        /// Sagas by whom they wait for, with counts and causes.
        list_sagas(ListSagas) -> SagaList = sagas::list;
        /// A page of the list for a spreadsheet.
        export_sagas(ListSagas) -> SagaCsv = sagas::export_page;
        /// How sagas went in the last days.
        saga_figures(GetSagaFigures) -> SagaFigures = sagas::figures;
        get_saga(GetSaga) -> SagaPage = sagas::page;
        /// What an action would do now. Changes nothing.
        preview_saga(PreviewSaga) -> SagaPlan = sagas::preview;
        command_saga(CommandSaga) -> SagaCommanded = sagas::command;
        /// A request that waits for a second person, with its plan as it is now.
        get_approval(GetApproval) -> Approval = sagas::approval;
        decide_saga_command(DecideCommand) -> SagaCommand = sagas::decide;

        /// Walks along Stripe's lists now, for what does not fit the ledger.
        ask_sweep(Empty) -> Empty = sagas::ask_sweep;
        close_orphan(CloseOrphan) -> Empty = sagas::close_orphan;
        /// Lets a worker look at that one object again. What holds no money any more is closed by it.
        check_orphan(CheckOrphan) -> StripeAsk = sagas::check_orphan;
        /// Takes it into the books, or gives it back; a worker does it.
        decide_orphan(DecideOrphan) -> StripeAsk = sagas::decide_orphan;
        /// Lets a worker that holds the key look at Stripe. Changes nothing.
        ask_stripe(AskStripe) -> StripeAsk = sagas::ask;
        get_ask(GetAsk) -> StripeAsk = sagas::get_ask;

        /// What one decision for many would do. Changes nothing.
        preview_batch(PreviewBatch) -> BatchPlan = sagas::preview_batch;
        /// What is left of a decision for many that was asked for, as it is now. Changes nothing.
        preview_asked_batch(PreviewAskedBatch) -> BatchPlan = sagas::preview_asked_batch;
        /// Freezes the set that was seen; workers carry it out.
        start_batch(StartBatch) -> SagaBatch = sagas::start_batch;
        change_batch(ChangeBatch) -> SagaBatch = sagas::change_batch;
        /// A decision for many with what became of each.
        get_batch(GetBatch) -> BatchPage = sagas::get_batch;
        get_saga_policy(Empty) -> SagaPolicy = sagas::get_policy;
        /// A new version of the policies, with its reason.
        put_saga_policy(PutSagaPolicy) -> SagaPolicy = sagas::put_policy;
        /// How fast and how many at once each provider is asked, and whether it is.
        list_providers(Empty) -> Providers = sagas::list_providers;
        put_provider(PutProvider) -> Providers = sagas::put_provider;
        /// Lets one saga ahead at once; its answer opens the way for the others.
        open_gate(OpenGate) -> Providers = sagas::open_gate;

        /// Where things are sent, worst first.
        list_endpoints(Empty) -> Endpoints = endpoints::list;
        get_endpoint(GetEndpoint) -> Endpoint = endpoints::get;
        /// What got through, what failed and how long tries took, by the hour or the day.
        get_endpoint_history(GetEndpointHistory) -> EndpointHistory = endpoints::history;
        put_endpoint(PutEndpoint) -> EndpointSaved = endpoints::put;
        change_endpoint(ChangeEndpoint) -> Endpoint = endpoints::change;
        /// What turning it on again would owe to it. Changes nothing.
        preview_recovery(PreviewRecovery) -> RecoveryPlan = endpoints::preview_recovery;
        rotate_secret(RotateSecret) -> EndpointSaved = endpoints::rotate_secret;
        /// Shows a secret once more, and writes down who looked.
        reveal_secret(RevealSecret) -> SecretShown = endpoints::reveal_secret;
        /// Which of the last events would go there. Changes nothing.
        try_filter(TryFilter) -> FilterTried = endpoints::try_filter;
        send_test(SendTest) -> DeliveryRef = endpoints::send_test;
        hook_catalogue(Empty) -> Vec<HookEvent> = endpoints::catalogue;
        get_allow_list(Empty) -> AllowList = endpoints::allow_list;
        put_allow_list(PutAllowList) -> AllowList = endpoints::put_allow_list;
        get_notice_list(Empty) -> NoticeList = endpoints::notice_list;
        put_notice_list(PutNoticeList) -> NoticeList = endpoints::put_notice_list;

        get_delivery_retention(Empty) -> DeliveryRetention = endpoints::delivery_retention;
        /// A new version of how long deliveries are kept, with its reason.
        put_delivery_retention(PutDeliveryRetention) -> DeliveryRetention = endpoints::put_delivery_retention;

        list_deliveries(ListDeliveries) -> DeliveryList = deliveries::list;
        get_delivery(GetDelivery) -> DeliveryDetail = deliveries::get;
        redeliver(Redeliver) -> DeliveryRef = deliveries::redeliver;
        cancel_delivery(CancelDelivery) -> DeliveryRef = deliveries::cancel;
        /// What sending many again would do. Changes nothing.
        preview_redelivery(PreviewRedelivery) -> RedeliveryPlan = deliveries::preview;
        /// Freezes the set that was seen; a worker carries it out.
        start_redelivery(StartRedelivery) -> Redelivery = deliveries::start;
        change_redelivery(ChangeRedelivery) -> Redelivery = deliveries::change;
        list_redeliveries(Empty) -> Vec<Redelivery> = deliveries::redeliveries;

        /// What came in, newest first, and how it comes in.
        list_inbox(ListInbox) -> InboxList = inbox::list;
        get_arrival(GetArrival) -> Arrival = inbox::get;
        /// Once more through the same door.
        reprocess(Reprocess) -> Reprocessed = inbox::reprocess;
        preview_reprocess(PreviewReprocess) -> ReprocessPlan = inbox::preview;
        start_reprocess(StartReprocess) -> Redelivery = inbox::start;
        /// Lets whoever reads the provider's list of events do it at once.
        poll_now(Empty) -> Empty = inbox::poll_now;
        /// What a provider signs with, masked, and who added and ended which.
        list_incoming_secrets(Empty) -> IncomingSecrets = inbox::list_secrets;
        add_incoming_secret(AddIncomingSecret) -> IncomingSecrets = inbox::add_secret;
        end_incoming_secret(EndIncomingSecret) -> IncomingSecrets = inbox::end_secret;

        list_people(Empty) -> People = people::list;
        list_names(Empty) -> PeopleNames = people::names;
        /// A login of their own; its password is shown this once.
        add_person(AddPerson) -> PersonMade = people::add;
        change_person(ChangePerson) -> Person = people::change;
        reset_password(ResetPassword) -> PersonMade = people::reset_password;

        list_projections(Empty) -> Projections = projections::list;
        list_rebuilds(ListRebuilds) -> RebuildList = projections::list_rebuilds;
        list_projection_changes(ListProjectionChanges) -> ProjectionChanges = projections::list_changes;
        get_rebuild(GetRebuild) -> Rebuild = projections::get_rebuild;
        /// What a replay would read, and how long it would take. Changes nothing.
        preview_replay(PreviewReplay) -> ReplayPreview = projections::preview;
        start_replay(StartReplay) -> ReplayStarted = projections::start;
        pause_rebuild(ChangeRebuild) -> Rebuild = projections::pause_rebuild;
        resume_rebuild(ChangeRebuild) -> Rebuild = projections::resume_rebuild;
        cancel_rebuild(ChangeRebuild) -> Rebuild = projections::cancel_rebuild;
        set_rebuild_speed(SetRebuildSpeed) -> Rebuild = projections::set_speed;
        /// Readers go over to the new generation; the old one is kept for a roll back.
        swap_rebuild(ChangeRebuild) -> Rebuild = projections::swap;
        list_diff(ListDiff) -> DiffPage = projections::diff;
        pause_projection(ChangeProjection) -> Projection = projections::pause;
        resume_projection(ChangeProjection) -> Projection = projections::resume;
        roll_back_projection(ChangeProjection) -> Projection = projections::roll_back;
        retry_parked(ChangeProjection) -> Projection = projections::retry_parked;
        skip_parked(SkipParked) -> Projection = projections::skip_parked;
        withdraw_skip(WithdrawSkip) -> Projection = projections::withdraw_skip;

        list_backups(Empty) -> Backups = backups::list;
        back_up_now(BackUpNow) -> BackupRun = backups::back_up_now;
        /// Restores it into a database of its own, counts, checks the chain, and drops the copy.
        verify_backup(VerifyBackup) -> BackupRun = backups::verify;
        preview_restore(PreviewRestore) -> RestorePreview = backups::preview_restore;
        restore_backup(RestoreBackup) -> BackupRun = backups::restore;
        /// What the doctor found the last times, for everybody who may look.
        list_proofs(Empty) -> Proofs = doctor::proofs;
        /// Runs every audit, and hashes every event again. Returns at once; what comes of it is in `list_proofs`.
        examine(Examine) -> DoctorRunning = doctor::examine;
        /// The room that the database takes.
        space(Empty) -> Space = space::space;
        preview_erasure(PreviewErasure) -> ErasurePreview = backups::preview_erasure;
        erase_customer(EraseCustomer) -> CustomerErased = backups::erase_customer;
    }
}

fn parse<T: serde::de::DeserializeOwned>(command: &str, params: &RawValue) -> Result<T, AppError> {
    let bad = |e| error::bad_request(command, &e);
    // Postgres keeps no NUL in a text. Sealed, it would get in all the same, and stop whatever reads it.
    if params.get().contains("\\u0000")
        && has_nul(&serde_json::from_str(params.get()).map_err(bad)?)
    {
        return Err(AppError::new(
            Code::Invalid,
            "A text has a sign in it that cannot be kept (NUL).",
        )
        .hint("Delete that text and type it again."));
    }
    serde_json::from_str(params.get()).map_err(bad)
}

fn has_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(list) => list.iter().any(has_nul),
        serde_json::Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn reply<T: serde::Serialize>(value: &T) -> Result<String, AppError> {
    serde_json::to_string(value).map_err(error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_nul_is_refused_wherever_it_stands_and_the_letters_of_its_escape_are_not() {
        let parsed = |text: &str| {
            let params = RawValue::from_string(text.to_owned()).unwrap();
            parse::<serde_json::Value>("test", &params)
        };
        for bad in [
            r#"{"a":"x\u0000"}"#,
            r#"{"a":[{"b":"\u0000"}]}"#,
            r#"{"\u0000":1}"#,
        ] {
            assert_eq!(parsed(bad).unwrap_err().code, Code::Invalid, "{bad}");
        }
        assert!(parsed(r#"{"a":"\\u0000"}"#).is_ok());
    }
}
