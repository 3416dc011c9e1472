//! How long deliveries are kept, and what of an address is shown to whom.

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
