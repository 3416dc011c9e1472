//! The list of deliveries, and the page of one.

use bizing_engine::app::deliveries;
use bizing_engine::app::wire::*;
use serde_json::json;
use uuid::Uuid;

use super::super::sink::{Say, Sink};
use super::super::{Hooks, message_id};
use super::{made, put};

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
async fn a_try_is_shown_as_it_was_sent_though_its_endpoint_is_another_today() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let (old, new) = (Sink::start().await, Sink::start().await);
    let (endpoint, _) = made(&desk, &old.url()).await;
    let id = endpoint.row.destination_id;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 1).await;
    let before = old.wait_for(1).await.remove(0);
    hooks.wait_for_states(id, &[("delivered", 1)]).await;
    let change = PutEndpoint {
        destination_id: id,
        version: Some(1),
        shape: Some(EndpointShape::Slack),
        ..put(&new.url())
    };
    bizing_engine::app::endpoints::put(&desk, change)
        .await
        .unwrap();

    let all = deliveries::list(
        &desk,
        ListDeliveries {
            filter: DeliveryFilter::default(),
            after: None,
            limit: 10,
        },
    )
    .await
    .unwrap();
    let ask = GetDelivery {
        delivery_id: all.rows[0].delivery_id,
    };
    let page = deliveries::get(&desk, ask).await.unwrap();
    let first = &page.tries[0];
    assert_eq!(
        (first.url.as_deref(), first.shape),
        (Some(old.url().as_str()), EndpointShape::Event)
    );
    let sent = page.bodies.iter().find(|b| b.shape == first.shape).unwrap();
    assert_eq!(sent.body.as_bytes(), &before.body[..]);
    let signed = format!(
        "{}.{}.{}",
        before.id(),
        before.header("webhook-timestamp"),
        sent.body
    );
    assert_eq!(page.signature.unwrap().base_string, signed);
    // What would be sent now is something else.
    assert_eq!(page.url.as_deref(), Some(new.url().as_str()));
    assert_ne!(page.body.as_deref(), Some(sent.body.as_str()));
    worker.close().await;
}

/// One delivery for each word that tries are recorded with, among many that went through.
async fn failed_in_every_way(hooks: &Hooks) -> Uuid {
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    let superuser = hooks.desk.db.superuser_pool().await;
    for statement in [
        "insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, give_up_at, state, finished_at)
         select $1, 'CalendarSynced', gen_random_uuid(), 1, 'booking-x', gen_random_uuid(), 'infinity', 'delivered', now() from generate_series(1, 20000)",
        "insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, give_up_at, attempt, last_class, last_ms)
         select $1, 'CalendarSynced', gen_random_uuid(), 1, 'booking-x', gen_random_uuid(), 'infinity', 1, word, 100 * n
           from unnest('{no_such_name,dns,connect,tls,certificate,timeout,closed,protocol,interrupted,blocked_address,too_large,status,redirect,gone}'::text[])
                with ordinality as w(word, n)",
    ] {
        sqlx::query(statement)
            .bind(id)
            .execute(&superuser)
            .await
            .unwrap();
    }
    sqlx::query("analyze delivery.deliveries")
        .execute(&superuser)
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn a_delivery_is_found_by_why_it_failed_without_looking_through_the_others() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    failed_in_every_way(&hooks).await;
    let took = async |errors: &[ErrorClass]| {
        let request = ListDeliveries {
            filter: DeliveryFilter {
                errors: errors.to_vec(),
                ..Default::default()
            },
            after: None,
            limit: 100,
        };
        let found = deliveries::list(&desk, request).await.unwrap();
        assert_eq!(found.matching.count, found.rows.len() as i64);
        let mut took: Vec<_> = found.rows.iter().filter_map(|r| r.total_ms).collect();
        took.sort();
        took
    };
    let classes: [(ErrorClass, &[u32]); 8] = [
        (ErrorClass::Name, &[100, 200]),
        (ErrorClass::Connect, &[300]),
        (ErrorClass::Tls, &[400, 500]),
        (ErrorClass::Timeout, &[600]),
        (ErrorClass::Broken, &[700, 800, 900]),
        (ErrorClass::Blocked, &[1_000]),
        (ErrorClass::TooLarge, &[1_100]),
        (ErrorClass::Answer, &[1_200, 1_300, 1_400]),
    ];
    for (class, expected) in classes {
        assert_eq!(took(&[class]).await, expected, "{class:?}");
    }
    assert_eq!(took(&classes.map(|c| c.0)).await.len(), 14, "all of them");

    let plan: serde_json::Value = sqlx::query_scalar(
        "explain (format json) select * from read.deliveries_v2 x where true and x.last_class = any('{timeout}') order by delivery_id desc limit 101",
    )
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    assert!(plan.to_string().contains("deliveries_failed"), "{plan:#}");
}
