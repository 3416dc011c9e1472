//! Random bookings, faults, customers, decisions of people, deaths and jumps of time over the real database, with two workers
//! that may die at any moment. After each act nothing is stuck without anybody knowing; at the end money and slots are whole.
//!
//! `SAGA_SECONDS=600 SAGA_SEED=… cargo test saga::random`: a seed gives the same acts, though not the same order among the
//! workers' own steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_engine::app::bookings::cancel;
use bizing_engine::app::bookings::create::create;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::saga::definition::Policy;
use bizing_sandbox::{Fault, Rule};
use sqlx::PgPool;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::chaos::Dice;
use super::crash::process;
use super::hands::{ask, far_slot, policy};
use crate::support::desk::TestDesk;

const ACTS: usize = 25;
const SLOTS: u32 = 6;

fn quick() -> Policy {
    Policy {
        lease: Duration::from_millis(1500),
        call_timeout: Duration::from_millis(500),
        quarantine: Duration::from_secs(2),
        ..crate::support::desk::quick_policy()
    }
}

struct Run {
    t: Arc<TestDesk>,
    owner: PgPool,
    dice: Dice,
    workers: Vec<Runtime>,
    bookings: Vec<Uuid>,
    told: Vec<String>,
}

impl Run {
    async fn new(seed: u64) -> Run {
        let t = Arc::new(TestDesk::with(quick()).await);
        let notify = ["park", "compensate"][seed as usize % 2];
        policy(&t, notify, 1_000_000, 1000, 0).await;
        let mut run = Run {
            owner: t.db.superuser_pool().await,
            t,
            dice: Dice(seed),
            workers: vec![],
            bookings: vec![],
            told: vec![],
        };
        for _ in 0..2 {
            run.hire();
        }
        run
    }

    fn hire(&mut self) {
        let (t, runtime) = (self.t.clone(), process(1));
        runtime.spawn(async move {
            let _worker = t.work_with(CrashPoints::default()).await;
            std::future::pending::<()>().await;
        });
        self.workers.push(runtime);
    }

    /// Its connections break with it, and those of the other one for good measure.
    async fn kill(&mut self) {
        let n = self.dice.below(self.workers.len());
        self.workers.swap_remove(n).shutdown_background();
        self.t.break_connections().await;
        self.hire();
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.below(of.len())]
    }

    async fn act(&mut self) {
        match self.dice.below(20) {
            0..=5 => self.book().await,
            6..=9 => self.fault(),
            10..=11 => self.customer().await,
            12..=15 => self.person().await,
            16 => self.call_off().await,
            17..=18 => {
                self.told.push("a worker dies".to_owned());
                self.kill().await;
            }
            _ => {
                let minutes = self.pick(&[1, 16, 61, 24 * 60 + 10]);
                self.jump(minutes).await;
            }
        }
    }

    async fn book(&mut self) {
        let card = |name: &str| (PaymentMode::CardOnFile, Some(name.to_owned()));
        let (payment_mode, payment_method) = match self.dice.below(9) {
            0 => card("pm_card_chargeDeclined"),
            1 => card("pm_card_refundFail"),
            2 => card("pm_card_pendingRefund"),
            3 => card("pm_card_threeDSecure2Required"),
            4 => (PaymentMode::Venue, None),
            5 | 6 => (PaymentMode::Link, None),
            _ => card("pm_card_visa"),
        };
        let email = self.pick(&["ines@example.com", "ines@example.com", "bounce@example.com"]);
        let request = CreateBooking {
            customer: ForCustomer::New {
                name: "Inês Carvalho".to_owned(),
                email: Some(email.to_owned()),
                phone: None,
            },
            payment_mode,
            payment_method,
            ..far_slot(self.dice.below(SLOTS as usize) as u32)
        };
        let told = format!("{payment_mode:?} {:?} {email}", request.payment_method);
        // Somebody else may have the slot.
        match create(&self.t.desk(None), request).await {
            Ok(booked) => {
                self.told
                    .push(format!("{} books {told}", booked.booking_id));
                self.bookings.push(booked.booking_id);
            }
            Err(error) => assert!(
                matches!(error.code, Code::SlotTaken),
                "{error:?}: {}",
                self.story()
            ),
        }
    }

    fn fault(&mut self) {
        let operation = self.pick(&[
            "create_intent",
            "create_checkout",
            "capture",
            "refund",
            "cancel_intent",
            "expire_checkout",
        ]);
        let fault = self.pick(&[
            Fault::LostAfterEffect,
            Fault::LostBefore,
            Fault::Stored500 { effect: true },
            Fault::Stored500 { effect: false },
            Fault::Late { ms: 900 },
            Fault::TooManyRequests { retry_after_s: 0 },
            Fault::Unauthorized,
        ]);
        self.told.push(format!("{operation} meets {fault:?}"));
        self.t.sandbox.faults().add(Rule::nth(operation, 1, fault));
    }

    /// Somebody pays, or is declined, on one of the pages that were ever sent out.
    async fn customer(&mut self) {
        let pages: Vec<String> = sqlx::query_scalar("select data->>'pay_url' from core.events e join core.event_types t using (type_no) where t.name = 'PaymentRequested' and data->>'pay_url' is not null order by position")
            .fetch_all(&self.owner)
            .await
            .unwrap();
        if pages.is_empty() {
            return;
        }
        let page = pages[self.dice.below(pages.len())].clone();
        let what = self.pick(&["pay", "pay", "decline"]);
        self.told.push(format!("{what} on {page}"));
        // A page that is closed answers so.
        let _ = reqwest::Client::new()
            .post(page)
            .form(&[("action", what)])
            .send()
            .await;
    }

    /// Looks at what an action would do, and presses whatever the plan says: what is refused must stay refused.
    async fn person(&mut self) {
        let all: Vec<Uuid> =
            sqlx::query_scalar("select saga_id from saga.instance order by saga_id")
                .fetch_all(&self.owner)
                .await
                .unwrap();
        if all.is_empty() {
            return;
        }
        let saga = all[self.dice.below(all.len())];
        let action = self.pick(&[
            "retry",
            "compensate",
            "cancel",
            "pause",
            "resume",
            "skip",
            "extend_hold",
            "reopen",
            "resolve_step",
        ]);
        self.decide(saga, action).await;
    }

    /// `true`: it was done.
    async fn decide(&mut self, saga: Uuid, action: &str) -> bool {
        let desk = self.t.desk(None);
        let params = SagaParams {
            minutes: (action == "extend_hold").then_some(5),
            outcome: (action == "resolve_step").then(|| "not_done".to_owned()),
            evidence: (action == "resolve_step").then(|| "asked at the provider's desk".to_owned()),
            ..SagaParams::default()
        };
        let looked = PreviewSaga {
            saga_id: saga,
            action: action.to_owned(),
            params: params.clone(),
        };
        let Ok(plan) = sagas::preview(&desk, looked).await else {
            return false;
        };
        // What is said not to have happened, while it may have, is not a decision that a referee can judge.
        if action == "resolve_step" && plan.refused.is_none() {
            return false;
        }
        let form = CommandSaga {
            params,
            ..ask(saga, action, &plan)
        };
        let done = sagas::command(&desk, form).await;
        self.told.push(format!(
            "{action} of {saga}: {}",
            match &done {
                Ok(_) => "done".to_owned(),
                Err(error) => error.message.clone(),
            }
        ));
        assert!(
            plan.refused.is_none() || done.is_err(),
            "a refused plan was carried out: {}",
            self.story()
        );
        done.is_ok()
    }

    async fn call_off(&mut self) {
        if self.bookings.is_empty() {
            return;
        }
        let id = self.bookings[self.dice.below(self.bookings.len())];
        let request = CancelBooking {
            command_id: Uuid::now_v7(),
            booking_id: id,
            reason: "The customer called it off.".to_owned(),
            expected_version: self.t.events(id).await.len() as i64,
        };
        let done = cancel::cancel(&self.t.desk(None), request).await.is_ok();
        self.told.push(format!("{id} is called off: {done}"));
    }

    /// All clocks go forward: a computer that was shut, a night, a day.
    async fn jump(&mut self, minutes: u32) {
        self.told.push(format!("{minutes} minutes go by"));
        self.t.sandbox.advance_clock(minutes * 60);
        for moved in [
            "update saga.effect set first_sent_at = first_sent_at - make_interval(mins => $1), last_sent_at = last_sent_at - make_interval(mins => $1) where resolved_at is null",
            "update saga.instance set wake_at = wake_at - make_interval(mins => $1), lease_expires_at = lease_expires_at - make_interval(mins => $1),
                    hold_expires_at = hold_expires_at - make_interval(mins => $1), auth_expires_at = auth_expires_at - make_interval(mins => $1) where finished_at is null",
            "update booking.inventory_claim set expires_at = expires_at - make_interval(mins => $1) where released_at is null and expires_at is not null",
            "update delivery.deliveries set next_at = next_at - make_interval(mins => $1), lease_expires_at = lease_expires_at - make_interval(mins => $1) where state in ('scheduled', 'sending')",
            "update saga.provider_gate set open_until = open_until - make_interval(mins => $1)",
        ] {
            sqlx::query(moved)
                .bind(minutes as i32)
                .execute(&self.owner)
                .await
                .unwrap();
        }
    }

    // ---- what must hold ---------------------------------------------------------------------------------------------------

    /// At any moment.
    async fn check(&self) {
        for (what, sql) in [
            (
                "two live claims on one slot",
                "select count(*) from booking.inventory_claim a join booking.inventory_claim b on a.resource_id = b.resource_id and a.unit = b.unit and a.claim_id < b.claim_id and a.during && b.during where a.released_at is null and b.released_at is null",
            ),
            (
                "parked, and no case is open",
                "select count(*) from saga.instance i where state = 'parked' and not exists (select from saga.attention a where a.saga_id = i.saga_id and a.kind = 'parked' and a.closed_at is null)",
            ),
            (
                "a try under an old fence",
                "select count(*) from saga.attempt a join saga.attempt b using (saga_id) where a.no > b.no and a.fence < b.fence",
            ),
            (
                "a person's change without a command",
                "select count(*) from saga.attempt a where a.kind in ('operator', 'skip') and not exists (select from saga.command c where c.saga_id = a.saga_id and c.status = 'applied' and c.command_id = (a.output->>'command_id')::uuid)",
            ),
            (
                "an effect of which a saga that is over knows nothing",
                "select count(*) from saga.effect e join saga.instance i using (saga_id) where i.finished_at is not null and e.resolved_at is null",
            ),
            (
                "waits for nothing that will ever come",
                "select count(*) from saga.instance where finished_at is null and state <> 'parked' and paused_at is null and lease_owner is null and wake_at > now() + interval '25 hours'",
            ),
        ] {
            let wrong: i64 = sqlx::query_scalar(sql)
                .fetch_one(&self.owner)
                .await
                .unwrap();
            assert_eq!(wrong, 0, "{what}: {}", self.story());
        }
        let ledger = self.t.sandbox.ledger();
        ledger.check().expect("the sandbox's own arithmetic");
        for id in &self.bookings {
            let id = id.to_string();
            let taken = ledger
                .by_metadata("booking_id", &id)
                .filter(|p| p.captured > 0);
            assert!(
                taken.count() <= 1,
                "{id} was captured twice: {}",
                self.story()
            );
        }
    }

    /// The weather clears and people decide what waits for them, until everything is over.
    async fn settle(&mut self) {
        self.t.sandbox.faults().clear();
        let began = Instant::now();
        let mut asked = BTreeSet::new();
        for round in 0.. {
            let open: Vec<(Uuid, String, bool, String, Option<String>)> = sqlx::query_as("select saga_id, state, paused_at is not null, definition, park_code from saga.instance where finished_at is null")
                .fetch_all(&self.owner)
                .await
                .unwrap();
            if open.is_empty() {
                return;
            }
            if began.elapsed() > Duration::from_secs(60) {
                let rows: Vec<String> = sqlx::query_scalar("select row_to_json(i)::text from saga.instance i where finished_at is null union all select row_to_json(a)::text from saga.attempt a join saga.instance i using (saga_id) where i.finished_at is null")
                    .fetch_all(&self.owner)
                    .await
                    .unwrap();
                panic!("not over: {rows:#?}: {}", self.story());
            }
            for (saga, state, paused, _, code) in open {
                if paused {
                    self.decide(saga, "resume").await;
                } else if state == "parked" {
                    // The first time once more, then undone; a refund that fails again goes back by hand.
                    let again = asked.insert(saga) && code.as_deref() != Some("reopened");
                    let refund = code.is_some_and(|code| code.starts_with("refund_"));
                    if again && self.decide(saga, "retry").await {
                        continue;
                    }
                    if refund {
                        self.went_back_by_hand(saga).await;
                    } else if !self.decide(saga, "compensate").await
                        && !self.decide(saga, "skip").await
                    {
                        self.decide(saga, "retry").await;
                    }
                }
            }
            if round % 8 == 7 {
                // Customers do not come, refunds do.
                self.jump(6 * 60).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// A refund that failed for good: the money goes back another way, and that is said with evidence.
    async fn went_back_by_hand(&mut self, saga: Uuid) {
        let desk = self.t.desk(None);
        let params = SagaParams {
            outcome: Some("done".to_owned()),
            ..SagaParams::default()
        };
        let looked = PreviewSaga {
            saga_id: saga,
            action: "resolve_step".to_owned(),
            params: params.clone(),
        };
        let plan = sagas::preview(&desk, looked).await.unwrap();
        let form = CommandSaga {
            params: SagaParams {
                evidence: Some("paid out in cash".to_owned()),
                ..params
            },
            ..ask(saga, "resolve_step", &plan)
        };
        let done = sagas::command(&desk, form).await;
        self.told.push(format!(
            "{saga} went back by hand: {:?}",
            done.map_err(|e| e.message)
        ));
    }

    /// At the end, of each booking: provider, events and inventory tell one story.
    async fn whole(&self) {
        let ledger = self.t.sandbox.ledger();
        for id in &self.bookings {
            let (captured, refunded, by_hand, confirmed, cancelled): (i64, i64, i64, bool, bool) = sqlx::query_as(
                "with e as (select t.name, e.data from core.streams s join core.events e using (stream_no) join core.event_types t using (type_no) where s.stream_id = 'booking-' || $1)
                 select coalesce(sum((data#>>'{amount_received,amount_minor}')::bigint) filter (where name = 'PaymentReceived'), 0)::bigint,
                        (coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'PaymentRefunded'), 0)
                          - coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'RefundReturned'), 0))::bigint,
                        coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'PaymentRefunded' and data->>'provider_refund' = 'paid out in cash'), 0)::bigint,
                        bool_or(name = 'BookingConfirmed') is true, bool_or(name in ('BookingCancelled', 'BookingExpired')) is true from e",
            )
            .bind(id)
            .fetch_one(&self.owner)
            .await
            .unwrap();
            let key = id.to_string();
            let ours: Vec<_> = ledger.by_metadata("booking_id", &key).collect();
            let sum =
                |of: fn(&bizing_sandbox::Payment) -> i64| ours.iter().map(|p| of(p)).sum::<i64>();
            let story = || format!("{id}: {:?} {}", ours, self.story());
            assert_eq!(captured, sum(|p| p.captured), "what was taken: {}", story());
            assert_eq!(
                refunded - by_hand,
                sum(|p| p.refunded),
                "what went back: {}",
                story()
            );
            assert_eq!(sum(|p| p.held), 0, "still authorised: {}", story());
            assert!(
                refunded <= captured,
                "more went back than was taken: {}",
                story()
            );
            let claims = self.t.live_claims(*id).await;
            assert_eq!(
                claims > 0,
                confirmed && !cancelled,
                "the slot: {claims}: {}",
                story()
            );
            if !confirmed {
                assert_eq!(captured, refunded, "taken for nothing: {}", story());
            }
        }
    }

    fn story(&self) -> String {
        format!("{:#?}", self.told)
    }
}

async fn once(seed: u64) {
    let mut run = Run::new(seed).await;
    for _ in 0..ACTS {
        run.act().await;
        run.check().await;
        let pause = run.dice.below(120) as u64;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    run.settle().await;
    run.check().await;
    run.whole().await;
    for worker in run.workers.drain(..) {
        worker.shutdown_background();
    }
    run.t.break_connections().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_people_customers_providers_and_clocks_do_money_and_slots_come_out_whole() {
    let number = |name: &str| std::env::var(name).ok().and_then(|t| t.parse::<u64>().ok());
    let lasting = Duration::from_secs(number("SAGA_SECONDS").unwrap_or(8));
    let mut seed = number("SAGA_SEED").unwrap_or_else(|| Uuid::now_v7().as_u128() as u64);
    let began = Instant::now();
    let mut runs = 0;
    while runs == 0 || began.elapsed() < lasting {
        println!("SAGA_SEED={seed}");
        once(seed).await;
        runs += 1;
        seed = seed.wrapping_add(1);
    }
    println!("{runs} runs of {ACTS} acts");
}
