//! What a database keeps of one saga, and commits.

use super::provider::{Provider, intent};
use super::*;

pub(super) struct Kept {
    pub(super) definition: &'static Definition,
    pub(super) instance: Instance,
    pub(super) booking: Booking,
    pub(super) effects: Vec<Effect>,
    pub(super) message: Option<&'static str>,
    pub(super) claimed: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) provider: Provider,
    pub(super) policy: Policy,
}

/// Where a worker dies: at the n-th place of a run at which a process can.
pub(super) struct Life(pub(super) usize);

impl Life {
    pub(super) fn goes_on(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

impl Kept {
    pub(super) fn new(definition: &'static Definition) -> Kept {
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

    pub(super) fn world(&self) -> World {
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
    pub(super) fn commit(&mut self, world: &mut World) -> bool {
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

    pub(super) fn leave(&mut self, world: &mut World, life: &mut Life) {
        if life.goes_on() && !self.commit(world) {
            // As the executor does: loaded anew, and taken back.
            let mut world = self.world();
            world.undo("hold_expired", "system", None);
            self.commit(&mut world);
        }
    }
}
