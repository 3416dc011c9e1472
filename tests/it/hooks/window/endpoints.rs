//! Endpoints: made, changed, refused, and in which order they stand.

use bizing_engine::app::endpoints;
use bizing_engine::app::wire::*;
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::super::sink::{Say, Sink};
use super::super::{Hooks, SOON, wait_until};
use super::{field, put, sending};
use crate::saga::hands::desk_of;

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
    changed.sending = SendingChange::from(EndpointSending {
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
                sending: SendingChange::from(EndpointSending {
                    timeout_ms: 5,
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.schedule_s",
            PutEndpoint {
                sending: SendingChange::from(EndpointSending {
                    schedule_s: vec![],
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.headers",
            PutEndpoint {
                sending: SendingChange::from(EndpointSending {
                    headers: BTreeMap::from([("webhook-id".to_owned(), "x".to_owned())]),
                    ..sending()
                }),
                ..good.clone()
            },
        ),
        (
            "sending.headers",
            PutEndpoint {
                sending: SendingChange::from(EndpointSending {
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
    // What its worker still held is given back a moment later.
    hooks.wait_for_states(b.id, &[("cancelled", 8)]).await;
    worker.close().await;
}

#[tokio::test]
async fn a_manager_is_told_of_the_acts_that_the_database_refuses_and_of_no_others() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let (endpoint, _) = super::made(&hooks.desk.desk(None), &sink.url()).await;
    let id = endpoint.row.destination_id;
    for group in ["manager", "staff"] {
        let desk = desk_of(&hooks.desk, group).await;
        let list = endpoints::list(&desk, Empty {}).await.unwrap();
        assert!(list.refused.is_some(), "{group}");
        assert_eq!(list.run_refused.is_some(), group == "staff", "{group}");
        let seen = endpoints::get(&desk, GetEndpoint { destination_id: id })
            .await
            .unwrap();
        let change = |action, version| ChangeEndpoint {
            destination_id: id,
            version,
            action,
            recover_since: None,
            reason: "they move to another host".to_owned(),
        };
        let paused =
            endpoints::change(&desk, change(EndpointAction::Pause, seen.row.version)).await;
        assert_eq!(paused.is_ok(), list.run_refused.is_none(), "{group}");
        let off = endpoints::change(&desk, change(EndpointAction::Disable, seen.row.version + 1));
        assert_eq!(off.await.unwrap_err().code, Code::Forbidden, "{group}");
    }
}

#[tokio::test]
async fn what_is_not_named_of_how_it_is_sent_stays_as_it_is_and_a_limit_is_taken_away_by_name() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let card = PutEndpoint {
        shape: Some(EndpointShape::Slack),
        sending: SendingChange {
            headers: Some(BTreeMap::from([("x-a".to_owned(), "1".to_owned())])),
            ..Default::default()
        },
        ..put("https://hooks.slack.example/x")
    };
    let saved = endpoints::put(&desk, card.clone()).await.unwrap().endpoint;
    let made = saved.sending.unwrap();
    assert_eq!((made.rate_per_s, made.timeout_ms), (Some(1), 15_000));
    let changed = |version, sending| PutEndpoint {
        version: Some(version),
        sending,
        ..card.clone()
    };
    let slower = SendingChange {
        timeout_ms: Some(9_000),
        ..Default::default()
    };
    let saved = endpoints::put(&desk, changed(1, slower)).await.unwrap();
    let after = saved.endpoint.sending.unwrap();
    assert_eq!((after.rate_per_s, after.timeout_ms), (Some(1), 9_000));
    assert_eq!(after.headers.len(), 1, "headers that nobody touched stay");
    let free = SendingChange {
        rate_per_s: Some(0),
        ..Default::default()
    };
    let saved = endpoints::put(&desk, changed(2, free)).await.unwrap();
    let after = saved.endpoint.sending.unwrap();
    assert_eq!((after.rate_per_s, after.timeout_ms), (None, 9_000));
}

#[tokio::test]
async fn an_endpoint_that_refuses_our_key_says_so() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::saying(|_, _| Say::Code(401)).await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 8).await;
    wait_until("it says that its key is refused", SOON, async || {
        let list = endpoints::list(&desk, Empty {}).await.unwrap();
        let row = list.rows.iter().find(|r| r.destination_id == made.id);
        row.is_some_and(|r| {
            r.state == EndpointState::Failing && r.why.as_deref() == Some("refuses_key")
        })
    })
    .await;
    worker.close().await;
}
