use bizing_stripe::EventRecord;

use crate::support::*;

#[tokio::test]
async fn a_cursor_walks_all_events_once_in_order() {
    let world = world().await;
    let first = world.stripe.events_after(None, &[], 100).await.unwrap();
    assert!(first.events.is_empty());
    let behind = now() - first.answered_at.expect("every answer has a date");
    assert!((0..=2).contains(&behind), "{behind}");
    world.captured("a").await;
    let start = all_events(&world.stripe).await.remove(0);
    assert_eq!(start.kind, "payment_intent.created");
    for n in 0..12 {
        let held = world.authorised(&format!("k{n}")).await;
        refused(
            world
                .stripe
                .send(&refund(&held.id, 1), &format!("r{n}"))
                .await,
        );
    }
    let mut cursor = start.id.clone();
    let mut walked: Vec<EventRecord> = vec![start];
    loop {
        let page = world
            .stripe
            .events_after(Some(&cursor), &[], 7)
            .await
            .unwrap()
            .events;
        let Some(last) = page.last() else { break };
        cursor = last.id.clone();
        walked.extend(page);
    }
    let all = all_events(&world.stripe).await;
    let ids = |events: &[EventRecord]| events.iter().map(|e| e.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&walked), ids(&all));
    assert_eq!(all.len(), 5 + 12 * 3);
    assert!(all.is_sorted_by_key(|event| event.created));
    let kinds: Vec<&str> = all
        .iter()
        .take(5)
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.amount_capturable_updated",
            "charge.captured",
            "payment_intent.succeeded"
        ]
    );
}

#[tokio::test]
async fn only_the_types_asked_for_come() {
    let world = world().await;
    let taken = world.captured("k").await;
    let types = ["payment_intent.succeeded", "refund.created"];
    let events = world
        .stripe
        .events_after(None, &types, 10)
        .await
        .unwrap()
        .events;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind.as_str(), events[0].object_id.as_deref()),
        (types[0], Some(taken.id.as_str()))
    );
    assert!(events[0].api_version.is_some());
    refunded(world.stripe.send(&refund(&taken.id, 8000), "r").await);
    let newer = world
        .stripe
        .events_after(Some(&events[0].id), &types, 10)
        .await
        .unwrap();
    assert_eq!(
        newer
            .events
            .iter()
            .map(|e| e.kind.as_str())
            .collect::<Vec<_>>(),
        ["refund.created"]
    );
}

#[tokio::test]
async fn a_cursor_that_stripe_has_forgotten_is_refused() {
    let world = world().await;
    assert_eq!(
        refused(world.stripe.events_after(Some("evt_gone"), &[], 10).await),
        "resource_missing"
    );
}
