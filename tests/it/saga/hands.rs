//! Hands of a person at a desk: bookings that wait for somebody, a look at a plan, a press.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::projection::Tail;
use bizing_engine::runtime::hints::Hints;
use uuid::Uuid;

use crate::support::desk::{TestDesk, TestWorker, booking, slot};

pub fn to_nobody(n: u32) -> CreateBooking {
    CreateBooking {
        customer: ForCustomer::New {
            name: format!("Bo {n}"),
            email: Some(format!("bounce{n}@example.com")),
            phone: None,
        },
        ..booking(&slot(n))
    }
}

/// A booking of the n-th slot, however many are wanted.
pub fn far_slot(n: u32) -> CreateBooking {
    let day =
        chrono::NaiveDate::from_ymd_opt(2030, 1, 1).unwrap() + chrono::Days::new((n / 5).into());
    booking(&format!("{day}T{:02}:00", 9 + (n % 5) * 2))
}

/// From this sum on, in EUR minor units, a second person decides; and what becomes of a message that reaches nobody.
pub async fn policy(t: &TestDesk, notify: &str, approval_minor: i64, blast: i64, late_hours: i32) {
    let told: String = sqlx::query_scalar("select api.put_saga_policy((select max(version) from read.saga_policy_v1), $1, 'as this test needs it')")
        .bind(serde_json::json!({ "notify_on_exhausted": notify, "approval_minor": { "*": approval_minor }, "blast_sagas": blast, "blast_minutes": 10, "late_hours": late_hours }))
        .fetch_one(&t.people)
        .await
        .unwrap();
    assert_eq!(told, "done");
}

/// The policies with these on top.
pub async fn rules(t: &TestDesk, some: serde_json::Value) {
    let told: String = sqlx::query_scalar("select api.put_saga_policy(p.version, p.value || $1, 'as this test needs it') from read.saga_policy_v1 p order by p.version desc limit 1")
        .bind(some)
        .fetch_one(&t.people)
        .await
        .unwrap();
    assert_eq!(told, "done");
}

/// A booking and its saga.
pub struct Made {
    pub saga: Uuid,
    pub booking: Uuid,
}

/// A booking that is paid and confirmed, and whose message reached nobody: a person decides.
pub async fn stuck(t: &TestDesk, worker: &TestWorker, n: u32) -> Made {
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), to_nobody(n))
        .await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    Made {
        saga: saga_of(t, booked.booking_id).await,
        booking: booked.booking_id,
    }
}

/// A booking that is paid, confirmed and told, and nobody works any more.
pub async fn completed(t: &TestDesk) -> Made {
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    Made {
        saga: saga_of(t, booked.booking_id).await,
        booking: booked.booking_id,
    }
}

pub async fn saga_of(t: &TestDesk, booking: Uuid) -> Uuid {
    sqlx::query_scalar(
        "select saga_id from saga.instance where booking_id = $1 and definition <> 'cancellation'",
    )
    .bind(booking)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

pub async fn park_code(t: &TestDesk, booking: Uuid) -> Option<String> {
    sqlx::query_scalar("select park_code from saga.instance where booking_id = $1")
        .bind(booking)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

pub async fn look(desk: &Desk, saga: Uuid, action: &str) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: action.to_owned(),
        params: SagaParams::default(),
    };
    sagas::preview(desk, request).await.unwrap()
}

/// Commanded as it is planned, as soon as no worker has it in hand: one that is told of news may take it at any time, and
/// whoever commands meanwhile is asked to try again or to look anew.
pub async fn command_when_free(desk: &Desk, saga: Uuid, action: &str) {
    for _ in 0..100 {
        let plan = look(desk, saga, action).await;
        match sagas::command(desk, ask(saga, action, &plan)).await {
            Err(refused)
                if refused.code == Code::Conflict
                    || refused.message.starts_with("A worker is at it") =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => {
                answer.unwrap();
                return;
            }
        }
    }
    panic!("a worker is at it for five seconds");
}

pub fn ask(saga: Uuid, action: &str, plan: &SagaPlan) -> CommandSaga {
    CommandSaga {
        command_id: Uuid::now_v7(),
        saga_id: saga,
        action: action.to_owned(),
        version: plan.version,
        plan_hash: Some(plan.hash.clone()),
        params: SagaParams::default(),
        reason: "called the customer, who agreed".to_owned(),
        email: None,
    }
}

/// The three that count, looked at.
pub fn checked() -> Option<Vec<String>> {
    Some(["money", "booking", "slot"].map(str::to_owned).to_vec())
}

/// A desk at which somebody of this group sits.
pub async fn desk_of(t: &TestDesk, group: &str) -> Desk {
    let mut parts = t.desk(None);
    let own = std::sync::Arc::get_mut(&mut parts.0).expect("nobody else has it yet");
    own.people = t.db.pool(group).await;
    own.group = match group {
        "viewer" => Group::Viewer,
        "staff" => Group::Staff,
        "manager" => Group::Manager,
        _ => Group::Admin,
    };
    parts
}

/// Back with a person, with something written in between that was not theirs.
pub async fn parked_again(desk: &Desk, it: &Made, version: i32) {
    crate::support::wait_until("parked again", Duration::from_secs(30), || async {
        let page = page(desk, it.saga).await;
        page.row.parked.is_some() && page.row.version > version + 1
    })
    .await;
}

pub async fn page(desk: &Desk, saga: Uuid) -> SagaPage {
    sagas::page(desk, GetSaga { saga_id: saga }).await.unwrap()
}

/// Where the customer pays.
pub async fn pay_page(t: &TestDesk, booking: Uuid) -> String {
    t.wait_for_event(booking, "PaymentRequested").await;
    sqlx::query_scalar("select data->>'pay_url' from api.read_stream($1, 0) where name = 'PaymentRequested' order by version desc limit 1")
        .bind(format!("booking-{booking}"))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

/// Presses a button on the hosted page.
pub async fn press(page: &str, action: &str) {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let answer = client
        .post(page)
        .form(&[("action", action)])
        .send()
        .await
        .unwrap();
    assert!(
        answer.status().is_redirection() || answer.status().is_success(),
        "{action}: {}",
        answer.status()
    );
}

/// The projections have followed the log to its end.
pub async fn caught_up(t: &TestDesk) {
    let tail = Tail::new(t.worker_pool.clone(), Hints::default());
    while tail.round().await.unwrap() {}
}

/// The policies as they are, once more.
pub fn put(now: &SagaPolicy, reason: String) -> PutSagaPolicy {
    PutSagaPolicy {
        version: now.version,
        on_exhausted: now.on_exhausted,
        approval: now.approval.clone(),
        blast_sagas: now.blast_sagas,
        blast_minutes: now.blast_minutes,
        late_hours: now.late_hours,
        cancel_free_hours: now.cancel_free_hours,
        cancel_fee_percent: now.cancel_fee_percent,
        cancel_late_hours: now.cancel_late_hours,
        cancel_late_percent: now.cancel_late_percent,
        steps: now.steps.clone(),
        reason,
    }
}
