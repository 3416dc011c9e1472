//! The claim and the record stay on their indexes, whatever the statistics say. Two natural forms of them did not.

use bizing_engine::delivery::webhook::{CLAIM, Connections, FINISH};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::sink::Sink;
use super::{Hooks, SOON, wait_until};

/// A hanging endpoint with half of the rows due, another with half of them over, and healthy ones with a few.
async fn fill(hooks: &Hooks, rows: i64) -> Vec<Uuid> {
    let sink = Sink::start().await;
    let mut made = vec![];
    for _ in 0..12 {
        made.push(
            hooks
                .endpoint(&sink.url(), json!({ "max_in_flight": 64 }))
                .await
                .id,
        );
    }
    hooks.append(Uuid::now_v7(), 100).await;
    let superuser = hooks.desk.db.superuser_pool().await;
    // The statistics are those of a table that is nearly empty, and nobody makes new ones.
    for statement in [
        "delete from delivery.deliveries",
        "alter table delivery.deliveries set (autovacuum_enabled = false)",
        "analyze delivery.deliveries",
        "analyze core.events",
    ] {
        sqlx::query(statement).execute(&superuser).await.unwrap();
    }
    for (endpoint, state, n) in [
        (made[0], "scheduled", rows / 2),
        (made[1], "delivered", rows / 2),
    ] {
        sqlx::query(
            "insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, state, finished_at, give_up_at, next_at)
             select $1, 'CalendarSynced', gen_random_uuid(), 1 + n % 100, 'booking-' || gen_random_uuid(), gen_random_uuid(), $2,
                    case when $2 = 'delivered' then now() end, 'infinity', now() - make_interval(secs => n % 1000)
               from generate_series(1, $3) n",
        )
        .bind(endpoint)
        .bind(state)
        .bind(n)
        .execute(&superuser)
        .await
        .unwrap();
    }
    for endpoint in &made[2..] {
        sqlx::query(
            "insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, give_up_at)
             select $1, 'CalendarSynced', gen_random_uuid(), 1 + n % 100, 'booking-x', gen_random_uuid(), 'infinity' from generate_series(1, 1000) n",
        )
        .bind(endpoint)
        .execute(&superuser)
        .await
        .unwrap();
    }
    made
}

/// Relations that are read from end to end, by a node of the plan or one below it.
fn walked(node: &Value, found: &mut Vec<String>) {
    if node["Node Type"] == "Seq Scan" {
        found.push(
            node["Relation Name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        walked(below, found);
    }
}

fn check(what: &str, explained: &Value, rows: i64, most_buffers: f64) {
    let plan = &explained[0]["Plan"];
    let mut found = vec![];
    walked(plan, &mut found);
    assert!(
        found.is_empty(),
        "{what} reads {found:?} from end to end: {plan:#}"
    );
    let buffers =
        plan["Shared Hit Blocks"].as_f64().unwrap() + plan["Shared Read Blocks"].as_f64().unwrap();
    let each = buffers / rows as f64;
    println!(
        "{what}: {rows} rows, {each:.1} buffers each, {} ms",
        explained[0]["Execution Time"]
    );
    assert!(each < most_buffers, "{what}: {each:.1} buffers a row");
}

/// A claim for all of them, and how it went about it. `after`: from where on each is gone through.
async fn claim(pool: &PgPool, endpoints: &[Uuid], worker: Uuid, after: Vec<Option<Mark>>) -> Value {
    let n = endpoints.len();
    let (at, id): (Vec<_>, Vec<_>) = after.into_iter().map(Option::unzip).unzip();
    sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (analyze, buffers, format json) {CLAIM}"
    )))
    .bind(2_048_i32)
    .bind(endpoints)
    .bind(vec![0_i32; n])
    .bind(vec![i32::MAX; n])
    .bind(worker)
    .bind(1_i32)
    .bind(90.0_f64)
    .bind(vec![128_i32; n])
    .bind(Vec::<Uuid>::new())
    .bind(at)
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// A place in what is due to an endpoint.
type Mark = (DateTime<Utc>, Uuid);

/// What a claim gave out: delivery, fence, try.
type Leased = (Uuid, i64, i32);

type Scalar<'q, T> = sqlx::query::QueryScalar<'q, sqlx::Postgres, T, sqlx::postgres::PgArguments>;

/// As delivered, by this worker.
fn record<'q, T>(
    query: Scalar<'q, T>,
    leased: &[Leased],
    worker: Uuid,
    endpoint: Uuid,
) -> Scalar<'q, T> {
    let n = leased.len();
    let nothing = || vec![None::<f32>; n];
    query
        .bind(leased.iter().map(|l| l.0).collect::<Vec<_>>())
        .bind(leased.iter().map(|l| l.1).collect::<Vec<_>>())
        .bind(leased.iter().map(|l| l.2).collect::<Vec<_>>())
        .bind(vec![1_i32; n])
        .bind(vec![0.0_f64; n])
        .bind(vec!["accepted"; n])
        .bind(vec![None::<&str>; n])
        .bind(vec![None::<&str>; n])
        .bind(vec!["https://x.example/"; n])
        .bind(vec![200_i32; n])
        .bind(nothing())
        .bind(nothing())
        .bind(nothing())
        .bind(nothing())
        .bind(nothing())
        .bind(vec![1.0_f32; n])
        .bind(vec![None::<&str>; n])
        .bind(vec!["[]"; n])
        .bind(vec![None::<&str>; n])
        .bind(vec![None::<&[u8]>; n])
        .bind(vec![false; n])
        .bind(vec![chrono::Utc::now(); n])
        .bind(vec!["auto"; n])
        .bind(worker)
        .bind(vec![endpoint])
        .bind(vec![1_i32])
        .bind(vec![0_i32])
        .bind(vec![0_i32; 11])
        .bind(vec![None::<&str>; n])
        .bind(vec!["event"; n])
}

/// A server that goes down may forget a claim, and give out its fence a second time.
#[tokio::test]
async fn a_try_of_a_forgotten_lease_does_not_record_over_anothers_with_the_same_fence() {
    let hooks = Hooks::new().await;
    let made = fill(&hooks, 10).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let leased: Vec<Leased> = sqlx::query_as(
        "insert into delivery.leases (delivery_id, destination_id, fence, owner, expires_at)
         select delivery_id, destination_id, fence + 1, $1, now() + interval '1 minute' from delivery.deliveries where state = 'scheduled' limit 1
         returning delivery_id, fence, 1",
    )
    .bind(second)
    .fetch_all(&hooks.desk.worker_pool)
    .await
    .unwrap();
    let pool = Connections::to(&hooks.desk.worker_pool.connect_options()).records;
    let by = async |worker| -> Vec<Uuid> {
        record(sqlx::query_scalar(FINISH), &leased, worker, made[0])
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    assert_eq!(by(first).await, Vec::<Uuid>::new(), "it is not its own");
    assert_eq!(by(second).await, [leased[0].0]);
    let tries: Vec<Uuid> = sqlx::query_scalar(
        "select worker_id from delivery.attempts where delivery_id = $1 order by started_at",
    )
    .bind(leased[0].0)
    .fetch_all(&hooks.desk.worker_pool)
    .await
    .unwrap();
    assert_eq!(tries, [first, second], "both were sent, and both are told");
}

/// Rows that were found by this index and not taken.
fn passed_over(node: &Value, index: &str) -> f64 {
    let here = match node["Index Name"] == index {
        true => {
            let removed = node["Rows Removed by Filter"].as_f64().unwrap_or(0.0);
            removed * node["Actual Loops"].as_f64().unwrap()
        }
        false => 0.0,
    };
    let below = node["Plans"].as_array().into_iter().flatten();
    here + below.map(|n| passed_over(n, index)).sum::<f64>()
}

#[tokio::test]
async fn a_claim_that_begins_where_the_last_one_ended_passes_nothing_that_is_under_way() {
    let hooks = Hooks::new().await;
    let made = fill(&hooks, 10_000).await;
    let pool = Connections::to(&hooks.desk.worker_pool.connect_options()).records;
    let worker = Uuid::now_v7();
    let leased = async || -> i64 {
        sqlx::query_scalar("select count(*) from delivery.leases")
            .fetch_one(&hooks.desk.worker_pool)
            .await
            .unwrap()
    };
    let over = |explained: Value| passed_over(&explained[0]["Plan"], "deliveries_due");
    let beginning = || vec![None; made.len()];

    assert_eq!(over(claim(&pool, &made, worker, beginning()).await), 0.0);
    let first = leased().await;
    let over_again = over(claim(&pool, &made, worker, beginning()).await);
    assert!(
        over_again > first as f64 * 0.9,
        "{over_again} of {first} that are under way"
    );
    let ends: Vec<(Uuid, DateTime<Utc>, Uuid)> = sqlx::query_as(
        "select distinct on (d.destination_id) d.destination_id, d.next_at, d.delivery_id
           from delivery.leases join delivery.deliveries d using (delivery_id) order by 1, 2 desc, 3 desc",
    )
    .fetch_all(&hooks.desk.worker_pool)
    .await
    .unwrap();
    let end = |id: &Uuid| ends.iter().find(|e| e.0 == *id).map(|e| (e.1, e.2));
    let second = leased().await;
    let after = made.iter().map(end).collect();
    assert_eq!(over(claim(&pool, &made, worker, after).await), 0.0);
    assert!(leased().await > second, "and it takes what comes next");
}

/// Ordered by stream, what waits for one before it stands before the end of the last claim.
#[tokio::test]
async fn an_endpoint_that_keeps_an_order_is_gone_through_from_its_beginning() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let id = hooks
        .endpoint(
            &sink.url(),
            json!({ "ordered_by": "stream", "max_in_flight": 64 }),
        )
        .await
        .id;
    let worker = Uuid::now_v7();
    hooks.append(Uuid::now_v7(), 2).await;
    let pool = &hooks.desk.worker_pool;
    let far = Some((Utc::now() + chrono::TimeDelta::days(1), Uuid::nil()));
    claim(pool, &[id], worker, vec![far]).await;
    let leased: i64 = sqlx::query_scalar("select count(*) from delivery.leases")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(leased, 1, "the first of the stream");
}

/// A transaction that began before the last claim ended may commit after it: what it owes stands before that end, and does not wait for it.
#[tokio::test]
async fn what_just_became_due_is_taken_though_it_stands_before_the_end_of_the_last_claim() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let id = hooks.endpoint(&sink.url(), json!({})).await.id;
    hooks.append(Uuid::now_v7(), 1).await;
    let pool = &hooks.desk.worker_pool;
    let superuser = hooks.desk.db.superuser_pool().await;
    let far = Some((Utc::now() + chrono::TimeDelta::days(1), Uuid::nil()));
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from delivery.leases")
            .fetch_one(pool)
            .await
            .unwrap()
    };
    let due = async |ago_ms: i32| {
        sqlx::query(
            "update delivery.deliveries set next_at = now() - make_interval(secs => $1 / 1000.0)",
        )
        .bind(ago_ms)
        .execute(&superuser)
        .await
        .unwrap();
        claim(pool, &[id], Uuid::now_v7(), vec![far]).await;
    };
    due(1_000).await;
    assert_eq!(count().await, 0, "that is behind the mark for a long time");
    // A busy machine may need more than the tenth of a second between the two.
    wait_until("what is due now is taken", SOON, async || {
        due(0).await;
        count().await == 1
    })
    .await;
}

async fn stay_on_their_indexes(rows: i64) {
    let hooks = Hooks::new().await;
    let made = fill(&hooks, rows).await;
    let pool = Connections::to(&hooks.desk.worker_pool.connect_options()).records;
    let worker = Uuid::now_v7();
    // Once more than a plan needs to become the one that is kept.
    for round in 0..3 {
        let explained = claim(&pool, &made, worker, vec![None; made.len()]).await;
        let leased: Vec<Leased> =
            sqlx::query_as("select delivery_id, l.fence, d.attempt + 1 from delivery.leases l join delivery.deliveries d using (delivery_id) where l.owner = $1 order by delivery_id")
                .bind(worker)
                .fetch_all(&hooks.desk.worker_pool)
                .await
                .unwrap();
        let n = leased.len();
        assert!(n > 1_000, "{n}");
        check(&format!("claim {round}"), &explained, n as i64, 80.0);

        let explain = format!("explain (analyze, buffers, format json) {FINISH}");
        let explained: Value = record(
            sqlx::query_scalar(AssertSqlSafe(explain)),
            &leased,
            worker,
            made[0],
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        check(&format!("record {round}"), &explained, n as i64, 80.0);
    }
}

#[tokio::test]
async fn the_claim_and_the_record_stay_on_their_indexes_whatever_the_statistics_say() {
    stay_on_their_indexes(40_000).await;
}

#[tokio::test]
#[ignore = "a million rows: make hooks-stress"]
async fn the_claim_and_the_record_stay_on_their_indexes_among_a_million_rows() {
    stay_on_their_indexes(1_000_000).await;
}
