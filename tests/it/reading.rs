//! What the window asks, over the demo business.

mod list;
mod page;

use std::sync::Arc;

use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::wire::*;
use bizing_engine::app::{catalogue, customers, messages, session};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::projection::{Seeded, seeded};

pub fn desk(s: &Seeded, people: PgPool, group: Group) -> Desk {
    Desk(Arc::new(DeskParts {
        people,
        installation: s.db.installation.clone(),
        profile: ProfileKind::Demo,
        group,
        read_only: None,
        bell: Bell::default(),
        hints: Hints::default(),
        works_here: None,
        examiner: Default::default(),
        log_change: None,
        log_id: None,
        sandbox_url: None,
        connections: Connections::default(),
        backups: None,
        maker: None,
        vault: Default::default(),
        policy: Default::default(),
        silent: Default::default(),
    }))
}

pub async fn viewer() -> (Seeded, Desk) {
    let s = seeded().await;
    s.follow().await;
    let people = s.db.pool("viewer").await;
    let desk = desk(&s, people, Group::Viewer);
    (s, desk)
}

#[tokio::test]
async fn session_and_status_tell_how_the_desk_is() {
    let (s, desk) = viewer().await;
    let session = session::session(&desk, Empty {}).await.unwrap();
    assert_eq!(
        (
            session.business_name.as_str(),
            session.zone.as_str(),
            session.currency.as_str()
        ),
        ("Halcyon Lisboa", "Europe/Lisbon", "EUR")
    );
    let status = session::status(&desk, Empty {}).await.unwrap();
    assert_eq!(
        (
            status.database.state,
            status.stripe.state,
            status.mail.state
        ),
        (LampState::Works, LampState::NotSet, LampState::NotSet)
    );
    assert_eq!(
        (
            status.counts.sagas_need_person,
            status.counts.sagas_open,
            status.workers
        ),
        (1, 0, 0)
    );
    assert!(
        status.projections.len() == bizing_engine::projection::ALL.len()
            && status
                .projections
                .iter()
                .all(|p| p.lag_events == 0 && p.parked.is_none())
    );
    sqlx::query("insert into delivery.poll_cursor (source, checked_at) values ('stripe', now())")
        .execute(&s.worker)
        .await
        .unwrap();
    assert_eq!(
        session::status(&desk, Empty {}).await.unwrap().stripe.state,
        LampState::Works
    );
}

#[tokio::test]
async fn free_times_are_free() {
    let (s, desk) = viewer().await;
    let catalogue = catalogue::catalogue(&desk, Empty {}).await.unwrap();
    assert_eq!(
        (catalogue.services.len(), catalogue.resources.len()),
        (10, 10)
    );
    let service = catalogue
        .services
        .iter()
        .find(|x| x.name == "Deep tissue 60")
        .unwrap();
    let mut date = (Utc::now() + chrono::TimeDelta::days(1))
        .date_naive()
        .to_string();
    let mut seen = 0;
    for _ in 0..4 {
        let reply = catalogue::free_times(
            &desk,
            FreeTimes {
                service_id: service.service_id,
                date: date.clone(),
                staff_id: None,
            },
        )
        .await
        .unwrap();
        for time in &reply.times {
            assert!(service.performed_by.contains(&time.staff.id));
            let room = time.room.as_ref().expect("this service needs a room");
            let (from, until): (DateTime<Utc>, DateTime<Utc>) = (
                time.starts.utc,
                time.starts.utc + chrono::TimeDelta::minutes(75),
            );
            let taken: i64 = sqlx::query_scalar(
                "select count(*) from booking.inventory_claim where resource_id = any($1) and during && tstzrange($2, $3) and released_at is null",
            )
            .bind(vec![time.staff.id, room.id])
            .bind(from)
            .bind(until)
            .fetch_one(&s.worker)
            .await
            .unwrap();
            assert_eq!(taken, 0);
            seen += 1;
        }
        date = reply
            .next_date
            .expect("there is a free day within two weeks");
    }
    assert!(seen > 20, "{seen}");
    let wrong = catalogue::free_times(
        &desk,
        FreeTimes {
            service_id: service.service_id,
            date: "soon".into(),
            staff_id: None,
        },
    )
    .await
    .unwrap_err();
    assert_eq!(wrong.field.as_deref(), Some("date"));
}

#[tokio::test]
async fn customers_are_found_by_any_part_of_name_mail_or_number() {
    let (_s, desk) = viewer().await;
    let find = |text: &str| {
        let (desk, search) = (desk.clone(), text.to_owned());
        async move {
            customers::find(&desk, FindCustomers { search, limit: 50 })
                .await
                .unwrap()
        }
    };
    let carvalho = find("carv INÊS").await;
    assert_eq!(carvalho.len(), 1);
    let phone: String = carvalho[0]
        .phone
        .clone()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    assert_eq!(find(&phone).await[0].customer_id, carvalho[0].customer_id);
    assert_eq!(find("nikos@").await[0].name, "Νίκος Αλεξίου");
    assert!(find("i").await.is_empty());
    let all = find("example.com").await;
    assert_eq!(all.len(), 50);
    assert!(all.iter().map(|c| c.last_booking_at).rev().is_sorted());
}

#[tokio::test]
async fn a_sandbox_that_does_not_answer_is_said_and_none_is_an_empty_list() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (s, live) = viewer().await;
    assert!(messages::caught(&live, Empty {}).await.unwrap().is_empty());
    let mut parts = Arc::into_inner(desk(&s, live.people.clone(), Group::Viewer).0).unwrap();
    parts.sandbox_url = Some("http://127.0.0.1:9".to_owned());
    let error = messages::caught(&Desk(Arc::new(parts)), Empty {})
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::SandboxUnreachable);
}
