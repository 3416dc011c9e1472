//! Given what happened, when this is asked, then that happens next.

#[path = "booking_tests/fixtures.rs"]
mod fixtures;
#[path = "booking_tests/properties.rs"]
mod properties;
#[path = "booking_tests/samples.rs"]
pub(crate) mod samples;

use chrono::TimeDelta;

use super::*;
use samples::*;

/// Names of what follows, or the refusal.
fn check(given: &[Event], when: Command, then: Result<&[&str], Refusal>) {
    let state = replay(given);
    let got = decide(&state, when.clone(), now());
    let names = got
        .as_ref()
        .map(|events| events.iter().map(Event::name).collect::<Vec<_>>())
        .map_err(Clone::clone);
    assert_eq!(names, then.map(<[&str]>::to_vec), "{when:?}");
    let Ok(events) = got else { return };
    // The same command again is harmless: it adds nothing, or is refused.
    let after = events.iter().fold(state, evolve);
    let again = decide(&after, when.clone(), now()).unwrap_or_default();
    let is_a_fact_of_its_own = matches!(
        when,
        Command::RecordNotification(_) | Command::FailNotification(_)
    );
    assert!(
        again.is_empty() || is_a_fact_of_its_own,
        "{when:?} twice: {again:?}"
    );
}

fn created() -> Vec<Event> {
    vec![Event::BookingCreated(booking(PaymentMode::CardOnFile))]
}

fn held() -> Vec<Event> {
    [
        created(),
        vec![Event::InventoryHeld(InventoryHeld {
            claims: vec![claim(1)],
            expires_at: Some(now()),
        })],
    ]
    .concat()
}

fn requested() -> Vec<Event> {
    [
        held(),
        vec![Event::PaymentRequested(payment_request(
            PaymentMode::CardOnFile,
            None,
        ))],
    ]
    .concat()
}

fn linked() -> Vec<Event> {
    [
        held(),
        vec![Event::PaymentRequested(payment_request(
            PaymentMode::Link,
            Some("cs_1"),
        ))],
    ]
    .concat()
}

fn authorised() -> Vec<Event> {
    [
        requested(),
        vec![Event::PaymentAuthorized(authorisation(8000))],
    ]
    .concat()
}

fn paid() -> Vec<Event> {
    [authorised(), vec![Event::PaymentReceived(receipt(8000))]].concat()
}

fn confirmed() -> Vec<Event> {
    [
        paid(),
        vec![Event::BookingConfirmed(BookingConfirmed {
            confirmed_at: now(),
            sequence: 0,
        })],
    ]
    .concat()
}

fn cancelled() -> Vec<Event> {
    let cancel = decide(&replay(&confirmed()), cancel(CancelReason::Asked), now()).unwrap();
    [confirmed(), cancel].concat()
}

fn refunding(minor: i64) -> Vec<Event> {
    [
        cancelled(),
        vec![Event::RefundRequested(refund_request(1, minor))],
    ]
    .concat()
}

#[test]
fn a_booking_is_created_once_and_for_a_slot_that_can_be() {
    let fresh = || booking(PaymentMode::Link);
    let create = |b: BookingCreated| Command::Create(Box::new(b));
    check(&[], create(fresh()), Ok(&["BookingCreated"]));
    check(&created(), create(fresh()), Err(Refusal::Exists));
    let back_to_front = BookingCreated {
        end_utc: fresh().start_utc,
        ..fresh()
    };
    check(&[], create(back_to_front), Err(Refusal::EmptySlot));
    check(
        &[],
        create(BookingCreated {
            price: eur(-1),
            ..fresh()
        }),
        Err(Refusal::NegativePrice),
    );
    let at = |hours: i64, source| BookingCreated {
        start_utc: now() - TimeDelta::hours(hours),
        source,
        ..fresh()
    };
    check(&[], create(at(11, Source::Staff)), Ok(&["BookingCreated"]));
    check(
        &[],
        create(at(13, Source::Staff)),
        Err(Refusal::InThePast(now() - TimeDelta::hours(13))),
    );
    check(
        &[],
        create(at(1000, Source::Import)),
        Ok(&["BookingCreated"]),
    );
}

#[test]
fn nothing_can_be_asked_of_a_booking_that_is_not_there() {
    for command in every_command() {
        if !matches!(command, Command::Create(_)) {
            check(&[], command, Err(Refusal::NotCreated));
        }
    }
}

#[test]
fn who_did_not_come_is_noted_once_it_has_begun_and_taken_back_when_they_did() {
    let mut begun = confirmed();
    let Event::BookingCreated(created) = &mut begun[0] else {
        unreachable!("a booking begins with it");
    };
    created.start_utc = now();
    let missed = [
        begun.clone(),
        vec![Event::NoShowRecorded(NoShowRecorded { recorded_at: now() })],
    ]
    .concat();
    check(&begun, Command::RecordNoShow, Ok(&["NoShowRecorded"]));
    check(&missed, Command::RecordNoShow, Ok(&[]));
    check(&missed, Command::WithdrawNoShow, Ok(&["NoShowWithdrawn"]));
    check(&begun, Command::WithdrawNoShow, Ok(&[]));
    let Some(Event::BookingCreated(later)) = confirmed().into_iter().next() else {
        unreachable!("a booking begins with it");
    };
    check(
        &confirmed(),
        Command::RecordNoShow,
        Err(Refusal::NotBegun(later.start_utc)),
    );
    check(
        &held(),
        Command::RecordNoShow,
        Err(Refusal::WrongStatus(Status::Held, "missed")),
    );
    check(
        &cancelled(),
        Command::RecordNoShow,
        Err(Refusal::WrongStatus(Status::Cancelled, "missed")),
    );
}

#[test]
fn inventory_is_held_once_and_nothing_is_no_hold() {
    let hold = |claims| Command::Hold {
        claims,
        expires_at: None,
    };
    check(&created(), hold(vec![claim(1)]), Ok(&["InventoryHeld"]));
    check(&held(), hold(vec![claim(2)]), Ok(&[]));
    check(&cancelled(), hold(vec![claim(2)]), Ok(&[]));
    check(&created(), hold(vec![]), Err(Refusal::NothingToHold));
}

#[test]
fn a_payment_is_asked_for_at_the_price_agreed_and_never_again_once_there_is_money() {
    let request = |p| Command::RequestPayment(Box::new(p));
    let card = || payment_request(PaymentMode::CardOnFile, None);
    let link = |session| payment_request(PaymentMode::Link, Some(session));
    check(&held(), request(card()), Ok(&["PaymentRequested"]));
    check(&requested(), request(card()), Ok(&[]));
    // The card was refused: a page, and another page once that one is gone.
    check(
        &requested(),
        request(link("cs_1")),
        Ok(&["PaymentRequested"]),
    );
    check(&linked(), request(link("cs_2")), Ok(&["PaymentRequested"]));
    check(&authorised(), request(link("cs_2")), Ok(&[]));
    check(&paid(), request(link("cs_2")), Ok(&[]));
    for (amount, got) in [(eur(7999), 7999), (money(8000, "USD"), 8000)] {
        let wrong = Refusal::WrongAmount { got, agreed: 8000 };
        check(
            &held(),
            request(PaymentRequested { amount, ..card() }),
            Err(wrong),
        );
    }
    let status = |s| Refusal::WrongStatus(s, "paid for");
    check(
        &confirmed(),
        request(card()),
        Err(status(Status::Confirmed)),
    );
    check(
        &cancelled(),
        request(card()),
        Err(status(Status::Cancelled)),
    );
}

#[test]
fn what_the_provider_shows_becomes_a_fact_once() {
    let action = || Command::RequireAction(payment_ref());
    check(&requested(), action(), Ok(&["PaymentActionRequired"]));
    check(&linked(), action(), Ok(&[]));

    let authorise = |minor| Command::Authorise(authorisation(minor));
    check(&requested(), authorise(8000), Ok(&["PaymentAuthorized"]));
    check(&paid(), authorise(8000), Ok(&[]));
    let short = Refusal::WrongAmount {
        got: 100,
        agreed: 8000,
    };
    check(&requested(), authorise(100), Err(short.clone()));

    let decline = || Command::Decline(decline());
    check(&requested(), decline(), Ok(&["PaymentFailed"]));
    check(&authorised(), decline(), Ok(&[]));
    check(&paid(), decline(), Ok(&[]));

    let receive = |minor| Command::ReceivePayment(receipt(minor));
    check(&authorised(), receive(8000), Ok(&["PaymentReceived"]));
    check(&paid(), receive(8000), Ok(&[]));
    check(&authorised(), receive(100), Err(short));
    // Money that arrives late is still money.
    let late = [
        linked(),
        vec![Event::BookingExpired(BookingExpired { expired_at: now() })],
    ]
    .concat();
    check(&late, receive(8000), Ok(&["PaymentReceived"]));

    let void = || Command::VoidPayment(voided());
    check(&requested(), void(), Ok(&["PaymentVoided"]));
    check(&authorised(), void(), Ok(&["PaymentVoided"]));
    check(&held(), void(), Ok(&[]));
    check(&paid(), void(), Ok(&[]));

    let expire = || Command::ExpireLink(payment_ref());
    check(&linked(), expire(), Ok(&["PaymentLinkExpired"]));
    check(&requested(), expire(), Ok(&[]));
    check(&paid(), expire(), Ok(&[]));
}

#[test]
fn a_booking_is_confirmed_when_it_is_held_and_paid_or_needs_no_payment() {
    check(&paid(), Command::Confirm, Ok(&["BookingConfirmed"]));
    check(&held(), Command::Confirm, Err(Refusal::NotPaid));
    check(&authorised(), Command::Confirm, Err(Refusal::NotPaid));
    check(&created(), Command::Confirm, Err(Refusal::NotHeld));
    check(&confirmed(), Command::Confirm, Ok(&[]));
    let over = Refusal::WrongStatus(Status::Cancelled, "confirmed");
    check(&cancelled(), Command::Confirm, Err(over));
    let hold = Event::InventoryHeld(InventoryHeld {
        claims: vec![claim(1)],
        expires_at: None,
    });
    for free in [
        booking(PaymentMode::Venue),
        BookingCreated {
            price: eur(0),
            ..booking(PaymentMode::Link)
        },
    ] {
        check(
            &[Event::BookingCreated(free), hold.clone()],
            Command::Confirm,
            Ok(&["BookingConfirmed"]),
        );
    }
}

#[test]
fn a_cancellation_says_what_is_owed_and_a_hold_that_ends_was_never_a_booking() {
    let ask = |given: &[Event], reason| {
        let events = decide(&replay(given), cancel(reason), now()).unwrap();
        let [Event::BookingCancelled(c)] = &events[..] else {
            panic!("{events:?}")
        };
        (c.refund_due.clone(), c.sequence)
    };
    assert_eq!(ask(&confirmed(), CancelReason::Asked), (Some(eur(8000)), 1));
    assert_eq!(ask(&held(), CancelReason::Asked), (None, 1));
    assert_eq!(
        ask(&confirmed(), CancelReason::HoldExpired),
        (Some(eur(8000)), 1)
    );
    check(
        &held(),
        cancel(CancelReason::HoldExpired),
        Ok(&["BookingExpired"]),
    );
    check(&cancelled(), cancel(CancelReason::Asked), Ok(&[]));
}

#[test]
fn a_cancellation_says_how_late_it_came_and_whether_a_booking_was_lost() {
    let ask = |given: &[Event], at| {
        let events = decide(&replay(given), cancel(CancelReason::Asked), at).unwrap();
        let [Event::BookingCancelled(c)] = &events[..] else {
            panic!("{events:?}")
        };
        (c.notice_min, c.was_confirmed)
    };
    let start = booking(PaymentMode::Link).start_utc;
    let before = |minutes| start - TimeDelta::minutes(minutes);
    assert_eq!(ask(&confirmed(), before(90)), (Some(90), Some(true)));
    assert_eq!(ask(&held(), before(2_880)), (Some(2_880), Some(false)));
    assert_eq!(ask(&confirmed(), before(-5)), (Some(-5), Some(true)));
}

#[test]
fn a_slot_is_given_back_once_and_never_under_a_confirmed_booking() {
    let release = |reason: &str| Command::Release {
        reason: reason.to_owned(),
    };
    check(&held(), release("compensated"), Ok(&["InventoryReleased"]));
    check(&held(), release("expired"), Ok(&["InventoryHoldExpired"]));
    check(
        &cancelled(),
        release("compensated"),
        Ok(&["InventoryReleased"]),
    );
    check(&created(), release("compensated"), Ok(&[]));
    let kept = Refusal::WrongStatus(Status::Confirmed, "stripped of its slot");
    check(&confirmed(), release("compensated"), Err(kept));
}

#[test]
fn a_refund_is_for_what_is_left_and_each_is_asked_for_once() {
    let ask = |id, minor| Command::RequestRefund(refund_request(id, minor));
    let left = |left| Refusal::RefundTooLarge { left };
    check(&cancelled(), ask(1, 8000), Ok(&["RefundRequested"]));
    check(&cancelled(), ask(1, 8001), Err(left(8000)));
    check(&held(), ask(1, 1), Err(left(0)));
    check(&refunding(3000), ask(2, 1000), Ok(&[]));
    for amount in [eur(0), eur(-1), money(100, "USD")] {
        let odd = Command::RequestRefund(RefundRequested {
            amount,
            ..refund_request(1, 0)
        });
        check(&cancelled(), odd, Err(Refusal::OddRefund));
    }
    // A part went back. The same request, late, asks for nothing more; another one may.
    let part = [
        refunding(3000),
        vec![Event::PaymentRefunded(refunded(1, 3000))],
    ]
    .concat();
    check(&part, ask(1, 3000), Ok(&[]));
    check(&part, ask(2, 5001), Err(left(5000)));
    check(&part, ask(2, 5000), Ok(&["RefundRequested"]));
    // One that failed may be tried again under its own id.
    let failed = [
        refunding(3000),
        vec![Event::RefundFailed(refund_failure(1))],
    ]
    .concat();
    check(&failed, ask(1, 3000), Ok(&["RefundRequested"]));
}

#[test]
fn only_the_refund_that_was_asked_for_is_recorded_and_at_its_amount() {
    let record = |id, minor| Command::RecordRefund(refunded(id, minor));
    let fail = |id| Command::FailRefund(refund_failure(id));
    check(&refunding(3000), record(1, 3000), Ok(&["PaymentRefunded"]));
    check(&refunding(3000), record(2, 3000), Ok(&[]));
    let wrong = Refusal::WrongAmount {
        got: 8000,
        agreed: 3000,
    };
    check(&refunding(3000), record(1, 8000), Err(wrong));
    check(&confirmed(), record(1, 3000), Ok(&[]));
    check(&refunding(3000), fail(1), Ok(&["RefundFailed"]));
    check(&refunding(3000), fail(2), Ok(&[]));
    check(&confirmed(), fail(1), Ok(&[]));
}

#[test]
fn a_fee_belongs_to_the_payment_that_was_captured_and_is_told_once() {
    let see = |intent: &str| {
        Command::SeeFee(ProviderFeeCharged {
            payment_intent: intent.to_owned(),
            ..fee(145)
        })
    };
    check(&confirmed(), see("pi_1"), Ok(&["ProviderFeeCharged"]));
    check(&refunding(3000), see("pi_1"), Ok(&["ProviderFeeCharged"]));
    check(&confirmed(), see("pi_2"), Err(Refusal::NotPaid));
    check(&requested(), see("pi_1"), Err(Refusal::NotPaid));
    check(
        &[confirmed(), vec![Event::ProviderFeeCharged(fee(145))]].concat(),
        Command::SeeFee(fee(200)),
        Ok(&[]),
    );
}

#[test]
fn only_what_went_back_through_the_provider_can_come_back_and_no_older_try_for_it() {
    let back = Command::ReturnRefund(returned(1, 3000));
    let went = |as_what: &str| {
        let by_hand = PaymentRefunded {
            provider_refund: as_what.to_owned(),
            ..refunded(1, 3000)
        };
        [refunding(3000), vec![Event::PaymentRefunded(by_hand)]].concat()
    };
    check(&went("re_1"), back.clone(), Ok(&["RefundReturned"]));
    // The try that failed is told of again after a person has paid it out, or after a second try went through.
    check(&went("paid out in cash"), back.clone(), Ok(&[]));
    check(&went("re_2"), back.clone(), Ok(&[]));
    let twice = [went("re_1"), vec![Event::RefundReturned(returned(1, 3000))]].concat();
    check(&twice, back, Ok(&[]));
}

#[test]
fn no_more_is_kept_by_decision_than_is_here_and_each_decision_says_what_the_one_before_was() {
    let kept = |minor, before| vec![Event::RemainderKept(remainder(minor, before))];
    check(&confirmed(), keep(3000), Ok(&["RemainderKept"]));
    let decided = [confirmed(), kept(3000, 0)].concat();
    check(&decided, keep(3000), Ok(&[]));
    let told = decide(&replay(&decided), keep(0), now()).unwrap();
    assert_eq!(told, kept(0, 3000));
    for (history, asked, left) in [
        (confirmed(), 8001, 8000),
        (confirmed(), -1, 8000),
        // What is on its way back cannot stay.
        (refunding(3000), 5001, 5000),
        (requested(), 1, 0),
    ] {
        check(&history, keep(asked), Err(Refusal::KeepsTooMuch { left }));
    }
    let payment = |events: &[Event]| replay(events).payment;
    let back = Event::PaymentRefunded(refunded(1, 5000));
    let through = [
        decided,
        refunding(5000)[confirmed().len()..].to_vec(),
        vec![back],
    ]
    .concat();
    assert_eq!(
        (payment(&through).here(), payment(&through).owed_back()),
        (3000, 0)
    );
}

#[test]
fn messages_are_facts_of_their_own() {
    let sent = Command::RecordNotification(notification());
    check(&confirmed(), sent, Ok(&["NotificationSent"]));
    let failed = Command::FailNotification(notification_failure());
    check(&confirmed(), failed, Ok(&["NotificationFailed"]));
    assert!(replay(&[Event::NotificationSent(notification())]).notified);
}
