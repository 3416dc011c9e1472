//! What is not the bare event: cards for chat programs, messages that are too large, and the notices about endpoints.

use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, endpoints, session};
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, wait_until};

async fn detail(hooks: &Hooks, endpoint: Uuid) -> DeliveryDetail {
    let delivery_id: Uuid =
        sqlx::query_scalar("select delivery_id from read.deliveries_v2 where destination_id = $1")
            .bind(endpoint)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    deliveries::get(&hooks.desk.desk(None), GetDelivery { delivery_id })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_chat_program_gets_a_card_and_the_window_shows_the_same_one() {
    let hooks = Hooks::new().await;
    let (chat, plain) = (Sink::start().await, Sink::start().await);
    let slack = hooks
        .endpoint(
            &chat.url(),
            json!({ "shape": "slack", "events": ["BookingCreated"] }),
        )
        .await;
    hooks
        .endpoint(&plain.url(), json!({ "events": ["BookingCreated"] }))
        .await;
    let worker = hooks.desk.work().await;
    let desk = hooks.desk.desk(Some(worker.worker.clone()));
    let booked = hooks
        .desk
        .book(
            &desk,
            crate::support::desk::booking(&crate::support::desk::slot(0)),
        )
        .await;
    let card = chat.wait_for(1).await[0].clone();
    let event = plain.wait_for(1).await[0].clone();
    // Signed like every other, over what was sent.
    card.verify(&[slack.secret]).unwrap();
    let (card, event): (Value, Value) = (
        serde_json::from_slice(&card.body).unwrap(),
        serde_json::from_slice(&event.body).unwrap(),
    );
    assert_eq!(event["type"], "BookingCreated");
    assert_eq!(
        card["blocks"][0]["text"]["text"],
        format!("Booking created: {}", booked.reference)
    );
    hooks.wait_for_states(slack.id, &[("delivered", 1)]).await;
    let shown = detail(&hooks, slack.id).await;
    assert_eq!(
        serde_json::from_str::<Value>(&shown.body.unwrap()).unwrap(),
        card
    );
    worker.close().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent_and_says_so() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "events": ["BookingCancelled", "CalendarSynced"] }),
        )
        .await;
    let worker = hooks.desk.work().await;
    // By another program: the desk itself writes nothing of that size.
    let reason = "x".repeat(300 * 1024);
    let data = json!({ "cancelled_by": "customer", "reason_code": "not_told", "reason": reason, "refund_due": null, "sequence": 1, "notice_min": 1, "was_confirmed": true });
    let event = Uuid::now_v7();
    let done: String = sqlx::query_scalar(
        "select status from api.append_one($1, 0, $2, 'BookingCancelled', 2::smallint, $3, gen_random_uuid(), null, '{}', $4)",
    )
    .bind(format!("booking-{}", Uuid::now_v7()))
    .bind(event)
    .bind(Utc::now())
    .bind(data)
    .fetch_one(&hooks.desk.worker_pool)
    .await
    .unwrap();
    assert_eq!(done, "appended");
    hooks.desk.bell.ring();
    hooks.wait_for_states(made.id, &[("gave_up", 1)]).await;
    let tries = hooks.tries(made.id).await;
    assert_eq!(tries.len(), 1, "it does not become smaller: {tries:?}");
    assert_eq!(
        (
            tries[0].result.as_deref(),
            tries[0].error_class.as_deref(),
            tries[0].status
        ),
        (Some("not_sent"), Some("too_large"), None)
    );
    assert!(tries[0].error.as_ref().unwrap().contains("256 kB"));
    // It says nothing about the endpoint, and the next is sent.
    let health = hooks.health(made.id).await;
    assert_eq!(
        (&health["failures"], &health["last_class"]),
        (&json!(0), &Value::Null)
    );
    hooks.append(Uuid::now_v7(), 1).await;
    assert_eq!(sink.wait_for(1).await.len(), 1);
    worker.close().await;
}

async fn put_list(hooks: &Hooks, entries: &[&str]) -> Result<NoticeList, AppError> {
    let desk = hooks.desk.desk(None);
    let version = endpoints::notice_list(&desk, Empty {})
        .await
        .unwrap()
        .version;
    let put = PutNoticeList {
        version,
        entries: entries.iter().map(|e| (*e).to_owned()).collect(),
        reason: "those who look after the web shop".to_owned(),
    };
    endpoints::put_notice_list(&desk, put).await
}

#[tokio::test]
async fn an_endpoint_that_turns_itself_off_tells_those_who_are_named() {
    let hooks = Hooks::new().await;
    let chat = Sink::saying(|n, _| Say::Code(if n == 0 { 503 } else { 200 })).await;
    let gone = Sink::saying(|_, _| Say::Code(410)).await;
    for (wrong, why) in [
        ("nobody", "neither an e-mail address"),
        ("https://10.0.0.1/hook", "cannot be sent to"),
    ] {
        let refused = put_list(&hooks, &[wrong]).await.unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("entries"));
        assert!(refused.message.contains(why), "{}", refused.message);
    }
    let list = put_list(&hooks, &["ana@halcyon.example", &chat.url()])
        .await
        .unwrap();
    assert_eq!((list.count, list.entries.len()), (2, 2));

    let made = hooks
        .endpoint(&gone.url(), json!({ "name": "Accounts <b>" }))
        .await;
    let worker = hooks.desk.work().await;
    let desk = hooks.desk.desk(None);
    let quiet = session::status(&desk, Empty {}).await.unwrap();
    assert_eq!(
        (
            quiet.endpoints_in_trouble.len(),
            quiet.counts.deliveries_need_person
        ),
        (0, 0)
    );
    hooks.append(Uuid::now_v7(), 1).await;

    // The chat program was busy the first time, and is asked again.
    chat.wait_for(1).await;
    let root = hooks.desk.db.superuser_pool().await;
    wait_until("both are told", SOON, async || {
        sqlx::query("update delivery.notices set next_at = now() where sent_at is null and tries > 0 and problem is not null")
            .execute(&root)
            .await
            .unwrap();
        hooks.desk.bell.ring();
        let open: i64 = sqlx::query_scalar("select count(*) from read.notices_v1 where sent_at is null")
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        open == 0
    })
    .await;
    let card: Value = serde_json::from_slice(&chat.got().last().unwrap().body).unwrap();
    assert_eq!(
        card["blocks"][0]["text"]["text"],
        "Webhooks to Accounts <b> are turned off"
    );
    let mails: Value = reqwest::get(format!("{}/_sandbox/messages", hooks.desk.sandbox.url()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        mails
            .to_string()
            .contains("Webhooks to Accounts <b> are turned off")
            && mails.to_string().contains("ana@halcyon.example"),
        "{mails}"
    );

    // In the window it stays until somebody decides.
    let status = session::status(&desk, Empty {}).await.unwrap();
    assert_eq!(
        status.counts.deliveries_need_person, 2,
        "the endpoint, and what gave up"
    );
    let trouble = &status.endpoints_in_trouble[0];
    assert_eq!(
        (trouble.destination_id, trouble.off.as_deref()),
        (made.id, Some("gone"))
    );
    assert_eq!(hooks.change(made.id, "disable").await["status"], "done");
    let status = session::status(&desk, Empty {}).await.unwrap();
    assert!(status.endpoints_in_trouble.is_empty());
    assert_eq!(hooks.change(made.id, "disable").await["status"], "refused");
    worker.close().await;
}

#[tokio::test]
async fn who_is_told_is_for_admins_to_see_and_to_say() {
    let hooks = Hooks::new().await;
    put_list(&hooks, &["ana@halcyon.example"]).await.unwrap();
    let viewer = hooks.desk.db.pool("viewer").await;
    let seen: (i32, Option<Vec<String>>) = sqlx::query_as(
        "select count, entries from read.notice_list_v1 order by version desc limit 1",
    )
    .fetch_one(&viewer)
    .await
    .unwrap();
    assert_eq!(seen, (1, None));
    let refused = sqlx::query("select api.put_notice_list(1, '{}', 'I want none of this')")
        .execute(&hooks.desk.db.pool("manager").await)
        .await
        .unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().code().as_deref(),
        Some("42501")
    );
    // Two who decide at the same time: the second sees what the first did.
    let desk = hooks.desk.desk(None);
    let stale = PutNoticeList {
        version: 0,
        entries: vec![],
        reason: "nobody needs this".to_owned(),
    };
    let conflict = endpoints::put_notice_list(&desk, stale).await.unwrap_err();
    assert_eq!(conflict.code, Code::Conflict);
}
