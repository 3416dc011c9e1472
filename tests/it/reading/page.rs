//! The pages of the demo's bookings add up, and the demo itself is sound.

use std::collections::{HashMap, HashSet};

use bizing_engine::app::bookings::page::page;
use bizing_engine::app::demo;
use bizing_engine::app::wire::*;
use chrono::Utc;

use super::list::{all, ask};
use super::viewer;
use crate::projection::seeded;

#[tokio::test]
async fn every_demo_booking_has_a_page_that_adds_up() {
    let (_s, desk) = viewer().await;
    let (rows, _) = all(&desk, ask(BookingSort::Starts, false, 1000)).await;
    let mut states: HashMap<String, usize> = HashMap::new();
    for row in &rows {
        let page = page(
            &desk,
            GetBooking {
                booking: row.reference.to_lowercase(),
            },
        )
        .await
        .unwrap();
        assert_eq!(&page.row, row);
        assert_eq!(
            page.money.kept.amount_minor,
            page.money.captured.amount_minor - page.money.refunded.amount_minor
        );
        assert!(!page.money.unknown);
        let saga = page.saga.unwrap();
        assert_eq!(
            saga.steps.iter().map(|s| s.state).collect::<Vec<_>>(),
            row.steps
        );
        let ids: HashSet<_> = page.timeline.iter().map(|i| i.id.clone()).collect();
        assert_eq!(ids.len(), page.timeline.len());
        assert!(
            page.timeline
                .iter()
                .all(|i| i.caused_by.as_ref().is_none_or(|c| ids.contains(c)))
        );
        assert_eq!(
            page.timeline
                .iter()
                .filter(|i| i.kind == TimelineKind::Event)
                .count() as i64,
            page.version
        );
        // What is confirmed can be given up under its terms; of the others none can be stopped any more.
        let stop = page
            .actions
            .iter()
            .find(|a| a.name == "cancel_booking" || a.name == "give_up_booking")
            .unwrap();
        assert!(stop.name == "give_up_booking" || stop.refused.is_some());
        *states
            .entry(format!("{:?}", row.saga_state.unwrap()))
            .or_default() += 1;
        if saga.state == SagaState::NeedsPerson {
            assert!(matches!(saga.waits_for, WaitsFor::Person { .. }));
            assert_eq!(row.payment, PaymentState::RefundFailed);
            assert_eq!(
                row.steps,
                [
                    StepState::Done,
                    StepState::Done,
                    StepState::NeedsPerson,
                    StepState::Undone,
                    StepState::Failed
                ]
            );
            assert_eq!(page.message.unwrap().state, DeliveryState::GaveUp);
        }
    }
    assert!(
        states["Done"] > 100 && states["Undone"] > 5 && states["NeedsPerson"] == 1,
        "{states:?}"
    );

    let missing = page(
        &desk,
        GetBooking {
            booking: "BK-000000".into(),
        },
    )
    .await
    .unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
}

#[tokio::test]
async fn the_demo_passes_the_audits_and_is_dealt_once() {
    let s = seeded().await;
    let again = demo::seed(&s.people, &s.worker, Utc::now()).await.unwrap();
    assert!(!again.seeded);
    s.follow().await;
    let superuser = s.db.superuser_pool().await;
    for (what, sql) in [
        (
            "a cancelled booking keeps no claim",
            "select count(*) from booking.inventory_claim c join p_bookings_g1.bookings b using (booking_id) where c.released_at is null and b.state in ('cancelled', 'expired')",
        ),
        (
            "a confirmed booking has its claims",
            "select count(*) from p_bookings_g1.bookings b where state = 'confirmed' and (select count(*) from booking.inventory_claim c where c.booking_id = b.booking_id and c.released_at is null) <> jsonb_array_length(b.resources)",
        ),
        (
            "a stream's versions have no gap",
            "select count(*) from (select s.version, count(*) n, max(e.version) m from core.streams s join core.events e using (stream_no) group by 1, s.stream_no) x where n <> version or m <> version",
        ),
        (
            "no message is left to be sent",
            "select count(*) from delivery.deliveries where finished_at is null",
        ),
        (
            "no saga is left to be worked on",
            "select count(*) from saga.instance where state in ('running', 'waiting', 'compensating')",
        ),
        (
            "every effect has its answer",
            "select count(*) from saga.effect where resolved_at is null",
        ),
        (
            "refunds are no more than what was captured",
            "select count(*) from p_bookings_g1.bookings where refunded_minor > captured_minor",
        ),
        (
            "each refunded saga refunded what was captured",
            "select count(*) from p_bookings_g1.bookings b join saga.instance i using (booking_id) where i.state = 'compensated' and b.captured_minor <> b.refunded_minor",
        ),
        (
            "each saga is of its own booking",
            "select count(*) from saga.instance i left join p_bookings_g1.bookings b using (booking_id) where b.booking_id is null or b.price_minor <> i.amount_minor",
        ),
        (
            "a delivered message has an attempt that was accepted",
            "select count(*) from delivery.deliveries d where state = 'delivered' and not exists (select 1 from delivery.attempts a where a.delivery_id = d.delivery_id and a.result = 'accepted')",
        ),
    ] {
        let wrong: i64 = sqlx::query_scalar(sql).fetch_one(&superuser).await.unwrap();
        assert_eq!(wrong, 0, "{what}");
    }
}
