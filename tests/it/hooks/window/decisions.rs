//! One decision for many deliveries.

use bizing_engine::app::deliveries;
use bizing_engine::app::wire::*;
use uuid::Uuid;

use super::super::sink::{Say, Sink};
use super::super::{Hooks, SOON, wait_until};
use super::{field, made};

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
    let too_long = StartRedelivery {
        reason: "x".repeat(1_001),
        bulk_id: Uuid::now_v7(),
        ..start.clone()
    };
    let refused = deliveries::start(&desk, too_long).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.field.as_deref()),
        (Code::Invalid, Some("reason")),
        "it is refused at its field, and not cut"
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
async fn a_search_in_payloads_says_how_far_it_looks_and_decides_nothing_about_the_rest() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let (endpoint, _) = made(&desk, "https://hooks.example.com/in").await;
    sqlx::query(
        "insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, give_up_at, state, finished_at)
         select $1, 'CalendarSynced', gen_random_uuid(), -n, 'booking-x', gen_random_uuid(), 'infinity', 'gave_up', now() from generate_series(1, 100001) n",
    )
    .bind(endpoint.row.destination_id)
    .execute(&hooks.desk.db.superuser_pool().await)
    .await
    .unwrap();
    let mut filter = DeliveryFilter {
        payload: Some(serde_json::json!({ "mode": "link" })),
        ..Default::default()
    };
    for (since, partial) in [(None, true), (Some(chrono::Utc::now()), false)] {
        filter.since = since;
        let list = ListDeliveries {
            filter: filter.clone(),
            after: None,
            limit: 10,
        };
        let list = deliveries::list(&desk, list).await.unwrap();
        assert_eq!(list.looked_since.is_some(), partial);
        let ask = PreviewRedelivery {
            action: BulkAction::Redeliver,
            filter: filter.clone(),
        };
        let refused = deliveries::preview(&desk, ask).await.unwrap().refused;
        let told = refused.is_some_and(|r| r.contains("the newest 100000 deliveries"));
        assert_eq!(told, partial);
    }
}
