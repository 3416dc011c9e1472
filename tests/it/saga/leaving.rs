//! What a window says that is closed in mid-payment.

use std::time::Duration;

use bizing_engine::app::session;
use bizing_engine::app::wire::{CreateBooking, Empty, Leaving};
use bizing_sandbox::{Fault, Rule};

use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

#[tokio::test]
async fn a_window_knows_what_is_with_the_provider_while_it_is_and_who_else_works() {
    let t = TestDesk::new().await;
    let here = t.work().await;
    let desk = t.desk(Some(here.worker.clone()));
    let looked = async || session::leaving(&desk, Empty {}).await.unwrap();
    let alone = |with_provider| Leaving {
        with_provider,
        elsewhere: false,
    };
    assert_eq!(looked().await, alone(0));

    t.sandbox
        .faults()
        .add(Rule::nth("create_intent", 1, Fault::Late { ms: 4_000 }));
    let request = CreateBooking {
        payment_method: Some("pm_card_visa".to_owned()),
        ..booking(&slot(0))
    };
    let booked = t.book(&desk, request).await;
    wait_until(
        "it is with the provider",
        Duration::from_secs(3),
        || async { looked().await == alone(1) },
    )
    .await;
    // A window that works for nobody cuts nothing short.
    let shows_only = session::leaving(&t.desk(None), Empty {}).await.unwrap();
    assert_eq!((shows_only.with_provider, shows_only.elsewhere), (0, true));

    let other = t.work().await;
    assert!(looked().await.elsewhere);
    t.wait_for_saga(booked.booking_id, "completed").await;
    assert_eq!(looked().await.with_provider, 0);
    other.tasks.shut_down().await;
    other.worker.release().await;
    assert_eq!(looked().await, alone(0));
    here.tasks.shut_down().await;
}
