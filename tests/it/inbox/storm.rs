//! Many events at once, doubled, shuffled, forged and stale, by webhook and by poll: each is one event, and only the genuine
//! ones are taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_engine::webhook::inbox::{Came, keep};
use serde_json::json;
use uuid::Uuid;

use super::alone::book_by_link;
use super::{SECRET, event, record, signature};
use crate::host;
use crate::served::{Served, data_folder};
use crate::support::wait_until;

const SENDERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_has_its_effect_once_and_forged_and_stale_ones_have_none() {
    storm(1_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make inbox-storm"]
async fn the_same_with_a_hundred_thousand() {
    storm(100_000).await;
}

enum Kind {
    Genuine,
    Forged,
    Stale,
}

async fn storm(events: usize) {
    let data = data_folder();
    let served = Served::with(
        data.path(),
        &[
            ("BIZING_STRIPE_KEY", "sk_test_nobody"),
            ("BIZING_STRIPE_URL", "http://127.0.0.1:9"),
            ("BIZING_STRIPE_WEBHOOK_SECRET", SECRET),
            ("BIZING_STRIPE_POLL", "off"),
        ],
    );
    served.enter().await;
    served
        .ok("choose_start", host::own("Aurora", "Europe/Lisbon"))
        .await;
    served.ready().await;
    let cluster = host::cluster(data.path().join("postgres")).await;
    let mut conn = host::superuser(&cluster, "bizing_own").await;

    let mut sagas: Vec<Uuid> = Vec::new();
    for _ in 0..3 {
        let booking = book_by_link(&served)
            .await
            .as_str()
            .unwrap()
            .parse::<Uuid>()
            .unwrap();
        let saga = sqlx::query_scalar("select saga_id from saga.instance where booking_id = $1");
        sagas.push(saga.bind(booking).fetch_one(&mut conn).await.unwrap());
    }

    // 1 in 100 forged, 1 in 100 stale, 1 in 20 twice; a third comes by poll, some by both; all shuffled.
    let mut order = Vec::new();
    let mut genuine = BTreeSet::new();
    for n in 0..events {
        let kind = match n % 100 {
            0 => Kind::Forged,
            1 => Kind::Stale,
            _ => Kind::Genuine,
        };
        if matches!(kind, Kind::Genuine) {
            genuine.insert(format!("evt_{n:06}"));
        }
        let twice = n % 20 == 7;
        order.push((n, kind));
        if twice {
            order.push((n, Kind::Genuine));
        }
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..order.len()).rev() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        order.swap(i, (seed % (i as u64 + 1)) as usize);
    }
    let body = Arc::new(move |n: usize| {
        let object = json!({ "id": format!("pi_{n}"), "object": "payment_intent", "metadata": { "saga_id": sagas[n % 3] } });
        event(&format!("evt_{n:06}"), "payment_intent.succeeded", object)
    });

    let order = Arc::new(order);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let url = format!("{}/webhooks/stripe", served.url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let polled = {
        // The same events by the other way, while they come.
        let (body, order) = (body.clone(), order.clone());
        let mut conn = host::superuser(&cluster, "bizing_own").await;
        tokio::spawn(async move {
            for part in order.chunks(90) {
                let records: Vec<_> = part
                    .iter()
                    .filter(|(n, kind)| n % 3 == 0 && matches!(kind, Kind::Genuine))
                    .map(|(n, _)| record(&body(*n)))
                    .collect();
                keep(&mut conn, &records, Came::Poll).await.unwrap();
            }
        })
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (order, next, url, client, body) = (
                order.clone(),
                next.clone(),
                url.clone(),
                client.clone(),
                body.clone(),
            );
            tokio::spawn(async move {
                let mut took: Vec<Duration> = Vec::new();
                while let Some((n, kind)) =
                    order.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if n % 3 == 0 && n % 2 == 0 && matches!(kind, Kind::Genuine) {
                        continue; // only by poll
                    }
                    let body = body(*n).to_string();
                    let now = chrono::Utc::now().timestamp();
                    let (secret, at, expected) = match kind {
                        Kind::Genuine => (SECRET, now, 200),
                        Kind::Forged => ("whsec_of_somebody_else", now, 400),
                        Kind::Stale => (SECRET, now - 301, 400),
                    };
                    // "Not now", where the database is too busy for a connection: the provider sends it again.
                    let mut sends = 0;
                    let status = loop {
                        let began = Instant::now();
                        let answer = client
                            .post(&url)
                            .header("stripe-signature", signature(&body, secret, at))
                            .body(body.clone())
                            .send()
                            .await
                            .unwrap();
                        took.push(began.elapsed());
                        sends += 1;
                        if answer.status() != 503 || sends == 5 {
                            break answer.status();
                        }
                    };
                    assert_eq!(status, expected, "event {n}");
                }
                took
            })
        })
        .collect();
    let began = Instant::now();
    let mut took = Vec::new();
    for sender in senders {
        took.extend(sender.await.unwrap());
    }
    polled.await.unwrap();
    took.sort();
    println!(
        "inbox: {} requests in {:.1} s from {SENDERS} senders, answered p50 {:?} p99 {:?}",
        took.len(),
        began.elapsed().as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    wait_until("all are processed", Duration::from_secs(120), async || {
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from delivery.inbox where processed_at is null")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        waiting == 0
    })
    .await;
    let inside: BTreeSet<String> =
        sqlx::query_scalar::<_, String>("select external_id from delivery.inbox")
            .fetch_all(&mut conn)
            .await
            .unwrap()
            .into_iter()
            .collect();
    let missing: Vec<_> = genuine.difference(&inside).take(5).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    let (not_taken, odd): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where result = 'not_taken'), count(*) filter (where verdict in ('forged', 'too_old') and result <> 'not_taken') from delivery.arrivals",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(odd, 0);
    assert!(not_taken > 0);
    let kept: i64 =
        sqlx::query_scalar("select count(*) from delivery.arrivals where result = 'kept'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(kept as usize, inside.len(), "each was taken in once");
    let signals: i64 =
        sqlx::query_scalar("select count(*) from saga.signal where signal_id like 'evt_%'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(signals as usize, inside.len(), "each rang once");
    drop(conn);
    assert!(served.stop().await.success());
}
