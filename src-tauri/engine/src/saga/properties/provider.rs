//! The provider as a model: keys for a day, effects for ever.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    /// Done, and the answer is lost.
    Lost,
    /// Lost on the way there.
    NeverArrived,
    /// Still on its way when its caller hangs up: it arrives before whatever is asked next, or minutes later.
    Late,
    Declined,
    /// A 500 that is kept under the key; the work was done.
    Kept500,
}

#[derive(Default)]
pub(super) struct Provider {
    /// By key: what was answered, and when.
    pub(super) answers: HashMap<String, (DateTime<Utc>, Result<Object, Failure>)>,
    pub(super) intents: BTreeMap<String, Intent>,
    pub(super) pages: BTreeMap<String, Checkout>,
    pub(super) refunds: Vec<Refund>,
    pub(super) luck: Vec<Luck>,
    pub(super) on_the_way: Vec<Effect>,
    pub(super) refunds_fail: bool,
}

impl Provider {
    pub(super) fn send(&mut self, effect: &Effect, now: DateTime<Utc>) -> Result<Object, Failure> {
        let lost = Failure::Unknown {
            cause: "no answer".to_owned(),
            status: None,
            stored: false,
            request_id: None,
        };
        self.late_ones_arrive(now);
        let luck = self.luck.pop().unwrap_or(Luck::Good);
        if luck == Luck::Late {
            self.on_the_way.push(effect.clone());
        }
        if [Luck::NeverArrived, Luck::Late].contains(&luck) {
            return Err(lost);
        }
        self.answers
            .retain(|_, (at, _)| now - *at < TimeDelta::hours(24));
        if let Some((_, kept)) = self.answers.get(&effect.idempotency_key) {
            return kept.clone();
        }
        let answer = match (luck, &effect.operation) {
            (Luck::Declined, Operation::CreateIntent { .. }) => Err(Failure::Declined {
                code: "card_declined".to_owned(),
                decline_code: None,
                message: "Your card was declined.".to_owned(),
                intent: None,
                request_id: None,
            }),
            (Luck::Kept500, _) => {
                let _ = self.execute(&effect.operation);
                Err(Failure::Unknown {
                    cause: "500".to_owned(),
                    status: Some(500),
                    stored: true,
                    request_id: None,
                })
            }
            _ => self.execute(&effect.operation),
        };
        self.answers
            .insert(effect.idempotency_key.clone(), (now, answer.clone()));
        match luck {
            Luck::Lost => Err(lost),
            _ => answer,
        }
    }

    pub(super) fn late_ones_arrive(&mut self, now: DateTime<Utc>) {
        for effect in std::mem::take(&mut self.on_the_way) {
            if !self.answers.contains_key(&effect.idempotency_key) {
                let answer = self.execute(&effect.operation);
                self.answers.insert(effect.idempotency_key, (now, answer));
            }
        }
    }

    pub(super) fn pages_run_out(&mut self, now: DateTime<Utc>) {
        for page in self.pages.values_mut() {
            if page.status == CheckoutStatus::Open && page.expires_at <= now.timestamp() {
                page.status = CheckoutStatus::Expired;
            }
        }
    }

    pub(super) fn execute(&mut self, operation: &Operation) -> Result<Object, Failure> {
        let refused = |code: &str| {
            Err(Failure::Refused {
                code: code.to_owned(),
                message: code.to_owned(),
                status: 400,
                intent: None,
                request_id: None,
            })
        };
        match operation {
            Operation::CreateIntent {
                amount_minor,
                metadata,
                ..
            } => {
                assert_eq!(*amount_minor, PRICE);
                let intent = intent(
                    self.intents.len(),
                    IntentStatus::RequiresCapture,
                    metadata.clone(),
                );
                self.intents.insert(intent.id.clone(), intent.clone());
                Ok(Object::Intent(intent))
            }
            Operation::Capture { payment_intent, .. } => {
                let intent = self.intents.get_mut(payment_intent).expect("known");
                if intent.status != IntentStatus::RequiresCapture {
                    return refused("payment_intent_unexpected_state");
                }
                intent.status = IntentStatus::Succeeded;
                intent.amount_received = intent.amount_capturable;
                intent.amount_capturable = 0;
                Ok(Object::Intent(intent.clone()))
            }
            Operation::CancelIntent { payment_intent, .. } => {
                let intent = self.intents.get_mut(payment_intent).expect("known");
                if intent.status == IntentStatus::Succeeded {
                    return refused("payment_intent_unexpected_state");
                }
                intent.status = IntentStatus::Canceled;
                intent.amount_capturable = 0;
                Ok(Object::Intent(intent.clone()))
            }
            Operation::Refund {
                payment_intent,
                amount_minor,
                metadata,
            } => {
                let captured = self.intents[payment_intent].amount_received;
                if self.refunded() + amount_minor > captured {
                    return refused("charge_already_refunded");
                }
                let refund = Refund {
                    id: format!("re_{}", self.refunds.len()),
                    status: match self.refunds_fail {
                        true => RefundStatus::Failed,
                        false => RefundStatus::Succeeded,
                    },
                    amount: *amount_minor,
                    payment_intent: Some(payment_intent.clone()),
                    failure_reason: None,
                    metadata: metadata.clone(),
                };
                self.refunds.push(refund.clone());
                Ok(Object::Refund(refund))
            }
            Operation::CreateCheckout {
                metadata,
                expires_at,
                ..
            } => {
                let page = Checkout {
                    id: format!("cs_{}", self.pages.len()),
                    url: Some("https://pay.example".to_owned()),
                    status: CheckoutStatus::Open,
                    payment_status: PaymentStatus::Unpaid,
                    payment_intent: None,
                    expires_at: *expires_at,
                    metadata: metadata.clone(),
                };
                self.pages.insert(page.id.clone(), page.clone());
                Ok(Object::Checkout(page))
            }
            Operation::ExpireCheckout { session } => {
                let page = self.pages.get_mut(session).expect("known");
                if page.status != CheckoutStatus::Open {
                    return refused("resource_state");
                }
                page.status = CheckoutStatus::Expired;
                Ok(Object::Checkout(page.clone()))
            }
        }
    }

    /// The customer pays on the newest page that is open.
    pub(super) fn pay(&mut self) {
        let n = self.intents.len();
        let open = |p: &&mut Checkout| p.status == CheckoutStatus::Open;
        let Some(page) = self.pages.values_mut().rev().find(open) else {
            return;
        };
        page.status = CheckoutStatus::Complete;
        page.payment_intent = Some(format!("pi_{n}"));
        let intent = intent(n, IntentStatus::RequiresCapture, page.metadata.clone());
        self.intents.insert(intent.id.clone(), intent);
    }

    pub(super) fn captured(&self) -> i64 {
        self.intents.values().map(|i| i.amount_received).sum()
    }

    pub(super) fn held(&self) -> i64 {
        self.intents.values().map(|i| i.amount_capturable).sum()
    }

    pub(super) fn refunded(&self) -> i64 {
        let went = |r: &&Refund| r.status == RefundStatus::Succeeded;
        self.refunds.iter().filter(went).map(|r| r.amount).sum()
    }

    pub(super) fn find(&self, effect: &Effect) -> Found {
        let id = effect.effect_id.to_string();
        let ours = |metadata: &BTreeMap<String, String>| metadata.get("effect_id") == Some(&id);
        let object = match &effect.operation {
            Operation::CreateIntent { .. } => {
                let found = self.intents.values().find(|i| ours(&i.metadata));
                found.cloned().map(Object::Intent)
            }
            Operation::Capture { payment_intent, .. }
            | Operation::CancelIntent { payment_intent, .. } => self
                .intents
                .get(payment_intent)
                .cloned()
                .map(Object::Intent),
            Operation::CreateCheckout { .. } => {
                let found = self.pages.values().find(|p| ours(&p.metadata));
                found.cloned().map(Object::Checkout)
            }
            Operation::ExpireCheckout { session } => {
                self.pages.get(session).cloned().map(Object::Checkout)
            }
            _ => {
                let found = self.refunds.iter().find(|r| ours(&r.metadata));
                found.cloned().map(Object::Refund)
            }
        };
        answers::judge(effect, object)
    }
}

pub(super) fn intent(n: usize, status: IntentStatus, metadata: BTreeMap<String, String>) -> Intent {
    Intent {
        id: format!("pi_{n}"),
        status,
        amount: PRICE,
        amount_capturable: PRICE,
        amount_received: 0,
        currency: "eur".to_owned(),
        latest_charge: None,
        capture_before: None,
        last_payment_error: None,
        metadata,
        cancellation_reason: None,
    }
}
