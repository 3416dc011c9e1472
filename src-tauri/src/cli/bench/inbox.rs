//! Taking in what the provider sends: a signature is checked, the event kept and the arrival noted, in one commit, before the
//! answer. And handing what is kept to its sagas.

use std::sync::Arc;
use std::time::Instant;

use bizing_engine::webhook::inbox::{self, Came, Sent};
use bizing_stripe::Secret;
use bizing_stripe::webhook::{TOLERANCE_S, verify};
use chrono::Utc;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::ground::Ground;
use super::rounds::{Figure, Sample, Writer, compare, drive, median, rounded};
use super::{BenchError, Common};

const SECRET: &str = "whsec_of_the_bench";

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let mut root = PgConnection::connect_with(&ground.superuser()).await?;
    sqlx::raw_sql(
        "create schema bare; create table bare.inbox (like delivery.inbox including all);
         grant usage on schema bare to public; grant insert on bare.inbox to public;",
    )
    .execute(&mut root)
    .await?;
    for senders in [1, 8, 32] {
        let case = format!("accept-{senders}");
        if !common.wants(&case) {
            continue;
        }
        let (mut bare, mut ours) = (vec![], vec![]);
        for _ in 0..senders {
            bare.push(Bare(
                PgConnection::connect_with(&ground.login("worker")).await?,
            ));
            ours.push(Door::new(
                PgConnection::connect_with(&ground.login("worker")).await?,
            ));
        }
        let limit = async || drive(&mut bare, common.lasting()).await;
        let accept = async || drive(&mut ours, common.lasting()).await;
        common.print(&compare(&common, "inbox", &case, "events/s", limit, accept).await?);
    }
    if common.wants("process") {
        process(&common, &ground, &mut root).await?;
    }
    Ok(())
}

fn event() -> serde_json::Value {
    let id = Uuid::now_v7().simple();
    // As long as Stripe's own are.
    json!({
        "id": format!("evt_{id}"), "object": "event", "type": "payment_intent.succeeded", "created": Utc::now().timestamp(), "livemode": false,
        "api_version": "2025-09-30.clover", "pending_webhooks": 1, "request": { "id": "req_1", "idempotency_key": id.to_string() },
        "data": { "object": {
            "id": format!("pi_{id}"), "object": "payment_intent", "amount": 8000, "amount_capturable": 0, "amount_received": 8000, "currency": "eur",
            "capture_method": "manual", "confirmation_method": "automatic", "payment_method_types": ["card"], "status": "succeeded",
            "metadata": { "saga_id": Uuid::now_v7(), "booking_id": Uuid::now_v7() }, "description": "x".repeat(1800),
        } },
    })
}

/// The limit: the same row by itself.
struct Bare(PgConnection);

impl Writer for Bare {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let event = event();
        sqlx::query("insert into bare.inbox (inbox_id, source, external_id, kind, object_id, via, payload) overriding system value
                     values (('x' || substr(md5($1), 1, 15))::bit(60)::bigint, 'stripe', $1, $2, $3, 'webhook', $4)")
            .bind(event["id"].as_str())
            .bind(event["type"].as_str())
            .bind(event["data"]["object"]["id"].as_str())
            .bind(&event)
            .execute(&mut self.0)
            .await?;
        Ok(1)
    }
}

struct Door {
    conn: PgConnection,
    secrets: Vec<Secret>,
}

impl Door {
    fn new(conn: PgConnection) -> Door {
        Door {
            conn,
            secrets: vec![Secret::new("whsec_before"), Secret::new(SECRET)],
        }
    }
}

impl Writer for Door {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let (body, now) = (event().to_string(), Utc::now().timestamp());
        let header = bizing_sandbox::signature(SECRET, u64::try_from(now)?, &body);
        let genuine = verify(body.as_bytes(), &header, &self.secrets, TOLERANCE_S, now)?;
        let sent = Sent::of(body.as_bytes(), self.secrets.len(), "bench".to_owned());
        inbox::keep(
            &mut self.conn,
            std::slice::from_ref(&genuine.event),
            Came::Webhook(&sent, genuine.seal),
        )
        .await?;
        Ok(1)
    }
}

/// What is kept is handed over, a hundred at a time, by one worker.
async fn process(
    common: &Common,
    ground: &Ground,
    root: &mut PgConnection,
) -> Result<(), BenchError> {
    const EVENTS: usize = 10_000;
    let pool = ground.pool("worker", 2).await?;
    let mut rates = vec![];
    for _ in 0..common.rounds {
        while inbox::process(&pool, 1000).await? > 0 {}
        let records = (0..EVENTS)
            .map(|_| bizing_stripe::webhook::parse_event(event().to_string().as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        for some in records.chunks(500) {
            inbox::keep(root, some, Came::Poll).await?;
        }
        let began = Instant::now();
        while inbox::process(&pool, 100).await? > 0 {}
        rates.push(Sample::of(EVENTS as u64, began.elapsed(), vec![]).rate);
    }
    let figure = Figure::new("inbox", "process", median(rates.clone()), "events/s");
    common.print(&figure.with("rounds", rates.into_iter().map(rounded).collect::<Vec<_>>()));
    Ok(())
}
