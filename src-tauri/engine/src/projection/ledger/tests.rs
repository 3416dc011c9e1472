use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::booking::tests::samples::*;
use crate::domain::event::*;

fn confirmed() -> Event {
    Event::BookingConfirmed(BookingConfirmed {
        confirmed_at: now(),
        sequence: 0,
    })
}

fn cancelled() -> Event {
    Event::BookingCancelled(BookingCancelled {
        cancelled_by: Party::Staff,
        reason_code: CancelReason::Asked,
        reason: None,
        refund_due: None,
        sequence: 1,
        notice_min: None,
        was_confirmed: None,
    })
}

/// What each account holds after the events, without those that hold nothing.
fn balances(events: &[Event]) -> BTreeMap<&'static str, i64> {
    let mut booking = begun(&crate::domain::booking::tests::samples::booking(
        PaymentMode::Link,
    ));
    let mut held = BTreeMap::new();
    for event in events {
        for post in booking.post(event) {
            assert!(
                post.amount_minor > 0 && post.debit != post.credit,
                "{post:?}"
            );
            *held.entry(post.debit).or_default() += post.amount_minor;
            *held.entry(post.credit).or_default() -= post.amount_minor;
        }
    }
    held.retain(|_, sum| *sum != 0);
    held
}

fn check(events: &[Event], expected: &[(&'static str, i64)]) {
    assert_eq!(
        balances(events),
        expected.iter().copied().collect(),
        "{events:?}"
    );
}

#[test]
fn a_paid_booking_owes_nothing_and_its_price_is_revenue() {
    let paid = Event::PaymentReceived(receipt(8000));
    check(
        std::slice::from_ref(&paid),
        &[(CLEARING, 8000), (RECEIVABLE, -8000)],
    );
    check(&[paid, confirmed()], &[(CLEARING, 8000), (REVENUE, -8000)]);
}

#[test]
fn the_providers_fee_comes_off_what_lies_there_and_no_refund_brings_it_back() {
    let paid = [
        Event::PaymentReceived(receipt(8000)),
        confirmed(),
        Event::ProviderFeeCharged(fee(145)),
    ];
    check(&paid, &[(CLEARING, 7855), (FEES, 145), (REVENUE, -8000)]);
    let refunded = [
        &paid[..],
        &[cancelled(), Event::PaymentRefunded(refunded(1, 8000))],
    ]
    .concat();
    check(&refunded, &[(CLEARING, -145), (FEES, 145)]);
}

#[test]
fn a_venue_booking_stays_owed_because_no_event_tells_of_the_money() {
    check(&[confirmed()], &[(RECEIVABLE, 8000), (REVENUE, -8000)]);
}

#[test]
fn what_is_cancelled_and_paid_is_owed_back_until_it_is_refunded() {
    let taken_back = [
        Event::PaymentReceived(receipt(8000)),
        confirmed(),
        cancelled(),
    ];
    check(&taken_back, &[(CLEARING, 8000), (RECEIVABLE, -8000)]);
    let mut refunded_too = taken_back.to_vec();
    refunded_too.push(Event::PaymentRefunded(refunded(1, 8000)));
    check(&refunded_too, &[]);
}

#[test]
fn a_refund_while_the_booking_stands_gives_up_a_part_of_the_price_and_is_not_owed_again() {
    let mut events = vec![
        Event::PaymentReceived(receipt(8000)),
        confirmed(),
        Event::PaymentRefunded(refunded(1, 3000)),
    ];
    check(
        &events,
        &[(CLEARING, 5000), (REFUNDS, 3000), (REVENUE, -8000)],
    );
    events.push(cancelled());
    check(&events, &[(CLEARING, 5000), (RECEIVABLE, -5000)]);
    events.push(Event::PaymentRefunded(refunded(2, 5000)));
    check(&events, &[]);
}

#[test]
fn what_is_kept_by_decision_is_revenue_whether_it_is_decided_before_the_cancellation_or_after() {
    let paid = [Event::PaymentReceived(receipt(8000)), confirmed()];
    let kept = |minor, before| Event::RemainderKept(remainder(minor, before));
    let due = |minor| match cancelled() {
        Event::BookingCancelled(e) => Event::BookingCancelled(BookingCancelled {
            refund_due: Some(eur(minor)),
            ..e
        }),
        other => other,
    };
    let back = |minor| Event::PaymentRefunded(refunded(1, minor));
    let stays = [(CLEARING, 3000), (REVENUE, -3000)];
    check(
        &[&paid[..], &[kept(3000, 0), due(5000), back(5000)]].concat(),
        &stays,
    );
    check(
        &[&paid[..], &[due(8000), kept(3000, 0), back(5000)]].concat(),
        &stays,
    );
    // Of a booking that was never confirmed no price is owed; what is kept is.
    check(
        &[paid[0].clone(), kept(3000, 0), due(5000), back(5000)],
        &stays,
    );
    // Less is kept after all, and then nothing.
    let less = [
        &paid[..],
        &[due(8000), kept(3000, 0), kept(1000, 3000), back(7000)],
    ]
    .concat();
    check(&less, &[(CLEARING, 1000), (REVENUE, -1000)]);
    check(&[&less[..], &[kept(0, 1000), back(1000)]].concat(), &[]);
}

#[test]
fn money_that_came_for_a_booking_that_never_stood_goes_back_whole() {
    let events = [
        Event::PaymentReceived(receipt(8000)),
        cancelled(),
        Event::PaymentRefunded(refunded(1, 8000)),
    ];
    check(&events, &[]);
}

proptest! {
    /// Whatever happens, in whatever order and however often: the books balance, and the money at the provider is what
    /// was captured less what was refunded and what it kept.
    #[test]
    fn the_books_always_balance(order in proptest::collection::vec(0usize..7, 0..20)) {
        let events: Vec<Event> = order.into_iter().map(|n| match n {
            0 => Event::PaymentReceived(receipt(8000)),
            1 => Event::PaymentRefunded(refunded(1, 3000)),
            2 => Event::PaymentRefunded(refunded(2, 5000)),
            3 => confirmed(),
            4 => cancelled(),
            5 => Event::ProviderFeeCharged(fee(145)),
            _ => Event::BookingExpired(BookingExpired { expired_at: now() }),
        }).collect();
        let held = balances(&events);
        prop_assert_eq!(held.values().sum::<i64>(), 0);
        let at_provider: i64 = events.iter().map(|e| match e {
            Event::PaymentReceived(e) => e.amount_received.amount_minor,
            Event::PaymentRefunded(e) => -e.amount.amount_minor,
            Event::ProviderFeeCharged(e) => -e.fee.amount_minor,
            _ => 0,
        }).sum();
        prop_assert_eq!(held.get(CLEARING).copied().unwrap_or_default(), at_provider);
    }
}

#[test]
fn a_dispute_takes_the_price_and_a_fee_and_gives_back_what_it_is_won_for() {
    let paid = [Event::PaymentReceived(receipt(8000)), confirmed()];
    let withdrawn = Event::DisputeFundsWithdrawn(dispute_funds(8000, 2000));
    let contested = [&paid[..], std::slice::from_ref(&withdrawn)].concat();
    check(
        &contested,
        &[
            ("provider_clearing", -2000),
            ("revenue", -8000),
            ("refunds", 8000),
            ("fees", 2000),
        ],
    );
    let won = Event::DisputeFundsReinstated(dispute_funds(8000, 0));
    check(
        &[&contested[..], &[won]].concat(),
        &[
            ("provider_clearing", 6000),
            ("revenue", -8000),
            ("fees", 2000),
        ],
    );
    // Given up after that, it owes nobody anything: the customer has the money already.
    check(
        &[&contested[..], &[cancelled()]].concat(),
        &[("provider_clearing", -2000), ("fees", 2000)],
    );
}
