//! How long deliveries are kept, and what of an address is shown to whom.

use bizing_engine::app::deliveries;
use bizing_engine::app::wire::GetDelivery;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::Hooks;
use super::sink::Sink;

const SECRET_URL: &str = "https://hooks.example.com/T00/B00/s3cret?token=s3cret";

async fn forget(worker: &PgPool) -> i32 {
    sqlx::query_scalar("select delivery.forget_deliveries(1000)")
        .fetch_one(worker)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_delivered_long_ago_is_forgotten_and_what_is_owed_or_gave_up_never() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    hooks.append(Uuid::now_v7(), 6).await;
    let superuser = hooks.desk.db.superuser_pool().await;
    // Each as it would stand there two years and a month later; the newest delivered one is younger.
    sqlx::query(
        "with x as (select delivery_id, row_number() over (order by delivery_id) as n from delivery.deliveries where destination_id = $1)
         update delivery.deliveries d
            set state = (array['delivered', 'cancelled', 'gave_up', 'held', 'scheduled', 'delivered'])[x.n],
                finished_at = case when x.n in (1, 2, 3) then now() - interval '760 days' when x.n = 6 then now() - interval '700 days' end,
                created_at = now() - interval '760 days',
                delivery_id = overlay(d.delivery_id::text placing lpad(to_hex(floor(extract(epoch from now() - interval '760 days') * 1000)::bigint / 65536), 8, '0')
                                      from 1 for 8)::uuid
           from x where d.delivery_id = x.delivery_id",
    )
    .bind(made.id)
    .execute(&superuser)
    .await
    .unwrap();
    assert_eq!(forget(&hooks.desk.worker_pool).await, 2);
    assert_eq!(forget(&hooks.desk.worker_pool).await, 0);
    let left: Vec<(String, i64)> = hooks.states(made.id).await;
    let one = |state: &str| (state.to_owned(), 1);
    assert_eq!(
        left,
        ["delivered", "gave_up", "held", "scheduled"].map(one),
        "the younger one and all that somebody may still want"
    );

    // A shorter time is an admin's to decide, with a reason, and counts at once.
    let put = "select api.put_delivery_retention($1, $2, $3)";
    for (version, days, reason, told) in [
        (0, 365, "too short", "reason"),
        (0, 30, "our auditors want less", "days"),
        (7, 365, "our auditors want less", "changed"),
        (0, 365, "our auditors want less", "done"),
    ] {
        let said: String = sqlx::query_scalar(put)
            .bind(version)
            .bind(days)
            .bind(reason)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        assert_eq!(said, told);
    }
    assert_eq!(forget(&hooks.desk.worker_pool).await, 1);
}

#[tokio::test]
async fn a_delivery_whose_tries_are_no_longer_kept_says_since_when_and_no_other_does() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let id = hooks.endpoint(&sink.url(), json!({})).await.id;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 2).await;
    hooks.wait_for_states(id, &[("delivered", 2)]).await;
    worker.close().await;
    let superuser = hooks.desk.db.superuser_pool().await;
    let delivery: Uuid = sqlx::query_scalar(
        "select delivery_id from delivery.deliveries where destination_id = $1 order by 1 limit 1",
    )
    .bind(id)
    .fetch_one(&superuser)
    .await
    .unwrap();
    let forgotten = async || {
        let request = GetDelivery {
            delivery_id: delivery,
        };
        let page = deliveries::get(&hooks.desk.desk(None), request)
            .await
            .unwrap();
        (page.tries.len(), page.tries_forgotten_before)
    };
    sqlx::query("update delivery.deliveries set created_at = now() - interval '100 days' where delivery_id = $1")
        .bind(delivery)
        .execute(&superuser)
        .await
        .unwrap();
    assert_eq!(forgotten().await, (1, None), "its first try is here");
    sqlx::query("update delivery.attempts set started_at = now() - interval '100 days' where delivery_id = $1")
        .bind(delivery)
        .execute(&superuser)
        .await
        .unwrap();
    sqlx::query("select delivery.keep_attempts()")
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
    let (tries, before) = forgotten().await;
    assert_eq!(tries, 0);
    let days = (chrono::Utc::now() - before.unwrap()).num_days();
    assert_eq!(days, 90, "as long as they are kept");
}

#[tokio::test]
async fn a_viewer_sees_where_an_endpoint_is_and_not_the_secret_in_its_address() {
    let hooks = Hooks::new().await;
    let made = hooks.endpoint(SECRET_URL, json!({})).await;
    hooks.change(made.id, "pause").await;
    sqlx::query("insert into delivery.attempts (delivery_id, no, fence, worker_id, url) values ($1, 1, 1, $1, $2)")
        .bind(Uuid::now_v7())
        .bind(SECRET_URL)
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();
    let viewer = hooks.desk.db.pool("viewer").await;
    let staff = hooks.desk.db.pool("staff").await;
    for shown in [
        "select url from read.destinations_v1 where kind = 'webhook'",
        "select url from read.destination_names_v1 where kind = 'webhook'",
        "select url from read.delivery_tries_v1 where url is not null",
        "select after ->> 'url' from read.delivery_changes_v1 where after ? 'url' order by change_id limit 1",
        "select before ->> 'url' from read.delivery_changes_v1 where before ? 'url' order by change_id limit 1",
    ] {
        let seen = async |pool: &PgPool| -> String {
            sqlx::query_scalar(AssertSqlSafe(shown))
                .fetch_one(pool)
                .await
                .unwrap_or_else(|e| panic!("{shown}: {e}"))
        };
        assert_eq!(
            seen(&viewer).await,
            "https://hooks.example.com/…",
            "{shown}"
        );
        assert_eq!(seen(&staff).await, SECRET_URL, "{shown}");
    }
}

#[tokio::test]
async fn a_month_of_tries_goes_without_holding_up_the_record_of_another_and_newer_ones_stay() {
    let hooks = Hooks::new().await;
    let superuser = hooks.desk.db.superuser_pool().await;
    let (old, new) = (Uuid::now_v7(), Uuid::now_v7());
    sqlx::raw_sql(
        "select delivery.make_attempts('2024-01-01'), delivery.make_attempts('2024-02-01')",
    )
    .execute(&superuser)
    .await
    .unwrap();
    let tried = "insert into delivery.attempts (delivery_id, no, fence, worker_id, started_at) values ($1, $2, 1, $1, $3::timestamptz)";
    let record = async |delivery: Uuid, no: i32, at: &str| {
        sqlx::query(tried)
            .bind(delivery)
            .bind(no)
            .bind(at)
            .execute(&superuser)
            .await
            .unwrap();
    };
    record(old, 1, "2024-01-15").await;
    record(old, 2, "2024-02-15").await;
    record(new, 1, "now").await;
    let kept = async || -> (i64, i64) {
        sqlx::query_as("select count(*) filter (where delivery_id = $1), count(*) filter (where delivery_id = $2) from delivery.attempts")
            .bind(old)
            .bind(new)
            .fetch_one(&superuser)
            .await
            .unwrap()
    };
    let keep = async || {
        let began = std::time::Instant::now();
        sqlx::query("select delivery.keep_attempts()")
            .execute(&hooks.desk.worker_pool)
            .await
            .unwrap();
        began.elapsed()
    };

    // Somebody reads, and does not end: the round gives up soon, and nobody else waits for it.
    let mut reader = superuser.begin().await.unwrap();
    sqlx::query("select count(*) from delivery.attempts")
        .execute(&mut *reader)
        .await
        .unwrap();
    let (round, recorded) = tokio::join!(keep(), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let began = std::time::Instant::now();
        record(new, 2, "now").await;
        began.elapsed()
    });
    assert!(round.as_millis() < 2_000, "{round:?}");
    assert!(recorded.as_millis() < 2_000, "{recorded:?}");
    assert_eq!(kept().await, (2, 2), "nothing went");
    reader.rollback().await.unwrap();

    // The next rounds take a month each.
    keep().await;
    assert_eq!(kept().await, (1, 2), "the older month");
    keep().await;
    assert_eq!(kept().await, (0, 2), "all that is newer than 90 days stays");
    keep().await;
    assert_eq!(kept().await, (0, 2));
}
