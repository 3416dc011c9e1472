//! One run of one worker, as the executor does it, and what people ask of a saga, as the database applies it.

use super::kept::{Kept, Life};
use super::*;

impl Kept {
    /// One run of one worker, as the executor does it.
    pub(super) fn run(&mut self, mut life: Life) {
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
                        world.sent(id, kept.first_sent_at.unwrap_or(self.now), self.now);
                    }
                    let effect = world
                        .effects
                        .iter()
                        .find(|e| e.effect_id == id)
                        .unwrap()
                        .clone();
                    assert_eq!(
                        effect.direction,
                        world.direction(),
                        "what is taken back is asked for again"
                    );
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

    pub(super) fn wait(&mut self, world: &mut World, pause: TimeDelta, life: &mut Life) {
        world.instance.state = "waiting".to_owned();
        world.instance.wake_at = self.now + pause;
        self.leave(world, life);
    }

    pub(super) fn park(&mut self, world: &mut World, code: &str, life: &mut Life) {
        world.instance.state = "parked".to_owned();
        world.instance.park_code = Some(code.to_owned());
        self.leave(world, life);
    }

    /// `false`: nothing is known yet.
    pub(super) fn hear(
        &self,
        world: &mut World,
        effect: &Effect,
        answer: Result<Object, Failure>,
    ) -> bool {
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

    pub(super) fn look(&self, world: &mut World, look: Look) {
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

    /// Minutes go by, and no request is on its way for that long.
    pub(super) fn later(&mut self, minutes: i64) {
        self.now += TimeDelta::minutes(minutes);
        self.provider.late_ones_arrive(self.now);
        self.provider.pages_run_out(self.now);
    }

    // ---- what people do -----------------------------------------------------------------------------------------------

    /// As `saga.apply` does it: turned back, where the definition lets it.
    pub(super) fn compensate(&mut self) {
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

    pub(super) fn longer(&mut self) {
        if self.instance.finished_at.is_none()
            && let Some(at) = &mut self.instance.hold_expires_at
            && *at > self.now
        {
            *at += TimeDelta::minutes(60);
        }
    }

    pub(super) fn retry(&mut self) {
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

pub(super) fn see(world: &mut World, object: Object) {
    match object {
        Object::Intent(intent) => answers::payment_seen(world, Some(intent), None),
        Object::Checkout(page) => answers::payment_seen(world, None, Some(page)),
        Object::Refund(refund) => answers::refund_seen(world, &refund),
    }
    .unwrap();
}

pub(super) fn not_executed(effect_id: Uuid) -> Resolved {
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
