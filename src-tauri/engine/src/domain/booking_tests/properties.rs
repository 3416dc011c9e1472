//! Whatever is asked, in whatever order: the rules hold.

use proptest::prelude::*;
use proptest::sample::select;

use super::samples::*;
use super::*;
use crate::domain::dispute::{DisputeSeen, Moved};

fn price(event: &BookingCreated) -> i64 {
    event.price.amount_minor
}

/// Commands as a window, a provider and a confused operator might send them: right, wrong, late and again.
fn command() -> impl Strategy<Value = Command> {
    let amount = select(vec![
        eur(8000),
        eur(3000),
        eur(5000),
        eur(0),
        eur(-100),
        eur(9000),
        money(8000, "USD"),
    ]);
    let session = select(vec![None, Some("cs_1"), Some("cs_2")]);
    let n = 1u128..3;
    prop_oneof![
        (0usize..3).prop_map(|claims| Command::Hold {
            claims: (0..claims).map(|c| claim(c as u128)).collect(),
            expires_at: Some(now())
        }),
        (amount.clone(), session).prop_map(|(amount, session)| {
            let mode = if session.is_some() {
                PaymentMode::Link
            } else {
                PaymentMode::CardOnFile
            };
            Command::RequestPayment(Box::new(PaymentRequested {
                amount,
                ..payment_request(mode, session)
            }))
        }),
        Just(Command::RequireAction(payment_ref())),
        amount
            .clone()
            .prop_map(|amount_capturable| Command::Authorise(PaymentAuthorized {
                amount_capturable,
                ..authorisation(0)
            })),
        Just(Command::Decline(decline())),
        amount
            .clone()
            .prop_map(|amount_received| Command::ReceivePayment(PaymentReceived {
                amount_received,
                ..receipt(0)
            })),
        Just(Command::SeeFee(fee(145))),
        Just(Command::VoidPayment(voided())),
        Just(Command::ExpireLink(payment_ref())),
        (n.clone(), amount.clone()).prop_map(|(n, amount)| Command::RequestRefund(
            RefundRequested {
                amount,
                ..refund_request(n, 0)
            }
        )),
        (n.clone(), amount).prop_map(|(n, amount)| Command::RecordRefund(PaymentRefunded {
            amount,
            ..refunded(n, 0)
        })),
        n.prop_map(|n| Command::FailRefund(refund_failure(n))),
        (
            0i64..3,
            0i64..3,
            select(vec![
                None,
                Some(DisputeOutcome::Won),
                Some(DisputeOutcome::Lost)
            ])
        )
            .prop_map(|(out, back, outcome)| {
                let moved = |n: i64| Moved {
                    amount_minor: n * 4000,
                    fee_minor: n * 1000,
                };
                Command::SeeDispute(Box::new(DisputeSeen {
                    opened: disputed(),
                    currency: eur(0).currency,
                    withdrawn: moved(out),
                    reinstated: moved(back.min(out)),
                    outcome,
                }))
            }),
        Just(Command::Confirm),
        Just(Command::RecordNotification(notification())),
        Just(Command::FailNotification(notification_failure())),
        select(vec![
            CancelReason::Asked,
            CancelReason::HoldExpired,
            CancelReason::PaymentFailed,
            CancelReason::NotTold
        ])
        .prop_map(cancel),
        select(vec!["expired", "compensated"]).prop_map(|r| Command::Release {
            reason: r.to_owned()
        }),
        Just(Command::Create(Box::new(booking(PaymentMode::Link)))),
    ]
}

/// Commands in the order of a good day, which random ones then disturb.
fn good_day() -> Vec<Command> {
    vec![
        Command::Hold {
            claims: vec![claim(1)],
            expires_at: Some(now()),
        },
        Command::RequestPayment(Box::new(payment_request(PaymentMode::CardOnFile, None))),
        Command::Authorise(authorisation(8000)),
        Command::ReceivePayment(receipt(8000)),
        Command::Confirm,
        Command::RecordNotification(notification()),
        Command::RequestRefund(refund_request(1, 3000)),
        Command::RecordRefund(refunded(1, 3000)),
        cancel(CancelReason::Asked),
        Command::RequestRefund(refund_request(2, 5000)),
        Command::RecordRefund(refunded(2, 5000)),
        Command::Release {
            reason: "compensated".to_owned(),
        },
    ]
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let disturbed = prop::collection::vec((0usize..13, command()), 0..12).prop_map(|extra| {
        let mut all = good_day();
        for (at, command) in extra {
            all.insert(at.min(all.len()), command);
        }
        all
    });
    prop_oneof![prop::collection::vec(command(), 0..40), disturbed]
}

fn holds(state: &Booking, before: &Booking) {
    let created = state.created.as_ref().unwrap();
    let p = &state.payment;
    assert!(
        0 <= p.refunded_minor
            && p.refunded_minor <= p.captured_minor
            && p.captured_minor <= price(created),
        "money: {p:?}"
    );
    assert!(
        p.refund_pending_minor >= 0
            && p.refunded_minor + p.refund_pending_minor <= p.captured_minor,
        "pending: {p:?}"
    );
    if state.status == Status::Confirmed {
        assert!(!state.claims.is_empty(), "confirmed without claims");
        assert!(
            created.payment_mode == PaymentMode::Venue
                || price(created) == 0
                || p.captured_minor > 0,
            "confirmed without payment"
        );
    }
    if p.captured_minor > 0 {
        use PaymentState::*;
        assert!(
            matches!(
                p.state,
                Paid | RefundPending | PartRefunded | Refunded | RefundFailed
            ),
            "money was taken, and it is shown as {:?}",
            p.state
        );
        assert_eq!(p.pay_url, None, "nobody is asked to pay twice");
    }
    if matches!(before.status, Status::Cancelled | Status::Expired) {
        assert_eq!(state.status, before.status, "what is over stays over");
    }
    assert!(
        state.sequence >= before.sequence,
        "a calendar never takes an older entry"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(
        mode in select(vec![PaymentMode::Link, PaymentMode::CardOnFile, PaymentMode::Venue]),
        amount in select(vec![8000, 8000, 8000, 0]),
        commands in commands(),
    ) {
        let first = BookingCreated { price: eur(amount), ..booking(mode) };
        let mut history = decide(&Booking::default(), Command::Create(Box::new(first)), now()).unwrap();
        let mut state = replay(&history);
        for command in commands {
            let answer = decide(&state, command.clone(), now());
            prop_assert_eq!(&answer, &decide(&state, command.clone(), now()), "deterministic");
            let Ok(events) = answer else { continue };
            let before = state.clone();
            for event in &events {
                state = evolve(state, event);
            }
            holds(&state, &before);
            let again = decide(&state, command.clone(), now()).unwrap_or_default();
            if !matches!(command, Command::RecordNotification(_) | Command::FailNotification(_)) {
                prop_assert!(again.is_empty(), "{command:?} twice: {again:?}");
            }
            history.extend(events);
        }
        prop_assert_eq!(&replay(&history), &state);
        let times = |name: &str| history.iter().filter(|e| e.name() == name).count();
        for once in ["BookingCreated", "InventoryHeld", "PaymentReceived", "BookingConfirmed", "BookingCancelled", "BookingExpired"] {
            prop_assert!(times(once) <= 1, "{once} {} times", times(once));
        }
        for event in &history {
            let json = serde_json::to_string(event).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), event);
        }
    }

    /// History is never rejected: not when it is out of order, doubled, or of amounts that nobody would believe.
    #[test]
    fn evolve_takes_any_history(picks in prop::collection::vec((0usize..33, any::<i64>()), 0..60)) {
        let events: Vec<Event> = picks.into_iter().map(|(n, minor)| match every_event().swap_remove(n) {
            Event::PaymentRefunded(e) => Event::PaymentRefunded(PaymentRefunded { amount: eur(minor), ..e }),
            Event::PaymentReceived(e) => Event::PaymentReceived(PaymentReceived { amount_received: eur(minor), ..e }),
            Event::RefundRequested(e) => Event::RefundRequested(RefundRequested { amount: eur(minor), ..e }),
            Event::DisputeFundsWithdrawn(e) => Event::DisputeFundsWithdrawn(DisputeFunds { amount: eur(minor), ..e }),
            other => other,
        }).collect();
        let whole = replay(&events);
        let (a, b) = events.split_at(events.len() / 2);
        prop_assert_eq!(b.iter().fold(replay(a), evolve), whole);
    }

    #[test]
    fn any_event_survives_its_json(n in 0usize..33, text in any::<String>(), minor in any::<i64>(), micros in -60_000_000_000_000_000i64..200_000_000_000_000_000, number in any::<i32>()) {
        let at = DateTime::from_timestamp_micros(micros).unwrap();
        let optional = (number % 2 == 0).then(|| text.clone());
        let event = match every_event().swap_remove(n) {
            Event::BookingCreated(e) => Event::BookingCreated(BookingCreated { service_name: text, start_utc: at, duration_min: number, price: eur(minor), payment_method: optional, ..e }),
            Event::InventoryHeld(_) => Event::InventoryHeld(InventoryHeld { claims: vec![Claim { blocked_from: at, ..claim(1) }; (number % 3).unsigned_abs() as usize], expires_at: optional.map(|_| at) }),
            Event::HoldExtended(e) => Event::HoldExtended(HoldExtended { expires_at: at, ..e }),
            Event::PaymentMethodCorrected(_) => Event::PaymentMethodCorrected(PaymentMethodCorrected { payment_method: text, before: optional }),
            Event::PaymentRequested(e) => Event::PaymentRequested(PaymentRequested { pay_url: optional.clone(), checkout_session: optional, link_expires_at: Some(at), idempotency_key: text, ..e }),
            Event::PaymentActionRequired(e) => Event::PaymentActionRequired(PaymentRef { payment_intent: optional, ..e }),
            Event::PaymentAuthorized(e) => Event::PaymentAuthorized(PaymentAuthorized { amount_capturable: eur(minor), capture_before: optional.map(|_| at), ..e }),
            Event::PaymentFailed(e) => Event::PaymentFailed(PaymentFailed { message: text, decline_code: optional, ..e }),
            Event::PaymentReceived(e) => Event::PaymentReceived(PaymentReceived { amount_received: eur(minor), charge_id: optional, ..e }),
            Event::ProviderFeeCharged(e) => Event::ProviderFeeCharged(ProviderFeeCharged { balance_transaction: text, fee: eur(minor), ..e }),
            Event::PaymentVoided(e) => Event::PaymentVoided(PaymentVoided { reason: text, payment_intent: optional, ..e }),
            Event::PaymentLinkExpired(e) => Event::PaymentLinkExpired(PaymentRef { payment_intent: optional, ..e }),
            Event::RefundRequested(e) => Event::RefundRequested(RefundRequested { amount: eur(minor), reason: text, ..e }),
            Event::PaymentRefunded(e) => Event::PaymentRefunded(PaymentRefunded { amount: eur(minor), provider_refund: text, ..e }),
            Event::RefundFailed(e) => Event::RefundFailed(RefundFailed { amount: eur(minor), reason: text, ..e }),
            Event::RefundReturned(e) => Event::RefundReturned(RefundReturned { amount: eur(minor), reason: text, ..e }),
            Event::RemainderKept(e) => Event::RemainderKept(RemainderKept { amount: eur(minor), approved_by: optional, reason: text, ..e }),
            Event::PaymentDisputed(e) => Event::PaymentDisputed(PaymentDisputed { reason: text, charge_id: optional, amount: eur(minor), evidence_due: Some(at), ..e }),
            Event::DisputeFundsWithdrawn(e) => Event::DisputeFundsWithdrawn(DisputeFunds { dispute_id: text, amount: eur(minor), ..e }),
            Event::DisputeFundsReinstated(e) => Event::DisputeFundsReinstated(DisputeFunds { dispute_id: text, fee: eur(minor), ..e }),
            Event::DisputeClosed(e) => Event::DisputeClosed(DisputeClosed { dispute_id: text, ..e }),
            Event::BookingConfirmed(_) => Event::BookingConfirmed(BookingConfirmed { confirmed_at: at, sequence: number }),
            Event::NotificationSent(e) => Event::NotificationSent(NotificationSent { provider_message_id: text, attempt: number, ..e }),
            Event::NotificationFailed(e) => Event::NotificationFailed(NotificationFailed { error: text, attempt: number, ..e }),
            Event::CalendarSynced(e) => Event::CalendarSynced(CalendarSynced { external_id: text, sequence: number, ..e }),
            Event::BookingCancelled(e) => Event::BookingCancelled(BookingCancelled { reason: optional, refund_due: Some(eur(minor)), sequence: number, notice_min: Some(minor), was_confirmed: Some(number > 0), ..e }),
            Event::BookingExpired(_) => Event::BookingExpired(BookingExpired { expired_at: at }),
            Event::NoShowRecorded(_) => Event::NoShowRecorded(NoShowRecorded { recorded_at: at }),
            Event::NoShowWithdrawn(_) => Event::NoShowWithdrawn(NoShowWithdrawn { withdrawn_at: at }),
            Event::InventoryReleased(e) => Event::InventoryReleased(InventoryReleased { reason: text, ..e }),
            Event::InventoryHoldExpired(e) => Event::InventoryHoldExpired(InventoryReleased { reason: text, ..e }),
            Event::CustomerRegistered(e) => Event::CustomerRegistered(CustomerRegistered { personal: Sealed { text, ..e.personal }, ..e }),
            Event::CustomerErased(e) => Event::CustomerErased(CustomerErased { reason: text, ..e }),
        };
        let json = serde_json::to_value(&event).unwrap();
        prop_assert_eq!(&serde_json::from_value::<Event>(json.clone()).unwrap(), &event);
        prop_assert_eq!(serde_json::from_str::<Event>(&json.to_string()).unwrap(), event);
    }
}
