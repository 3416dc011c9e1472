//! How an endpoint did over time: told from the counts of its hours, whatever else there is.

use bizing_engine::app::endpoints::{self, HISTORY};
use bizing_engine::app::wire::*;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, wait_until};

async fn history(hooks: &Hooks, destination_id: Uuid, span: EndpointSpan) -> EndpointHistory {
    let request = GetEndpointHistory {
        destination_id,
        span,
    };
    endpoints::history(&hooks.desk.desk(None), request)
        .await
        .unwrap()
}

fn counts(history: &EndpointHistory) -> (u32, u32) {
    (history.delivered, history.failed)
}

/// So many deliveries in the hour so long ago, each of which took between 50 and 100 ms.
async fn hour(hooks: &Hooks, id: Uuid, hours_ago: i32, ok: i32, failed: i32) {
    sqlx::query(
        "insert into delivery.stats_hourly (destination_id, hour, ok, failed, took)
         values ($1, date_trunc('hour', now()) - make_interval(hours => $2), $3, $4, array[0, 0, 0, $3 + $4, 0, 0, 0, 0, 0, 0, 0])",
    )
    .bind(id)
    .bind(hours_ago)
    .bind(ok)
    .bind(failed)
    .execute(&hooks.desk.db.superuser_pool().await)
    .await
    .unwrap();
}

#[tokio::test]
async fn what_was_sent_is_in_its_hour_and_its_day_and_what_is_older_only_in_the_longer_spans() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|n, _| Say::Code(if n == 0 { 500 } else { 200 })).await;
    let id = hooks
        .endpoint(&sink.url(), json!({ "schedule_s": [0, 0, 0] }))
        .await
        .id;
    let other = hooks.endpoint(&sink.url(), json!({})).await.id;
    hooks.change(other, "disable").await;
    hour(&hooks, other, 1, 1_000, 1_000).await;
    hour(&hooks, id, 4 * 24, 40, 2).await;
    hour(&hooks, id, 20 * 24, 7, 0).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 3).await;
    wait_until("all are sent and counted", SOON, async || {
        hooks.hurry(id).await;
        counts(&history(&hooks, id, EndpointSpan::Day).await) == (3, 1)
    })
    .await;
    worker.close().await;

    let day = history(&hooks, id, EndpointSpan::Day).await;
    assert_eq!(day.bars.len(), 24);
    assert!(day.p95_ms.is_some());
    let silent = day.bars[0];
    assert_eq!(
        (silent.delivered, silent.failed, silent.p95_ms),
        (0, 0, None)
    );
    assert!(
        day.bars.windows(2).all(|two| two[0].until == two[1].from),
        "one after the other"
    );
    let week = history(&hooks, id, EndpointSpan::Week).await;
    assert_eq!((week.bars.len(), counts(&week)), (7, (43, 3)));
    assert_eq!(week.p50_ms, Some(100));
    let month = history(&hooks, id, EndpointSpan::Month).await;
    assert_eq!((month.bars.len(), counts(&month)), (30, (50, 3)));
}

#[tokio::test]
async fn the_history_reads_a_few_hundred_hours_by_their_key_and_no_delivery() {
    let hooks = Hooks::new().await;
    let mut made = vec![];
    for _ in 0..30 {
        made.push(
            hooks
                .endpoint("https://hooks.example.com/in", json!({}))
                .await
                .id,
        );
    }
    // All that is ever kept: 400 days of 30 endpoints.
    let superuser = hooks.desk.db.superuser_pool().await;
    sqlx::query(
        "insert into delivery.stats_hourly (destination_id, hour, ok)
         select d, date_trunc('hour', now()) - make_interval(hours => n), 100 from unnest($1::uuid[]) d, generate_series(0, 9599) n",
    )
    .bind(&made)
    .execute(&superuser)
    .await
    .unwrap();
    sqlx::query("analyze delivery.stats_hourly")
        .execute(&superuser)
        .await
        .unwrap();
    let explained: Value = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (analyze, buffers, format json) {HISTORY}"
    )))
    .bind(made[7])
    .bind(chrono::Utc::now() - chrono::TimeDelta::days(30))
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    let plan = &explained[0]["Plan"];
    assert!(
        plan.to_string().contains("stats_hourly_pkey"),
        "by its key: {plan}"
    );
    assert_eq!(plan["Actual Rows"].as_f64(), Some(720.0), "{plan}");
    let pages = ["Shared Hit Blocks", "Shared Read Blocks"];
    let pages: f64 = pages.iter().filter_map(|p| plan[p].as_f64()).sum();
    assert!(pages < 200.0, "{pages} pages: {plan}");
}
