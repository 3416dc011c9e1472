//! One of everything, small and fixed.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::super::*;
use crate::domain::slot::LocalTime;

pub fn now() -> DateTime<Utc> {
    "2026-11-24T10:00:00Z".parse().unwrap()
}

pub fn money(minor: i64, currency: &str) -> Money {
    Money::new(minor, currency.parse().unwrap())
}

pub fn eur(minor: i64) -> Money {
    money(minor, "EUR")
}

const fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + n)
}

pub fn booking(payment_mode: PaymentMode) -> BookingCreated {
    let start_utc = now() + TimeDelta::days(2);
    BookingCreated {
        booking_id: BookingId(id(1)),
        reference: Reference::from_bits(123_456),
        customer_id: CustomerId(id(2)),
        service_id: ServiceId(id(3)),
        service_version: 4,
        service_name: "Deep tissue 60".to_owned(),
        source: Source::Staff,
        start: LocalTime {
            wall: "2026-11-26T10:00".to_owned(),
            tzid: "Europe/Lisbon".to_owned(),
            offset_s: 0,
            tzdb: "2026a".to_owned(),
        },
        start_utc,
        end_utc: start_utc + TimeDelta::minutes(60),
        duration_min: 60,
        buffer_before_min: 0,
        buffer_after_min: 15,
        resources: vec![BookedResource {
            resource_id: ResourceId(id(5)),
            unit: 1,
            role: "staff".to_owned(),
            name: "Ana Beltrão".to_owned(),
        }],
        price: eur(8000),
        payment_mode,
        payment_method: (payment_mode == PaymentMode::CardOnFile)
            .then(|| "pm_card_visa".to_owned()),
    }
}

pub fn claim(n: u128) -> Claim {
    Claim {
        claim_id: ClaimId(id(10 + n)),
        resource_id: ResourceId(id(5)),
        unit: 1,
        blocked_from: now() + TimeDelta::days(2),
        blocked_until: now() + TimeDelta::days(2) + TimeDelta::minutes(75),
    }
}

pub fn payment_request(mode: PaymentMode, session: Option<&str>) -> PaymentRequested {
    PaymentRequested {
        payment_id: PaymentId(id(20)),
        amount: eur(8000),
        mode,
        payment_intent: session.is_none().then(|| "pi_1".to_owned()),
        checkout_session: session.map(str::to_owned),
        pay_url: session.map(|s| format!("https://pay.example/{s}")),
        link_expires_at: session.map(|_| now() + TimeDelta::hours(23)),
        idempotency_key: "bz1:k3j9x2aa:saga:payment:F:0".to_owned(),
    }
}

pub fn payment_ref() -> PaymentRef {
    PaymentRef {
        payment_id: PaymentId(id(20)),
        payment_intent: Some("pi_1".to_owned()),
    }
}

pub fn authorisation(minor: i64) -> PaymentAuthorized {
    PaymentAuthorized {
        payment_id: PaymentId(id(20)),
        payment_intent: "pi_1".to_owned(),
        amount_capturable: eur(minor),
        capture_before: Some(now() + TimeDelta::days(7)),
    }
}

pub fn decline() -> PaymentFailed {
    PaymentFailed {
        payment_id: PaymentId(id(20)),
        payment_intent: Some("pi_1".to_owned()),
        code: "card_declined".to_owned(),
        decline_code: Some("insufficient_funds".to_owned()),
        message: "Your card has insufficient funds.".to_owned(),
    }
}

pub fn receipt(minor: i64) -> PaymentReceived {
    PaymentReceived {
        payment_id: PaymentId(id(20)),
        payment_intent: "pi_1".to_owned(),
        amount_received: eur(minor),
        charge_id: Some("ch_1".to_owned()),
    }
}

pub fn voided() -> PaymentVoided {
    PaymentVoided {
        payment_id: PaymentId(id(20)),
        payment_intent: Some("pi_1".to_owned()),
        reason: "abandoned".to_owned(),
    }
}

pub fn refund_request(n: u128, minor: i64) -> RefundRequested {
    RefundRequested {
        refund_id: RefundId(id(30 + n)),
        payment_id: PaymentId(id(20)),
        amount: eur(minor),
        reason: "asked".to_owned(),
    }
}

pub fn refunded(n: u128, minor: i64) -> PaymentRefunded {
    PaymentRefunded {
        refund_id: RefundId(id(30 + n)),
        payment_id: PaymentId(id(20)),
        provider_refund: format!("re_{n}"),
        amount: eur(minor),
    }
}

pub fn refund_failure(n: u128) -> RefundFailed {
    RefundFailed {
        refund_id: RefundId(id(30 + n)),
        payment_id: PaymentId(id(20)),
        amount: eur(3000),
        reason: "expired_or_canceled_card".to_owned(),
    }
}

pub fn returned(n: u128, minor: i64) -> RefundReturned {
    RefundReturned {
        refund_id: RefundId(id(30 + n)),
        payment_id: PaymentId(id(20)),
        provider_refund: format!("re_{n}"),
        amount: eur(minor),
        reason: "expired_or_canceled_card".to_owned(),
    }
}

pub fn remainder(minor: i64, before: i64) -> RemainderKept {
    RemainderKept {
        payment_id: PaymentId(id(20)),
        amount: eur(minor),
        before: eur(before),
        decided_by: "ana".to_owned(),
        approved_by: Some("bea".to_owned()),
        reason: "one of the two visits took place".to_owned(),
    }
}

pub fn keep(minor: i64) -> Command {
    let kept = remainder(minor, 0);
    Command::KeepRemainder {
        payment_id: kept.payment_id,
        amount: kept.amount,
        decided_by: kept.decided_by,
        approved_by: kept.approved_by,
        reason: kept.reason,
    }
}

pub fn fee(minor: i64) -> ProviderFeeCharged {
    ProviderFeeCharged {
        payment_id: PaymentId(id(20)),
        payment_intent: "pi_1".to_owned(),
        fee: eur(minor),
        balance_transaction: "txn_1".to_owned(),
    }
}

pub fn disputed() -> PaymentDisputed {
    PaymentDisputed {
        dispute_id: "dp_1".to_owned(),
        payment_id: PaymentId(id(20)),
        charge_id: Some("ch_1".to_owned()),
        amount: eur(8000),
        reason: "product_not_received".to_owned(),
        evidence_due: Some(now()),
        inquiry: false,
    }
}

pub fn dispute_funds(minor: i64, fee: i64) -> DisputeFunds {
    DisputeFunds {
        dispute_id: "dp_1".to_owned(),
        payment_id: PaymentId(id(20)),
        amount: eur(minor),
        fee: eur(fee),
    }
}

pub fn dispute_closed(outcome: DisputeOutcome) -> DisputeClosed {
    DisputeClosed {
        dispute_id: "dp_1".to_owned(),
        payment_id: PaymentId(id(20)),
        outcome,
    }
}

pub fn notification() -> NotificationSent {
    NotificationSent {
        delivery_id: DeliveryId(id(40)),
        template: "booking_confirmed".to_owned(),
        channel: "email".to_owned(),
        provider_message_id: "<1@halcyon.example>".to_owned(),
        attempt: 1,
    }
}

pub fn notification_failure() -> NotificationFailed {
    NotificationFailed {
        delivery_id: DeliveryId(id(40)),
        template: "booking_confirmed".to_owned(),
        channel: "email".to_owned(),
        attempt: 8,
        error: "550 no such mailbox".to_owned(),
    }
}

pub fn cancel(reason_code: CancelReason) -> Command {
    Command::Cancel {
        by: Party::Staff,
        reason_code,
        reason: Some("The customer asked on the phone".to_owned()),
        refund_minor: None,
    }
}

pub fn released() -> InventoryReleased {
    InventoryReleased {
        claims: vec![ClaimId(id(11))],
        reason: "compensated".to_owned(),
    }
}

pub fn every_command() -> Vec<Command> {
    vec![
        Command::Create(Box::new(booking(PaymentMode::Link))),
        Command::Hold {
            claims: vec![claim(1)],
            expires_at: Some(now() + TimeDelta::minutes(15)),
        },
        Command::ExtendHold {
            expires_at: now() + TimeDelta::minutes(30),
        },
        Command::CorrectPaymentMethod {
            payment_method: "pm_2".to_owned(),
        },
        Command::RequestPayment(Box::new(payment_request(PaymentMode::CardOnFile, None))),
        Command::RequireAction(payment_ref()),
        Command::Authorise(authorisation(8000)),
        Command::Decline(decline()),
        Command::ReceivePayment(receipt(8000)),
        Command::VoidPayment(voided()),
        Command::ExpireLink(payment_ref()),
        Command::RequestRefund(refund_request(1, 8000)),
        Command::RecordRefund(refunded(1, 8000)),
        Command::FailRefund(refund_failure(1)),
        Command::ReturnRefund(returned(1, 8000)),
        keep(3000),
        Command::Confirm,
        Command::RecordNotification(notification()),
        Command::FailNotification(notification_failure()),
        cancel(CancelReason::Asked),
        Command::Release {
            reason: "compensated".to_owned(),
        },
        Command::RecordNoShow,
        Command::WithdrawNoShow,
    ]
}

pub fn every_event() -> Vec<Event> {
    vec![
        Event::BookingCreated(booking(PaymentMode::CardOnFile)),
        Event::InventoryHeld(InventoryHeld {
            claims: vec![claim(1)],
            expires_at: Some(now() + TimeDelta::minutes(15)),
        }),
        Event::HoldExtended(HoldExtended {
            expires_at: now() + TimeDelta::minutes(30),
            before: now() + TimeDelta::minutes(15),
        }),
        Event::PaymentMethodCorrected(PaymentMethodCorrected {
            payment_method: "pm_2".to_owned(),
            before: Some("pm_1".to_owned()),
        }),
        Event::PaymentRequested(payment_request(PaymentMode::Link, Some("cs_1"))),
        Event::PaymentActionRequired(payment_ref()),
        Event::PaymentAuthorized(authorisation(8000)),
        Event::PaymentFailed(decline()),
        Event::PaymentReceived(receipt(8000)),
        Event::PaymentVoided(voided()),
        Event::PaymentLinkExpired(PaymentRef {
            payment_intent: None,
            ..payment_ref()
        }),
        Event::ProviderFeeCharged(fee(145)),
        Event::RefundRequested(refund_request(1, 8000)),
        Event::PaymentRefunded(refunded(1, 8000)),
        Event::RefundFailed(refund_failure(1)),
        Event::RefundReturned(returned(1, 8000)),
        Event::RemainderKept(remainder(3000, 0)),
        Event::PaymentDisputed(disputed()),
        Event::DisputeFundsWithdrawn(dispute_funds(8000, 2000)),
        Event::DisputeFundsReinstated(dispute_funds(8000, 2000)),
        Event::DisputeClosed(dispute_closed(DisputeOutcome::Won)),
        Event::BookingConfirmed(BookingConfirmed {
            confirmed_at: now(),
            sequence: 0,
        }),
        Event::NotificationSent(notification()),
        Event::NotificationFailed(notification_failure()),
        Event::CalendarSynced(CalendarSynced {
            provider: "google".to_owned(),
            operation: "update".to_owned(),
            external_id: "evt_1".to_owned(),
            sequence: 1,
        }),
        Event::BookingCancelled(BookingCancelled {
            cancelled_by: Party::Customer,
            reason_code: CancelReason::NotTold,
            reason: None,
            refund_due: Some(eur(8000)),
            sequence: 1,
            notice_min: Some(2_880),
            was_confirmed: Some(true),
        }),
        Event::BookingExpired(BookingExpired { expired_at: now() }),
        Event::NoShowRecorded(NoShowRecorded { recorded_at: now() }),
        Event::NoShowWithdrawn(NoShowWithdrawn {
            withdrawn_at: now(),
        }),
        Event::InventoryReleased(released()),
        Event::InventoryHoldExpired(InventoryReleased {
            reason: "expired".to_owned(),
            ..released()
        }),
        Event::CustomerRegistered(CustomerRegistered {
            customer_id: CustomerId(id(2)),
            personal: Sealed {
                cipher: "xchacha20poly1305".to_owned(),
                nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned(),
                text: "c2VhbGVk".to_owned(),
            },
        }),
        Event::CustomerErased(CustomerErased {
            customer_id: CustomerId(id(2)),
            reason: "Asked for it in writing on 3 March.".to_owned(),
        }),
    ]
}
