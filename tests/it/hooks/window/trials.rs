//! Messages that are only tried: from the catalogue, to an endpoint.

use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, endpoints};
use serde_json::json;
use uuid::Uuid;

use super::super::Hooks;
use super::super::sink::Sink;
use super::{field, made};

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
