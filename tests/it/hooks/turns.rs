//! An endpoint with a rate, or with few places, and several workers.

use bizing_engine::delivery::webhook::CLAIM;
use serde_json::json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::Hooks;

/// What a worker that holds nothing is given by one claim, of three workers.
async fn claims(pool: &PgPool, worker: Uuid, unusable: &[Uuid]) -> usize {
    let none: Vec<i32> = vec![];
    let rows = sqlx::query(CLAIM)
        .bind(100)
        .bind(Vec::<Uuid>::new())
        .bind(&none)
        .bind(&none)
        .bind(worker)
        .bind(3)
        .bind(90.0)
        .bind(&none)
        .bind(unusable)
        .bind(Vec::<chrono::DateTime<chrono::Utc>>::new())
        .bind(Vec::<Uuid>::new())
        .fetch_all(pool)
        .await
        .unwrap();
    let deliveries = |row: &&sqlx::postgres::PgRow| row.get::<Option<Uuid>, _>(0).is_some();
    rows.iter().filter(deliveries).count()
}

#[tokio::test]
async fn what_takes_one_a_second_is_sent_to_by_one_worker_at_a_time() {
    for more in [json!({ "rate_per_s": 1 }), json!({ "max_in_flight": 1 })] {
        let hooks = Hooks::new().await;
        let id = hooks
            .endpoint("https://hooks.example.com/in", more.clone())
            .await
            .id;
        hooks.append(Uuid::now_v7(), 9).await;
        let pool = &hooks.desk.worker_pool;
        let (a, b, c) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let (x, y, z) = tokio::join!(
            claims(pool, a, &[]),
            claims(pool, b, &[]),
            claims(pool, c, &[])
        );
        let with = [x, y, z].into_iter().filter(|n| *n > 0).count();
        assert_eq!(with, 1, "{more}: {x}, {y}, {z}");
        let owner: Uuid =
            sqlx::query_scalar("select owner from delivery.turns where destination_id = $1")
                .bind(id)
                .fetch_one(pool)
                .await
                .unwrap();
        assert!(
            claims(pool, owner, &[]).await > 0,
            "{more}: whose turn it is goes on"
        );
        let other = if owner == a { b } else { a };
        assert_eq!(claims(pool, other, &[]).await, 0, "{more}");
        // The one dies; after its minute another goes on, if it can use the endpoint.
        sqlx::query("update delivery.turns set until = now() - interval '1 second'")
            .execute(pool)
            .await
            .unwrap();
        assert_eq!(
            claims(pool, other, &[id]).await,
            0,
            "{more}: it has no key for it"
        );
        assert!(claims(pool, other, &[]).await > 0, "{more}: its turn now");
        assert_eq!(claims(pool, owner, &[]).await, 0, "{more}");
    }
}

#[tokio::test]
async fn places_enough_for_all_are_shared_out_as_ever() {
    let hooks = Hooks::new().await;
    hooks
        .endpoint(
            "https://hooks.example.com/in",
            json!({ "max_in_flight": 6 }),
        )
        .await;
    hooks.append(Uuid::now_v7(), 30).await;
    for worker in [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()] {
        // Twice its places: two for each.
        assert_eq!(claims(&hooks.desk.worker_pool, worker, &[]).await, 4);
    }
}
