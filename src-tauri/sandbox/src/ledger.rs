//! What the sandbox's bank knows, for referees: the only book that the desk doesn't keep.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    model::{ChargeState, RefundState, Status},
    world::World,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// In order of creation.
    pub payments: Vec<Payment>,
    pub totals: Totals,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Payment {
    pub payment_intent: String,
    pub checkout_session: Option<String>,
    pub status: String,
    pub currency: String,
    pub amount: i64,
    /// The bank ever agreed to this much.
    pub authorised: i64,
    /// It is keeping this much back from the customer now.
    pub held: i64,
    pub captured: i64,
    /// Refunds that succeeded.
    pub refunded: i64,
    pub refunds_pending: i64,
    pub refunds: usize,
    pub cancelled: bool,
    pub metadata: BTreeMap<String, String>,
    pub refund_metadata: Vec<BTreeMap<String, String>>,
}

/// Over all currencies: meant for runs with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub payments: usize,
    pub authorised: i64,
    pub held: i64,
    pub captured: i64,
    pub refunded: i64,
    pub refunds_pending: i64,
}

impl Ledger {
    pub fn by_metadata<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a Payment> {
        self.payments
            .iter()
            .filter(move |payment| payment.metadata.get(key).is_some_and(|v| v == value))
    }

    pub fn payment(&self, intent: &str) -> Option<&Payment> {
        self.payments
            .iter()
            .find(|payment| payment.payment_intent == intent)
    }

    /// What must hold whatever was asked, in whatever order. The first breach, in words.
    pub fn check(&self) -> Result<(), String> {
        for p in &self.payments {
            let id = &p.payment_intent;
            let breach = [
                (
                    p.captured > p.authorised,
                    "captured more than was authorised",
                ),
                (p.authorised > p.amount, "authorised more than was asked"),
                (
                    p.refunded + p.refunds_pending > p.captured,
                    "refunded more than was captured",
                ),
                (p.held > 0 && p.captured > 0, "holds and has captured"),
                (p.held > 0 && p.cancelled, "holds and is cancelled"),
                (p.cancelled && p.captured > 0, "cancelled and captured"),
                (
                    [
                        p.authorised,
                        p.held,
                        p.captured,
                        p.refunded,
                        p.refunds_pending,
                    ]
                    .iter()
                    .any(|n| *n < 0),
                    "negative",
                ),
            ];
            if let Some((_, what)) = breach.iter().find(|(broken, _)| *broken) {
                return Err(format!("{id}: {what} ({p:?})"));
            }
        }
        Ok(())
    }

    pub(crate) fn of(world: &World) -> Ledger {
        let mut refunds: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for refund in world.refunds.iter() {
            refunds.entry(&refund.intent).or_default().push(refund);
        }
        let mut ledger = Ledger::default();
        for intent in world.intents.iter() {
            let refunds = refunds.remove(intent.id.as_str()).unwrap_or_default();
            let sum = |state| {
                refunds
                    .iter()
                    .filter(|r| r.state == state)
                    .map(|r| r.amount)
                    .sum()
            };
            let payment = Payment {
                payment_intent: intent.id.clone(),
                checkout_session: intent.session.clone(),
                status: intent.status.as_str().to_owned(),
                currency: intent.currency.clone(),
                amount: intent.amount,
                authorised: match &intent.charge {
                    Some(charge) if charge.state != ChargeState::Failed => charge.amount,
                    _ => 0,
                },
                held: intent.capturable(),
                captured: intent.received(),
                refunded: sum(RefundState::Succeeded),
                refunds_pending: sum(RefundState::Pending),
                refunds: refunds.len(),
                cancelled: intent.status == Status::Canceled,
                metadata: intent.metadata.clone(),
                refund_metadata: refunds
                    .iter()
                    .map(|refund| refund.metadata.clone())
                    .collect(),
            };
            ledger.totals.payments += 1;
            ledger.totals.authorised += payment.authorised;
            ledger.totals.held += payment.held;
            ledger.totals.captured += payment.captured;
            ledger.totals.refunded += payment.refunded;
            ledger.totals.refunds_pending += payment.refunds_pending;
            ledger.payments.push(payment);
        }
        ledger
    }
}
