//! Whatever people, providers and the clock do, and wherever a worker dies: money and slots come out whole. The plan and
//! the answers are the real ones; database, provider and executor are models small enough to be tried ten thousand times.

use std::collections::{BTreeMap, HashMap};

use bizing_stripe::{
    Checkout, CheckoutStatus, Failure, Intent, IntentStatus, Object, Operation, PaymentStatus,
    Refund, RefundStatus,
};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::answers::{self, Found};
use super::definition::{BOOKING, BOOKING_FREE, CANCELLATION, Definition, Policy, Step};
use super::executor::name_effect;
use super::gate::Gate;
use super::instance::{Direction, Effect, Instance, Outcome, idempotency_key};
use super::plan::{self, Look, Next};
use super::world::{Claims, Facts, Message, Resolved, World};
use crate::domain::booking::tests::samples;
use crate::domain::booking::{Booking, Status, replay};
use crate::domain::event::{BookingConfirmed, Event, PaymentMode};
use crate::domain::ids::EffectId;

const PRICE: i64 = 8_000;
const FEE: i64 = 2_000;

// ---- the provider: keys for a day, effects for ever -------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Good,
    /// Done, and the answer is lost.
    Lost,
    /// Lost on the way there.
    NeverArrived,
    Declined,
    /// A 500 that is kept under the key; the work was done.
    Kept500,
}

#[derive(Default)]
struct Provider {
    /// By key: what was answered, and when.
    answers: HashMap<String, (DateTime<Utc>, Result<Object, Failure>)>,
    intents: BTreeMap<String, Intent>,
    pages: BTreeMap<String, Checkout>,
    refunds: Vec<Refund>,
    luck: Vec<Luck>,
    refunds_fail: bool,
}

impl Provider {
    fn send(&mut self, effect: &Effect, now: DateTime<Utc>) -> Result<Object, Failure> {
        let lost = Failure::Unknown {
            cause: "no answer".to_owned(),
            status: None,
            stored: false,
            request_id: None,
        };
        let luck = self.luck.pop().unwrap_or(Luck::Good);
        if luck == Luck::NeverArrived {
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

    fn execute(&mut self, operation: &Operation) -> Result<Object, Failure> {
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
    fn pay(&mut self) {
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

    fn captured(&self) -> i64 {
        self.intents.values().map(|i| i.amount_received).sum()
    }

    fn held(&self) -> i64 {
        self.intents.values().map(|i| i.amount_capturable).sum()
    }

    fn refunded(&self) -> i64 {
        let went = |r: &&Refund| r.status == RefundStatus::Succeeded;
        self.refunds.iter().filter(went).map(|r| r.amount).sum()
    }

    fn find(&self, effect: &Effect) -> Found {
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

fn intent(n: usize, status: IntentStatus, metadata: BTreeMap<String, String>) -> Intent {
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

// ---- what a database keeps --------------------------------------------------------------------------------------------

struct Kept {
    definition: &'static Definition,
    instance: Instance,
    booking: Booking,
    effects: Vec<Effect>,
    message: Option<&'static str>,
    claimed: bool,
    now: DateTime<Utc>,
    provider: Provider,
    policy: Policy,
}

/// Where a worker dies: at the n-th place of a run at which a process can.
struct Life(usize);

impl Life {
    fn goes_on(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

impl Kept {
    fn new(definition: &'static Definition) -> Kept {
        let saga = Uuid::from_u128(1);
        let mode = match definition.name {
            "booking_free" => PaymentMode::Venue,
            _ => PaymentMode::CardOnFile,
        };
        let created = samples::booking(mode);
        let now = samples::now();
        let mut events = vec![
            Event::BookingCreated(created.clone()),
            Event::InventoryHeld(crate::domain::event::InventoryHeld {
                claims: vec![samples::claim(1)],
                expires_at: Some(now + TimeDelta::minutes(15)),
            }),
        ];
        let mut provider = Provider::default();
        let gives_up = *definition == CANCELLATION;
        if gives_up {
            let paid = samples::receipt(PRICE);
            let intent = Intent {
                id: paid.payment_intent.clone(),
                amount_capturable: 0,
                amount_received: PRICE,
                ..intent(0, IntentStatus::Succeeded, BTreeMap::new())
            };
            provider.intents.insert(intent.id.clone(), intent);
            events.push(Event::PaymentReceived(paid));
            events.push(Event::BookingConfirmed(BookingConfirmed {
                confirmed_at: now,
                sequence: 0,
            }));
        }
        Kept {
            definition,
            instance: Instance {
                saga_id: saga,
                definition: definition.name.to_owned(),
                def_version: definition.version,
                state: "running".to_owned(),
                direction: "F".to_owned(),
                cursor: i16::from(!gives_up),
                pivot_passed_at: None,
                version: 0,
                fence: 1,
                wake_at: now,
                attempt: 0,
                await_key: None,
                hold_expires_at: (!gives_up).then(|| now + TimeDelta::minutes(15)),
                auth_expires_at: None,
                cancel_requested_at: None,
                cancel_requested_by: None,
                park_reason: None,
                park_code: None,
                take_overs: 0,
                currency: Some("EUR".to_owned()),
                error_class: None,
                error_message: None,
                outcome: None,
                booking_id: created.booking_id.0,
                context: serde_json::json!({ "terms": { "fee_minor": FEE, "refund_minor": PRICE - FEE } }),
                correlation_id: saga,
                started_by: "ana".to_owned(),
                finished_at: None,
            },
            booking: replay(&events),
            effects: vec![],
            message: None,
            claimed: true,
            now,
            provider,
            policy: Policy::default(),
        }
    }

    fn world(&self) -> World {
        let told = self.message.map(|state| Message {
            state: state.to_owned(),
            problem: None,
            result: None,
        });
        let facts = Facts {
            instance: self.instance.clone(),
            definition: self.definition,
            booking: self.booking.clone(),
            version: 1,
            effects: self.effects.clone(),
            message: told
                .filter(|_| self.definition.at(self.instance.cursor) == Some(Step::Notify)),
            guards: None,
            rules: None,
            gate: Gate::Open,
            now: self.now,
        };
        World::new(facts, "test", true)
    }

    /// `false`: the hold is over.
    fn commit(&mut self, world: &mut World) -> bool {
        match world.draft.claims {
            Some(Claims::Pin) => {
                let over = self
                    .instance
                    .hold_expires_at
                    .is_some_and(|at| at <= self.now);
                if over || !self.claimed {
                    return false;
                }
                world.instance.hold_expires_at = None;
            }
            Some(Claims::Release(_)) => self.claimed = false,
            None => {}
        }
        for event in &world.draft.events {
            if ["BookingConfirmed", "BookingCancelled"].contains(&event.name()) {
                let owes = match event.name() {
                    "BookingConfirmed" => "booking_confirmed",
                    _ => "booking_cancelled",
                };
                if owes == self.definition.message {
                    self.message = Some("scheduled");
                }
            }
        }
        if ["completed", "compensated", "resolved"].contains(&world.instance.state.as_str()) {
            world.instance.finished_at = Some(self.now);
        }
        world.instance.version += 1;
        self.instance = world.instance.clone();
        self.booking = world.booking.clone();
        self.effects = world.effects.clone();
        world.committed(1);
        true
    }

    fn leave(&mut self, world: &mut World, life: &mut Life) {
        if life.goes_on() && !self.commit(world) {
            // As the executor does: loaded anew, and taken back.
            let mut world = self.world();
            world.undo("hold_expired", "system", None);
            self.commit(&mut world);
        }
    }

    /// One run of one worker, as the executor does it.
    fn run(&mut self, mut life: Life) {
        if self.instance.finished_at.is_some() || self.instance.state == "parked" {
            return;
        }
        let mut world = self.world();
        for _ in 0..60 {
            match plan::next(&world, &self.policy) {
                Next::Local {
                    result,
                    commands,
                    claims,
                    cursor,
                } => {
                    if world.absorb(commands).is_err() {
                        return self.park(&mut world, "rule", &mut life);
                    }
                    let (step, way, now) = (world.step().unwrap(), world.direction(), world.now());
                    world.attempt(step, way, now, result);
                    world.draft.claims = claims.or(world.draft.claims);
                    world.move_to(cursor);
                }
                Next::Intend {
                    mut operation,
                    generation,
                    commands,
                    claims,
                } => {
                    if world.absorb(commands).is_err() {
                        return self.park(&mut world, "rule", &mut life);
                    }
                    world.draft.claims = claims.or(world.draft.claims);
                    let id = Uuid::now_v7();
                    name_effect(&mut operation, EffectId(id), "prop");
                    let (step, way) = (world.step().unwrap(), world.direction());
                    world.intend(Effect {
                        effect_id: id,
                        step,
                        direction: way,
                        generation,
                        request: operation.encode(),
                        operation,
                        idempotency_key: idempotency_key(
                            "test",
                            self.instance.saga_id,
                            step,
                            way,
                            generation,
                        ),
                        first_sent_at: Some(self.now),
                        last_sent_at: Some(self.now),
                        outcome: Outcome::Intended,
                        stored_error: false,
                        provider_object: None,
                        evidence: None,
                    });
                }
                Next::Call(id) => {
                    if !life.goes_on() {
                        return;
                    }
                    if world.draft.touched && !self.commit(&mut world) {
                        let mut world = self.world();
                        world.undo("hold_expired", "system", None);
                        self.commit(&mut world);
                        return;
                    }
                    if !life.goes_on() {
                        return;
                    }
                    if let Some(kept) = self.effects.iter_mut().find(|e| e.effect_id == id) {
                        kept.last_sent_at = Some(self.now);
                    }
                    let effect = world
                        .effects
                        .iter()
                        .find(|e| e.effect_id == id)
                        .unwrap()
                        .clone();
                    let answer = self.provider.send(&effect, self.now);
                    if !life.goes_on() {
                        return;
                    }
                    if !self.hear(&mut world, &effect, answer) {
                        return self.wait(&mut world, TimeDelta::seconds(2), &mut life);
                    }
                }
                Next::Look(look) => {
                    if !life.goes_on() {
                        return;
                    }
                    self.look(&mut world, look);
                }
                Next::NotExecuted(effect) => world.resolve(not_executed(effect)),
                Next::Wait(wait) => {
                    let pause = wait.until - self.now;
                    world.instance.await_key = wait.key;
                    return self.wait(&mut world, pause, &mut life);
                }
                Next::Undo { code, by, text } => world.undo(code, &by, text),
                Next::Park { code, .. } => return self.park(&mut world, code, &mut life),
                Next::Finish { state, outcome } => {
                    world.instance.state = state.to_owned();
                    world.instance.outcome = Some(outcome.to_owned());
                    if state == "completed" && world.step().is_some() {
                        world.move_to(world.definition.end());
                    }
                    return self.leave(&mut world, &mut life);
                }
            }
        }
        panic!(
            "the plan does not settle: {:?} {:?}",
            self.instance, self.effects
        );
    }

    fn wait(&mut self, world: &mut World, pause: TimeDelta, life: &mut Life) {
        world.instance.state = "waiting".to_owned();
        world.instance.wake_at = self.now + pause;
        self.leave(world, life);
    }

    fn park(&mut self, world: &mut World, code: &str, life: &mut Life) {
        world.instance.state = "parked".to_owned();
        world.instance.park_code = Some(code.to_owned());
        self.leave(world, life);
    }

    /// `false`: nothing is known yet.
    fn hear(&self, world: &mut World, effect: &Effect, answer: Result<Object, Failure>) -> bool {
        match answer {
            Ok(object) => answers::confirmed(world, effect, &object, "response", None).is_ok(),
            Err(failure @ Failure::Declined { .. }) => {
                answers::rejected(world, effect, &failure).is_ok()
            }
            Err(failure @ Failure::Refused { .. }) => {
                match self.provider.find(effect) {
                    Found::Happened(object) => {
                        answers::confirmed(world, effect, &object, "lookup", None).unwrap();
                    }
                    Found::Overtaken(object) => {
                        answers::rejected(world, effect, &failure).unwrap();
                        see(world, object);
                    }
                    _ => {
                        world.instance.attempt += 1;
                        answers::rejected(world, effect, &failure).unwrap();
                    }
                }
                true
            }
            Err(Failure::Unknown { stored, .. }) => {
                world.resolve(Resolved {
                    outcome: Outcome::Unknown,
                    stored_error: stored,
                    ..not_executed(effect.effect_id)
                });
                stored
            }
            Err(_) => false,
        }
    }

    fn look(&self, world: &mut World, look: Look) {
        match look {
            Look::Payment => {
                let page = world.booking.payment.checkout_session.clone();
                let page = page.and_then(|id| self.provider.pages.get(&id).cloned());
                let intent = page
                    .as_ref()
                    .and_then(|p| p.payment_intent.clone())
                    .or_else(|| world.booking.payment.intent.clone());
                let intent = intent.and_then(|id| self.provider.intents.get(&id).cloned());
                answers::payment_seen(world, intent, page).unwrap();
            }
            Look::Refund => {
                world.seen.refund = true;
                if let Some(refund) = self.provider.refunds.last() {
                    answers::refund_seen(world, refund).unwrap();
                }
            }
            Look::Effect(id) => {
                let effect = world
                    .effects
                    .iter()
                    .find(|e| e.effect_id == id)
                    .unwrap()
                    .clone();
                match self.provider.find(&effect) {
                    Found::Happened(object) => {
                        answers::confirmed(world, &effect, &object, "lookup", None).unwrap();
                    }
                    Found::Overtaken(object) => {
                        world.resolve(Resolved {
                            outcome: Outcome::Rejected,
                            ..not_executed(id)
                        });
                        see(world, object);
                    }
                    _ => world.seen.absent.push(id),
                }
            }
        }
    }

    // ---- what people do -----------------------------------------------------------------------------------------------

    /// As `saga.apply` does it: turned back, where the definition lets it.
    fn compensate(&mut self) {
        let i = &mut self.instance;
        let only = self.definition.forward_only_from;
        if i.finished_at.is_some()
            || i.direction == "C"
            || only.is_some_and(|from| i.cursor >= from)
        {
            return;
        }
        i.direction = "C".to_owned();
        i.state = "compensating".to_owned();
        i.park_code = None;
        i.attempt = 0;
        i.context["hands_on"] = true.into();
        i.context["undo"] = serde_json::json!({ "code": "asked", "by": "ana", "text": null });
    }

    fn retry(&mut self) {
        let step = self.definition.at(self.instance.cursor);
        let way = match self.instance.forward() {
            true => Direction::Forward,
            false => Direction::Undo,
        };
        let i = &mut self.instance;
        if i.state != "parked" {
            return;
        }
        if step == Some(Step::Notify) && self.message == Some("gave_up") {
            self.message = Some("scheduled");
        }
        let newest = self
            .effects
            .iter()
            .filter(|e| Some(e.step) == step && e.direction == way)
            .map(|e| e.generation)
            .max();
        i.state = match way {
            Direction::Forward => "running".to_owned(),
            Direction::Undo => "compensating".to_owned(),
        };
        i.park_code = None;
        i.attempt = 0;
        i.context["hands_on"] = true.into();
        i.context["again"] = newest.map_or(-1, i64::from).into();
    }
}

fn see(world: &mut World, object: Object) {
    match object {
        Object::Intent(intent) => answers::payment_seen(world, Some(intent), None),
        Object::Checkout(page) => answers::payment_seen(world, None, Some(page)),
        Object::Refund(refund) => answers::refund_seen(world, &refund),
    }
    .unwrap();
}

fn not_executed(effect_id: Uuid) -> Resolved {
    Resolved {
        effect_id,
        outcome: Outcome::NotExecuted,
        via: "lookup",
        provider_object: None,
        provider_status: None,
        request_id: None,
        stored_error: false,
    }
}

// ---- what may happen --------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Act {
    /// A worker runs it, and dies at the n-th place.
    Run(usize),
    /// Minutes go by.
    Later(i64),
    Luck(Luck),
    Message(&'static str),
    /// The customer, on an open page.
    Pays,
    AskToStop,
    Compensate,
    Retry,
    RefundsFail(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let luck = prop_oneof![
        Just(Luck::Lost),
        Just(Luck::NeverArrived),
        Just(Luck::Declined),
        Just(Luck::Kept500),
    ];
    let act = prop_oneof![
        6 => (1usize..14).prop_map(Act::Run),
        // Seconds, a hold's length, a key's life.
        2 => prop_oneof![0i64..2, 10i64..20, 1380i64..3000].prop_map(Act::Later),
        3 => luck.prop_map(Act::Luck),
        2 => prop_oneof![Just("delivered"), Just("gave_up"), Just("unclear")].prop_map(Act::Message),
        2 => Just(Act::Pays),
        1 => Just(Act::AskToStop),
        1 => Just(Act::Compensate),
        1 => Just(Act::Retry),
        1 => any::<bool>().prop_map(Act::RefundsFail),
    ];
    prop::collection::vec(act, 0..40)
}

fn check(k: &Kept) {
    let (taken, back, held) = (
        k.provider.captured(),
        k.provider.refunded(),
        k.provider.held(),
    );
    let captures = k
        .provider
        .intents
        .values()
        .filter(|i| i.amount_received > 0);
    assert!(captures.count() <= 1, "captured twice");
    assert!(back <= taken, "more went back than was taken");
    let payment = &k.booking.payment;
    let story = || format!("{:?}\n{:?}\n{payment:?}", k.instance, k.effects);
    assert!(
        payment.captured_minor <= taken && payment.refunded_minor <= back,
        "the ledger says more than is true: {}",
        story()
    );
    let price = if *k.definition == BOOKING_FREE {
        0
    } else {
        PRICE
    };
    match (k.definition.name, k.instance.state.as_str()) {
        ("cancellation", "completed") => {
            assert_eq!(
                (back, payment.refunded_minor, k.claimed),
                (PRICE - FEE, PRICE - FEE, false),
                "{}",
                story()
            );
            assert_eq!(k.booking.status, Status::Cancelled);
        }
        ("cancellation", "compensated") => {
            assert_eq!(
                (back, k.claimed, k.booking.status),
                (0, true, Status::Confirmed),
                "{}",
                story()
            );
        }
        (_, "completed") => {
            assert_eq!(
                (taken, back, held, k.claimed),
                (price, 0, 0, true),
                "{}",
                story()
            );
            assert_eq!(k.booking.status, Status::Confirmed);
        }
        (_, "compensated") => {
            assert_eq!((taken, held, k.claimed), (back, 0, false), "{}", story());
        }
        _ => {}
    }
}

proptest! {
    // PROPTEST_CASES=200000 for a long look.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn money_and_slots_come_out_whole_whatever_happens(which in 0usize..3, acts in acts()) {
        let mut k = Kept::new([&BOOKING, &BOOKING_FREE, &CANCELLATION][which]);
        for act in acts {
            match act {
                Act::Run(dies) => k.run(Life(dies)),
                Act::Later(minutes) => k.now += TimeDelta::minutes(minutes),
                Act::Luck(luck) => k.provider.luck.push(luck),
                Act::Message(state) => {
                    if k.message == Some("scheduled") {
                        k.message = Some(state);
                    }
                }
                Act::Pays => k.provider.pay(),
                Act::AskToStop => {
                    let waits = k.definition.at(k.instance.cursor) == Some(Step::Notify);
                    if k.definition.name != "cancellation" && !waits && k.booking.payment.captured_minor == 0 {
                        k.instance.cancel_requested_by = Some("ana".to_owned());
                    }
                }
                Act::Compensate => k.compensate(),
                Act::Retry => k.retry(),
                Act::RefundsFail(fail) => k.provider.refunds_fail = fail,
            }
            check(&k);
        }
        // The weather clears: it ends by itself, or a person is asked, and once they decide it ends.
        k.provider.luck.clear();
        k.provider.refunds_fail = false;
        for round in 0..40 {
            k.run(Life(usize::MAX));
            check(&k);
            if k.instance.finished_at.is_some() {
                break;
            }
            if k.message == Some("scheduled") {
                k.message = Some("delivered");
            }
            if k.instance.state == "parked" {
                if round % 2 == 0 { k.retry() } else { k.compensate() }
            }
            k.now += TimeDelta::minutes(11);
        }
        prop_assert!(k.instance.finished_at.is_some(), "it never ends: {:?} {:?}", k.instance, k.effects);
    }
}
