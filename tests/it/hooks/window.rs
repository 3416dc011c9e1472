//! What the window asks and does about endpoints and deliveries, through the functions that it calls.

use std::collections::BTreeMap;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, endpoints};
use bizing_engine::delivery::webhook::sign::SigningSecret;
use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, message_id, wait_until};

fn put(url: &str) -> PutEndpoint {
    PutEndpoint {
        destination_id: Uuid::now_v7(),
        version: None,
        name: "Accounting".to_owned(),
        url: url.to_owned(),
        note: None,
        events: vec!["CalendarSynced".to_owned()],
        filter: None,
        sending: Some(sending()),
    }
}

fn sending() -> EndpointSending {
    EndpointSending {
        schedule_s: vec![0, 0],
        timeout_ms: 3_000,
        max_in_flight: 4,
        rate_per_s: None,
        in_order: false,
        headers: BTreeMap::from([("X-Shop".to_owned(), "secret 42".to_owned())]),
    }
}

async fn made(desk: &Desk, url: &str) -> (Endpoint, SigningSecret) {
    let saved = endpoints::put(desk, put(url)).await.unwrap();
    let secret = SigningSecret::parse(&saved.secret.unwrap()).unwrap();
    (saved.endpoint, secret)
}

fn field(error: &AppError) -> &str {
    error.field.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn an_endpoint_is_made_once_changed_by_whoever_saw_it_and_never_shows_what_is_secret() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::start().await;
    let request = put(&sink.url());
    let saved = endpoints::put(&desk, request.clone()).await.unwrap();
    let secret = saved.secret.clone().unwrap();
    assert!(secret.starts_with("whsec_"));
    // The dialog was sent twice: one endpoint, and the secret is shown once only.
    let again = endpoints::put(&desk, request.clone()).await.unwrap();
    assert_eq!(
        (again.secret, &again.endpoint.row),
        (None, &saved.endpoint.row)
    );
    assert_eq!(saved.endpoint.matches, ["CalendarSynced"]);
    let shown = serde_json::to_string(&again.endpoint).unwrap();
    assert!(
        !shown.contains("secret 42") && !shown.contains(&secret),
        "{shown}"
    );

    // Headers whose values were not typed again stay; the version rises; an old version is refused.
    let mut changed = PutEndpoint {
        version: Some(1),
        note: Some("of the accountant".to_owned()),
        ..request.clone()
    };
    changed.sending = Some(EndpointSending {
        headers: BTreeMap::from([("x-shop".to_owned(), "***".to_owned())]),
        ..sending()
    });
    let after = endpoints::put(&desk, changed.clone())
        .await
        .unwrap()
        .endpoint;
    assert_eq!(
        (after.row.version, after.note.as_deref()),
        (2, Some("of the accountant"))
    );
    let error = endpoints::put(&desk, changed).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict);

    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 1).await;
    let got = sink.wait_for(1).await.remove(0);
    assert_eq!(got.header("x-shop"), "secret 42");
    let what: Vec<String> = endpoints::get(
        &desk,
        GetEndpoint {
            destination_id: request.destination_id,
        },
    )
    .await
    .unwrap()
    .changes
    .into_iter()
    .map(|c| c.what)
    .collect();
    assert_eq!(what, ["changed", "created"]);
    worker.close().await;
}

#[tokio::test]
async fn what_cannot_be_sent_to_or_used_is_refused_at_its_field() {
    let hooks = Hooks::new().await;
    hooks.allow(&[]).await;
    let desk = hooks.desk.desk(None);
    let good = put("https://hooks.example.com/in");
    for (field_name, request) in [
        (
            "url",
            PutEndpoint {
                url: "https://127.0.0.1/".to_owned(),
                ..good.clone()
            },
        ),
        (
            "url",
            PutEndpoint {
                url: "http://hooks.example.com/".to_owned(),
                ..good.clone()
            },
        ),
        (
            "url",
            PutEndpoint {
                url: "ftp://hooks.example.com/".to_owned(),
                ..good.clone()
            },
        ),
        (
            "name",
            PutEndpoint {
                name: " ".to_owned(),
                ..good.clone()
            },
        ),
        (
            "events",
            PutEndpoint {
                events: vec![],
                ..good.clone()
            },
        ),
        (
            "events",
            PutEndpoint {
                events: vec!["BookingEaten".to_owned()],
                ..good.clone()
            },
        ),
        (
            "filter",
            PutEndpoint {
                filter: Some(json!({ "data": { "a": { "$no": 1 } } })),
                ..good.clone()
            },
        ),
        (
            "sending.timeout_ms",
            PutEndpoint {
                sending: Some(EndpointSending {
                    timeout_ms: 5,
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.schedule_s",
            PutEndpoint {
                sending: Some(EndpointSending {
                    schedule_s: vec![],
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.headers",
            PutEndpoint {
                sending: Some(EndpointSending {
                    headers: BTreeMap::from([("webhook-id".to_owned(), "x".to_owned())]),
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.headers",
            PutEndpoint {
                sending: Some(EndpointSending {
                    headers: BTreeMap::from([("x-a".to_owned(), "***".to_owned())]),
                    ..sending()
                }),
                ..good.clone()
            },
        ),
    ] {
        let error = endpoints::put(&desk, request.clone()).await.unwrap_err();
        assert_eq!(
            (error.code, field(&error)),
            (Code::Invalid, field_name),
            "{request:?}: {error:?}"
        );
    }
    let all = endpoints::list(&desk, Empty {}).await.unwrap();
    assert_eq!(
        all.rows.iter().filter(|r| r.kind == "webhook").count(),
        0,
        "nothing half-written"
    );
    let error = endpoints::put_allow_list(
        &desk,
        PutAllowList {
            version: 99,
            entries: vec![],
            reason: "x".to_owned(),
        },
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    let version = endpoints::allow_list(&desk, Empty {})
        .await
        .unwrap()
        .version;
    let error = endpoints::put_allow_list(
        &desk,
        PutAllowList {
            version,
            entries: vec!["0.0.0.0/0".to_owned()],
            reason: "x".to_owned(),
        },
    )
    .await
    .unwrap_err();
    assert_eq!(field(&error), "entries");
}

#[tokio::test]
async fn secrets_are_shown_to_admins_with_an_entry_in_the_log_and_replaced_with_an_overlap() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::start().await;
    let (endpoint, secret) = made(&desk, &sink.url()).await;
    let id = endpoint.row.destination_id;
    let reveal = RevealSecret {
        destination_id: id,
        secret_id: endpoint.secrets[0].secret_id,
    };
    assert_eq!(
        endpoints::reveal_secret(&desk, reveal.clone())
            .await
            .unwrap()
            .secret,
        secret.reveal()
    );
    let rotated = endpoints::rotate_secret(
        &desk,
        RotateSecret {
            destination_id: id,
            overlap_hours: 24,
            reason: "yearly".to_owned(),
        },
    )
    .await
    .unwrap();
    assert_ne!(rotated.secret.as_deref(), Some(secret.reveal().as_str()));
    let ends: Vec<bool> = rotated
        .endpoint
        .secrets
        .iter()
        .map(|s| s.expires_at.is_some())
        .collect();
    assert_eq!(ends, [false, true]);
    let what: Vec<_> = rotated
        .endpoint
        .changes
        .iter()
        .map(|c| c.what.as_str())
        .collect();
    assert_eq!(what, ["secret_rotated", "secret_shown", "created"]);

    // A manager may pause, and neither look at a secret nor change where it leads.
    let people = hooks.desk.db.pool("manager").await;
    let refused = sqlx::query("select * from api.reveal_secret($1, $2)")
        .bind(id)
        .bind(reveal.secret_id)
        .execute(&people)
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("permission denied")
    );
    let disable = sqlx::query("select api.change_endpoint($1, $2, 'disable', null, '')")
        .bind(id)
        .bind(rotated.endpoint.row.version)
        .execute(&people)
        .await;
    assert!(
        disable
            .unwrap_err()
            .to_string()
            .contains("an admin decides that")
    );
    // Another computer that holds another key is told so, and seals nothing with it.
    let mut other = hooks.desk;
    other.vault = Default::default();
    let error = endpoints::put(&other.desk(None), put("https://hooks.example.com/"))
        .await
        .unwrap_err();
    assert!(error.message.contains("key"), "{error:?}");
}

#[tokio::test]
async fn a_delivery_is_found_by_what_is_known_of_it_and_its_page_tells_each_try() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::saying(|n, _| {
        Say::With(
            if n == 0 { 503 } else { 200 },
            vec![
                ("x-answer", "yes".to_owned()),
                ("set-cookie", "a=b".to_owned()),
            ],
            "thanks".to_owned(),
        )
    })
    .await;
    let (endpoint, secret) = made(&desk, &sink.url()).await;
    let id = endpoint.row.destination_id;
    let worker = hooks.desk.work().await;
    let booking = Uuid::now_v7();
    let event = hooks.append(booking, 1).await[0];
    hooks.append(Uuid::now_v7(), 4).await;
    hooks.wait_for_states(id, &[("delivered", 5)]).await;

    let list = async |filter: DeliveryFilter| {
        let found = deliveries::list(
            &desk,
            ListDeliveries {
                filter,
                after: None,
                limit: 100,
            },
        )
        .await
        .unwrap();
        assert_eq!(found.matching.count, found.rows.len() as i64);
        found.rows
    };
    let of = |f: DeliveryFilter| DeliveryFilter {
        destination_ids: vec![id],
        ..f
    };
    assert_eq!(list(of(Default::default())).await.len(), 5);
    assert_eq!(
        list(of(DeliveryFilter {
            states: vec![DeliveryState::Delivered],
            ..Default::default()
        }))
        .await
        .len(),
        5
    );
    assert_eq!(
        list(of(DeliveryFilter {
            states: vec![DeliveryState::GaveUp, DeliveryState::Paused],
            ..Default::default()
        }))
        .await
        .len(),
        0
    );
    assert_eq!(
        list(of(DeliveryFilter {
            codes: vec![CodeClass::Ok],
            events: vec!["CalendarSynced".to_owned()],
            ..Default::default()
        }))
        .await
        .len(),
        5
    );
    assert_eq!(
        list(of(DeliveryFilter {
            codes: vec![CodeClass::Server, CodeClass::None],
            ..Default::default()
        }))
        .await
        .len(),
        0
    );
    for filter in [
        DeliveryFilter {
            booking_id: Some(booking),
            ..Default::default()
        },
        DeliveryFilter {
            event_id: Some(event),
            ..Default::default()
        },
        DeliveryFilter {
            search: Some(message_id(event)),
            ..Default::default()
        },
        DeliveryFilter {
            search: Some(event.to_string()),
            ..Default::default()
        },
    ] {
        let found = list(filter.clone()).await;
        assert_eq!(
            found.iter().map(|r| r.event_id).collect::<Vec<_>>(),
            [event],
            "{filter:?}"
        );
    }
    assert_eq!(
        list(of(DeliveryFilter {
            payload: Some(json!({})),
            ..Default::default()
        }))
        .await
        .len(),
        5
    );
    assert_eq!(
        list(of(DeliveryFilter {
            payload: Some(json!({ "no": "such" })),
            ..Default::default()
        }))
        .await
        .len(),
        0
    );
    // Page by page, each once.
    let first = deliveries::list(
        &desk,
        ListDeliveries {
            filter: of(Default::default()),
            after: None,
            limit: 3,
        },
    )
    .await
    .unwrap();
    let second = deliveries::list(
        &desk,
        ListDeliveries {
            filter: of(Default::default()),
            after: first.next,
            limit: 3,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (first.rows.len(), second.rows.len(), second.next),
        (3, 2, None)
    );

    // The first to arrive was refused once: its page has both tries, the bytes that were sent, and what was signed.
    let refused = sink.got()[0].clone();
    let delivery_id = refused.header("bizing-delivery-id").parse().unwrap();
    let page = deliveries::get(&desk, GetDelivery { delivery_id })
        .await
        .unwrap();
    let codes: Vec<_> = page
        .tries
        .iter()
        .map(|t| (t.no, t.code, t.result.clone().unwrap()))
        .collect();
    assert_eq!(
        codes,
        [
            (2, Some(200), "accepted".to_owned()),
            (1, Some(503), "later".to_owned())
        ]
    );
    let last = &page.tries[0];
    assert_eq!(last.response_body.as_deref(), Some("thanks"));
    assert!(
        last.response_headers
            .contains(&("x-answer".to_owned(), "yes".to_owned()))
    );
    assert!(
        last.response_headers
            .contains(&("set-cookie".to_owned(), "***".to_owned()))
    );
    assert!(
        last.request_headers
            .contains(&("x-shop".to_owned(), "***".to_owned()))
    );
    assert_eq!(
        page.body.as_deref().unwrap().as_bytes(),
        &refused.body[..],
        "what is shown is what was sent"
    );
    let signature = page.signature.unwrap();
    let sent = sink
        .got()
        .into_iter()
        .rfind(|g| g.header("bizing-delivery-id") == refused.header("bizing-delivery-id"))
        .unwrap();
    let expected = format!(
        "{}.{}.{}",
        sent.id(),
        sent.header("webhook-timestamp"),
        page.body.unwrap()
    );
    assert_eq!(
        (signature.base_string, signature.hints),
        (expected, vec![secret.hint()])
    );
    let curl = page.curl.unwrap();
    assert!(
        curl.contains(&sink.url())
            && !curl.contains("secret 42")
            && !curl.contains(&secret.reveal()),
        "{curl}"
    );
    assert_eq!(
        (page.redeliver_refused, page.cancel_refused.is_some()),
        (None, true)
    );
    worker.close().await;
}

#[tokio::test]
async fn a_decision_for_many_is_for_those_that_were_seen_and_ends_with_all_of_them_sent() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::saying(|_, _| Say::Code(400)).await;
    let (endpoint, _) = made(&desk, &sink.url()).await;
    let id = endpoint.row.destination_id;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 4).await;
    wait_until("they have given up", SOON, async || {
        hooks.change(id, "try_now").await;
        hooks.hurry(id).await;
        hooks.states(id).await == [("gave_up".to_owned(), 4)]
    })
    .await;
    sink.say(|_, _| Say::Code(200));
    hooks.change(id, "try_now").await;

    let filter = DeliveryFilter {
        states: vec![DeliveryState::GaveUp],
        ..Default::default()
    };
    let ask = PreviewRedelivery {
        action: BulkAction::Redeliver,
        filter: filter.clone(),
    };
    let plan = deliveries::preview(&desk, ask).await.unwrap();
    assert_eq!((plan.count, plan.shares.len(), plan.refused), (4, 1, None));
    let start = StartRedelivery {
        bulk_id: Uuid::now_v7(),
        action: BulkAction::Redeliver,
        filter,
        hash: plan.hash,
        per_second: 50,
        reason: "their server is back".to_owned(),
    };
    let other = StartRedelivery {
        hash: "0".to_owned(),
        bulk_id: Uuid::now_v7(),
        ..start.clone()
    };
    assert_eq!(
        deliveries::start(&desk, other).await.unwrap_err().code,
        Code::Conflict
    );
    let no_reason = StartRedelivery {
        reason: " ".to_owned(),
        ..start.clone()
    };
    assert_eq!(
        field(&deliveries::start(&desk, no_reason).await.unwrap_err()),
        "reason"
    );
    let begun = deliveries::start(&desk, start.clone()).await.unwrap();
    assert_eq!((begun.count, begun.by.is_empty()), (4, false));
    deliveries::start(&desk, start.clone()).await.unwrap();
    wait_until("all of it is delivered", SOON, async || {
        hooks.hurry(id).await;
        let now = deliveries::redeliveries(&desk, Empty {}).await.unwrap();
        now.len() == 1 && now[0].state == "done" && now[0].delivered == 4
    })
    .await;

    // What was delivered can be sent again, and the plan says that the receiver gets it twice.
    let filter = DeliveryFilter {
        states: vec![DeliveryState::Delivered],
        destination_ids: vec![id],
        ..Default::default()
    };
    let plan = deliveries::preview(
        &desk,
        PreviewRedelivery {
            action: BulkAction::Redeliver,
            filter: filter.clone(),
        },
    )
    .await
    .unwrap();
    assert_eq!(plan.shares[0].delivered_before, 4);
    let plan = deliveries::preview(
        &desk,
        PreviewRedelivery {
            action: BulkAction::Cancel,
            filter,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (
            plan.count,
            plan.left_out.iter().map(|(_, n)| n).sum::<u32>(),
            plan.refused.is_some()
        ),
        (0, 4, true)
    );
    worker.close().await;
}

#[tokio::test]
async fn a_test_is_sent_from_the_catalogue_and_marked_as_one() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::start().await;
    let (endpoint, secret) = made(&desk, &sink.url()).await;
    let id = endpoint.row.destination_id;
    let worker = hooks.desk.work().await;
    let catalogue = endpoints::catalogue(&desk, Empty {}).await.unwrap();
    assert!(catalogue.len() > 20 && catalogue.iter().all(|e| e.schema["properties"].is_object() && e.example["type"] == e.name.as_str()));
    let test = endpoints::send_test(
        &desk,
        SendTest {
            destination_id: id,
            event_name: "BookingConfirmed".to_owned(),
        },
    )
    .await
    .unwrap();
    let got = sink.wait_for(1).await.remove(0);
    assert_eq!(got.header("bizing-test"), "1");
    assert!(got.id().starts_with("msg_test_"));
    assert_eq!(got.verify(&[secret]), Ok(()));
    hooks.wait_for_states(id, &[("delivered", 1)]).await;
    let page = deliveries::get(
        &desk,
        GetDelivery {
            delivery_id: test.delivery_id,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (page.row.trigger, page.body.unwrap().as_bytes()),
        (DeliveryTrigger::Test, &got.body[..])
    );
    assert!(
        endpoints::send_test(
            &desk,
            SendTest {
                destination_id: id,
                event_name: "No".to_owned()
            }
        )
        .await
        .is_err()
    );

    hooks.append(Uuid::now_v7(), 2).await;
    let tried = endpoints::try_filter(
        &desk,
        TryFilter {
            events: vec!["Calendar*".to_owned()],
            filter: Some(json!({ "type": "CalendarSynced" })),
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (
            tried.events.len(),
            tried.events.iter().all(|e| e.matches),
            tried.types_today
        ),
        (2, true, vec!["CalendarSynced".to_owned()])
    );
    let error = endpoints::try_filter(
        &desk,
        TryFilter {
            events: vec!["*".to_owned()],
            filter: Some(json!({ "x": 1 })),
        },
    )
    .await
    .unwrap_err();
    assert_eq!(field(&error), "filter");
    worker.close().await;
}

#[tokio::test]
async fn the_list_of_endpoints_puts_first_what_needs_somebody() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let (good, bad) = (
        Sink::start().await,
        Sink::saying(|_, _| Say::Code(500)).await,
    );
    let a = hooks.endpoint(&good.url(), json!({ "name": "Good" })).await;
    let b = hooks.endpoint(&bad.url(), json!({ "name": "Bad" })).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 8).await;
    hooks.wait_for_states(a.id, &[("delivered", 8)]).await;
    wait_until("it is failing", SOON, async || {
        let list = endpoints::list(&desk, Empty {}).await.unwrap();
        list.rows[0].name == "Bad" && list.rows[0].state == EndpointState::Failing
    })
    .await;
    let list = endpoints::list(&desk, Empty {}).await.unwrap();
    let row = |id: Uuid| list.rows.iter().find(|r| r.destination_id == id).unwrap();
    let (works, fails) = (row(a.id), row(b.id));
    assert_eq!(
        (works.state, works.delivered_today, works.hours.len()),
        (EndpointState::Works, 8, 24)
    );
    assert_eq!(works.hours.iter().map(|h| h.delivered).sum::<u32>(), 8);
    assert!(works.p95_ms.is_some() && works.owed == 0);
    assert_eq!(
        (fails.why.as_deref(), fails.last_code, fails.owed),
        (Some("failing"), Some(500), 8)
    );
    assert!(
        fails.failing_since.is_some() && fails.disabled_at.is_some() && fails.next_at.is_some()
    );
    assert!(list.rows.iter().any(|r| r.kind == "email"));

    // Gone from the list, its deliveries with it, and its name is free.
    let gone = ChangeEndpoint {
        destination_id: b.id,
        version: fails.version,
        action: EndpointAction::Delete,
        recover_since: None,
        reason: "no more".to_owned(),
    };
    endpoints::change(&desk, gone.clone()).await.unwrap();
    assert_eq!(
        endpoints::change(&desk, gone).await.unwrap_err().code,
        Code::NotFound
    );
    hooks.endpoint(&bad.url(), json!({ "name": "Bad" })).await;
    assert_eq!(hooks.states(b.id).await, [("cancelled".to_owned(), 8)]);
    worker.close().await;
}
