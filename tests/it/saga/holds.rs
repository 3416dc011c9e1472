//! A hold that a person makes longer, or has again once it is over: it is an event, it is had by the rule of every hold, and who
//! comes too late is told so.

use std::time::Duration;

use bizing_engine::app::bookings::create;
use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::saga::definition::Policy;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::hands::*;
use super::headless::run;
use super::referee;
use crate::support::desk::{TestDesk, TestWorker, booking, quick_policy, slot};
use crate::support::wait_until;

fn an_hour() -> SagaParams {
    SagaParams {
        minutes: Some(60),
        ..SagaParams::default()
    }
}

/// Ten minutes to pay: less than a person gives.
async fn desk_of_short_holds() -> TestDesk {
    TestDesk::with(Policy {
        hold_with_link: Duration::from_secs(600),
        ..quick_policy()
    })
    .await
}

fn by_link(n: u32) -> CreateBooking {
    CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(n))
    }
}

/// A booking that waits for the customer to pay, with nobody at it.
async fn waiting(t: &TestDesk, worker: &TestWorker, n: u32) -> Made {
    let desk = t.desk(Some(worker.worker.clone()));
    let booking = t.book(&desk, by_link(n)).await.booking_id;
    let saga = saga_of(t, booking).await;
    wait_until("it waits for the customer", Duration::from_secs(20), || async {
        let row: (String, bool, String) = sqlx::query_as("select state, lease_owner is null, coalesce(step, '') from saga.instance where saga_id = $1")
            .bind(saga)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
        row == ("waiting".to_owned(), true, "payment".to_owned())
    })
    .await;
    Made { saga, booking }
}

async fn planned(desk: &Desk, saga: Uuid) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: "extend_hold".to_owned(),
        params: an_hour(),
    };
    sagas::preview(desk, request).await.unwrap()
}

fn wanted(saga: Uuid, plan: &SagaPlan) -> CommandSaga {
    CommandSaga {
        params: an_hour(),
        ..ask(saga, "extend_hold", plan)
    }
}

/// The hold ended a while ago, and nobody was there to take it back.
async fn ran_out(owner: &PgPool, it: &Made) {
    sqlx::query("update saga.instance set hold_expires_at = now() - interval '20 minutes' where saga_id = $1")
        .bind(it.saga)
        .execute(owner)
        .await
        .unwrap();
    sqlx::query("update booking.inventory_claim set expires_at = now() - interval '20 minutes' where booking_id = $1 and released_at is null")
        .bind(it.booking)
        .execute(owner)
        .await
        .unwrap();
}

/// Until when the database holds each of a booking's places now.
async fn held_until(owner: &PgPool, booking: Uuid) -> Vec<DateTime<Utc>> {
    sqlx::query_scalar("select expires_at from booking.inventory_claim where booking_id = $1 and released_at is null and expires_at > now()")
        .bind(booking)
        .fetch_all(owner)
        .await
        .unwrap()
}

async fn told(t: &TestDesk, booking: Uuid) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    sqlx::query_as("select (data->>'expires_at')::timestamptz, (data->>'before')::timestamptz from api.read_stream($1, 0) where name = 'HoldExtended' order by version")
        .bind(format!("booking-{booking}"))
        .fetch_all(&t.worker_pool)
        .await
        .unwrap()
}

async fn version(owner: &PgPool, saga: Uuid) -> i32 {
    sqlx::query_scalar("select version from saga.instance where saga_id = $1")
        .bind(saga)
        .fetch_one(owner)
        .await
        .unwrap()
}

/// What the audit says of every refused wish for a hold.
async fn refusals(owner: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select refusal from saga.command where action = 'extend_hold' and status = 'refused' order by requested_at")
        .fetch_all(owner)
        .await
        .unwrap()
}

/// `(what it would do, the booking that is named)`
fn lines(plan: &SagaPlan) -> Vec<(&str, Option<&str>)> {
    let all = plan.operations.iter();
    all.map(|op| (op.op.as_str(), op.object.as_deref()))
        .collect()
}

#[tokio::test]
async fn a_longer_hold_is_an_event_and_the_database_wants_it() {
    let t = desk_of_short_holds().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = waiting(&t, &worker, 0).await;
    worker.close().await;
    let plan = planned(&desk, it.saga).await;
    assert_eq!(
        (plan.refused.clone(), lines(&plan)),
        (None, vec![("extend", None)])
    );
    let (at, since) = times(&plan);
    assert_eq!((at - since).num_minutes(), 60, "from when it would end");
    sagas::command(&desk, wanted(it.saga, &plan)).await.unwrap();
    assert_eq!(told(&t, it.booking).await, [(at, since)]);
    assert_eq!(held_until(&owner, it.booking).await, [at, at]);

    // The act alone, without the event, is refused as a whole.
    let plan = planned(&desk, it.saga).await;
    let alone = sqlx::query("select api.command_saga($1, $2, 'extend_hold', $3, null, '{\"minutes\": 30}', 'called, needs more time', '{}')")
        .bind(Uuid::now_v7())
        .bind(it.saga)
        .bind(plan.version)
        .execute(&t.people)
        .await;
    assert!(alone.is_err(), "no hold without its event");
    assert_eq!(
        version(&owner, it.saga).await,
        plan.version,
        "nothing half-written"
    );

    // A week in all, and said before it is pressed.
    sqlx::query(
        "update saga.instance set created_at = now() - interval '8 days' where saga_id = $1",
    )
    .bind(it.saga)
    .execute(&owner)
    .await
    .unwrap();
    let plan = planned(&desk, it.saga).await;
    assert_eq!(
        (plan.code.as_deref(), lines(&plan)),
        (Some("hold_most"), vec![])
    );
}

fn times(plan: &SagaPlan) -> (DateTime<Utc>, DateTime<Utc>) {
    let op = &plan.operations[0];
    (op.at.as_ref().unwrap().utc, op.since.as_ref().unwrap().utc)
}

#[tokio::test]
async fn a_hold_that_is_over_is_had_again_while_the_slot_is_free_and_the_customer_pays() {
    let t = desk_of_short_holds().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = desk_of(&t, "staff").await;
    let it = waiting(&t, &worker, 0).await;
    let page = pay_page(&t, it.booking).await;
    // Paused, so that nobody takes it back; and meanwhile another booking had one of its two places, and let it go.
    command_when_free(&desk_of(&t, "manager").await, it.saga, "pause").await;
    ran_out(&owner, &it).await;
    sqlx::query("update booking.inventory_claim set released_at = now(), release_reason = 'expired' where claim_id = (select claim_id from booking.inventory_claim where booking_id = $1 limit 1)")
        .bind(it.booking)
        .execute(&owner)
        .await
        .unwrap();

    let plan = planned(&desk, it.saga).await;
    assert_eq!(
        (plan.refused.clone(), lines(&plan)),
        (None, vec![("hold_again", None)])
    );
    let (_, since) = times(&plan);
    let before = Utc::now();
    assert!(since < before, "free since then");
    sagas::command(&desk, wanted(it.saga, &plan)).await.unwrap();
    let held = held_until(&owner, it.booking).await;
    assert_eq!(held.len(), 2, "both places");
    assert_eq!(t.live_claims(it.booking).await, 2, "and each once");
    let from_now = held[0] - before;
    assert!(
        (TimeDelta::minutes(60)..TimeDelta::minutes(61)).contains(&from_now),
        "counted from now: {from_now}"
    );
    let told = told(&t, it.booking).await;
    assert_eq!(
        told.iter().map(|(until, _)| *until).collect::<Vec<_>>(),
        [held[0]]
    );

    // Nobody else can have it.
    let refused = create::create(&t.desk(None), booking(&slot(0)))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::SlotTaken);
    command_when_free(&desk_of(&t, "manager").await, it.saga, "resume").await;
    press(&page, "pay").await;
    t.wait_for_saga(it.booking, "completed").await;
    referee::check(&t, it.booking).await;
    worker.close().await;
}

#[tokio::test]
async fn a_slot_that_somebody_has_is_not_held_again_and_the_booking_is_named() {
    let t = desk_of_short_holds().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = waiting(&t, &worker, 0).await;
    worker.close().await;
    ran_out(&owner, &it).await;
    let free = planned(&desk, it.saga).await;
    assert_eq!(free.refused, None);
    let other = t.book(&desk, booking(&slot(0))).await;

    let plan = planned(&desk, it.saga).await;
    assert_eq!(
        (plan.code.as_deref(), lines(&plan)),
        (
            Some("slot_taken"),
            vec![("slot_taken", Some(other.reference.as_str()))]
        )
    );
    // Who looked before is refused all the same, and nothing of it is done.
    let refused = sagas::command(&desk, wanted(it.saga, &free))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Refused);
    assert!(
        refused.message.contains("another booking has the slot"),
        "{refused:?}"
    );
    assert_eq!(refusals(&owner).await, ["slot_taken"]);
    assert_eq!(t.live_claims(it.booking).await, 0);
    assert_eq!(told(&t, it.booking).await, []);
    // Without a window, too.
    let (_, said) = run(
        &t,
        "staff",
        &["extend-hold", &it.saga.to_string(), "--minutes", "60"],
    )
    .await;
    assert!(
        said.contains(&format!("{} has the slot", other.reference)),
        "{said}"
    );
}

#[tokio::test]
async fn what_would_have_begun_already_is_not_held_again() {
    let t = desk_of_short_holds().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let it = waiting(&t, &worker, 0).await;
    worker.close().await;
    ran_out(&owner, &it).await;
    let facts: serde_json::Value = sqlx::query_scalar("select saga.facts($1)")
        .bind(it.saga)
        .fetch_one(&owner)
        .await
        .unwrap();
    let begun = |minutes: i64| {
        let mut facts = facts.clone();
        facts["starts"] = serde_json::json!(Utc::now() + TimeDelta::minutes(minutes));
        let owner = owner.clone();
        async move {
            sqlx::query_scalar::<_, Option<String>>(
                "select saga.plan_hold($1, '{\"minutes\": 60}')->>'refused'",
            )
            .bind(facts)
            .fetch_one(&owner)
            .await
            .unwrap()
        }
    };
    assert_eq!(begun(-1).await.as_deref(), Some("begun"));
    assert_eq!(begun(1).await, None);
}

/// Two want one slot at once: the database decides, and who loses has nothing half.
#[tokio::test]
async fn of_two_who_want_it_at_once_one_has_it_and_the_other_is_refused() {
    let t = desk_of_short_holds().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = waiting(&t, &worker, 0).await;
    worker.close().await;
    ran_out(&owner, &it).await;
    let plan = planned(&desk, it.saga).await;
    // Another takes one of the two places, and has not committed when the hold is asked for.
    let mut rival = owner.begin().await.unwrap();
    let resource: Uuid = sqlx::query_scalar(
        "select resource_id from booking.inventory_claim where booking_id = $1 order by resource_id desc limit 1",
    )
    .bind(it.booking)
    .fetch_one(&mut *rival)
    .await
    .unwrap();
    let theirs: Vec<Uuid> = sqlx::query_scalar(
        "select by_booking from api.hold_inventory($1, 'BK-R1VA01', now() + interval '1 hour', array[gen_random_uuid()], array[$2::uuid], array[1::smallint],
                                        (select array_agg(during) from booking.inventory_claim where booking_id = $3 and resource_id = $2))",
    )
    .bind(Uuid::now_v7())
    .bind(resource)
    .bind(it.booking)
    .fetch_all(&mut *rival)
    .await
    .unwrap();
    assert!(theirs.is_empty(), "it has it");
    let late = tokio::spawn({
        let (desk, request) = (desk.clone(), wanted(it.saga, &plan));
        async move { sagas::command(&desk, request).await }
    });
    wait_until("the other waits for the rival", Duration::from_secs(10), || async {
        sqlx::query_scalar::<_, bool>("select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())")
            .fetch_one(&owner)
            .await
            .unwrap()
    })
    .await;
    rival.commit().await.unwrap();
    let refused = late.await.unwrap().unwrap_err();
    assert!(
        refused.message.contains("another booking has the slot"),
        "{refused:?}"
    );
    assert_eq!(refusals(&owner).await, ["slot_taken"]);
    assert_eq!(version(&owner, it.saga).await, plan.version);
    assert!(
        held_until(&owner, it.booking).await.is_empty(),
        "not one of the two places"
    );
    assert_eq!(told(&t, it.booking).await, []);

    // Two who look after the same booking: the second is told who was faster.
    sqlx::query("update booking.inventory_claim set released_at = now(), release_reason = 'test' where booking_id <> $1")
        .bind(it.booking)
        .execute(&owner)
        .await
        .unwrap();
    let plan = planned(&desk, it.saga).await;
    assert_eq!(plan.refused, None);
    let both = futures_util::future::join_all(
        [(); 2].map(|()| sagas::command(&desk, wanted(it.saga, &plan))),
    )
    .await;
    let codes: Vec<Option<Code>> = both
        .iter()
        .map(|a| a.as_ref().err().map(|e| e.code))
        .collect();
    assert!(
        codes.contains(&None) && codes.contains(&Some(Code::Conflict)),
        "{codes:?}"
    );
    assert_eq!(t.live_claims(it.booking).await, 2);
}
