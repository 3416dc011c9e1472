//! What the window asks, over the demo business.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bizing_engine::app::bookings::{list::list, page::page};
use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::wire::*;
use bizing_engine::app::{catalogue, customers, demo, messages, session};
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

fn ask(sort: BookingSort, descending: bool, limit: u32) -> ListBookings {
    ListBookings {
        search: None,
        states: vec![],
        payments: vec![],
        service_id: None,
        resource_id: None,
        from: None,
        to: None,
        sort,
        descending,
        after: None,
        limit,
    }
}

async fn all(desk: &Desk, mut request: ListBookings) -> (Vec<BookingRow>, BookingList) {
    let mut rows = vec![];
    loop {
        let page = list(desk, request.clone()).await.unwrap();
        rows.extend(page.rows.clone());
        request.after = page.next.clone();
        if request.after.is_none() {
            return (rows, page);
        }
    }
}

#[tokio::test]
async fn each_sorting_gives_every_booking_once_ties_included() {
    let (_s, desk) = viewer().await;
    for sort in [
        BookingSort::Starts,
        BookingSort::Changed,
        BookingSort::Customer,
        BookingSort::Price,
        BookingSort::Reference,
    ] {
        for descending in [false, true] {
            let (rows, last) = all(&desk, ask(sort, descending, 7)).await;
            let ids: HashSet<_> = rows.iter().map(|r| r.booking_id).collect();
            assert_eq!(
                (rows.len() as i64, ids.len()),
                (last.total, rows.len()),
                "{sort:?} {descending}"
            );
            assert_eq!(last.matched, last.total);
            if sort == BookingSort::Price {
                // Many bookings share a price, so pages end between ties.
                let prices: Vec<_> = rows.iter().map(|r| r.price.amount_minor).collect();
                assert!(if descending {
                    prices.iter().rev().is_sorted()
                } else {
                    prices.is_sorted()
                });
                assert!(prices.iter().collect::<HashSet<_>>().len() < 12);
            }
        }
    }
}

#[tokio::test]
async fn filters_mean_what_they_say() {
    let (_s, desk) = viewer().await;
    let (everything, _) = all(&desk, ask(BookingSort::Starts, false, 1000)).await;
    let of = |request: ListBookings| {
        let desk = desk.clone();
        async move {
            let page = list(
                &desk,
                ListBookings {
                    limit: 1000,
                    ..request
                },
            )
            .await
            .unwrap();
            assert_eq!(page.matched, page.rows.len() as i64);
            page.rows
        }
    };
    let base = ask(BookingSort::Starts, false, 1000);

    let cancelled = of(ListBookings {
        states: vec![BookingState::Cancelled],
        ..base.clone()
    })
    .await;
    assert!(!cancelled.is_empty() && cancelled.iter().all(|r| r.state == BookingState::Cancelled));
    let refund = of(ListBookings {
        payments: vec![PaymentState::RefundFailed],
        ..base.clone()
    })
    .await;
    assert_eq!(refund.len(), 1);
    assert_eq!(
        of(ListBookings {
            payments: vec![PaymentState::Unknown],
            ..base.clone()
        })
        .await
        .len(),
        0
    );

    let one = &everything[everything.len() / 2];
    let found = of(ListBookings {
        search: Some(one.reference.to_lowercase()),
        ..base.clone()
    })
    .await;
    assert_eq!(
        found.iter().map(|r| r.booking_id).collect::<Vec<_>>(),
        [one.booking_id]
    );
    let by_name = of(ListBookings {
        search: Some(one.customer.name.to_uppercase()),
        ..base.clone()
    })
    .await;
    assert!(
        by_name.iter().any(|r| r.booking_id == one.booking_id)
            && by_name.iter().all(|r| r.customer.name == one.customer.name)
    );
    assert!(
        of(ListBookings {
            search: Some("100%_".into()),
            ..base.clone()
        })
        .await
        .is_empty()
    );

    // Two signs begin a word of the name, the address or the number.
    let short = of(ListBookings {
        search: Some("IN".into()),
        ..base.clone()
    })
    .await;
    let begins = |name: &str| {
        name.to_lowercase()
            .split([' ', '-'])
            .any(|w| w.starts_with("in"))
    };
    assert!(
        everything
            .iter()
            .filter(|r| begins(&r.customer.name))
            .all(|r| short.iter().any(|s| s.booking_id == r.booking_id))
    );
    let one_sign = of(ListBookings {
        search: Some(one.reference[3..4].to_lowercase()),
        ..base.clone()
    })
    .await;
    assert!(
        one_sign
            .iter()
            .all(|r| r.reference[..4] == one.reference[..4])
            && !one_sign.is_empty()
    );

    let date = one.starts.wall[..10].to_owned();
    let day = of(ListBookings {
        from: Some(date.clone()),
        to: Some(date.clone()),
        ..base.clone()
    })
    .await;
    let expected = everything
        .iter()
        .filter(|r| r.starts.wall.starts_with(&date))
        .count();
    assert_eq!(day.len(), expected);
    let staff = of(ListBookings {
        resource_id: Some(one.resources[0].id),
        service_id: Some(one.service.id),
        ..base.clone()
    })
    .await;
    assert!(
        staff
            .iter()
            .all(|r| r.resources[0] == one.resources[0] && r.service == one.service)
    );

    for (request, field) in [
        (
            ListBookings {
                limit: 0,
                ..base.clone()
            },
            "limit",
        ),
        (
            ListBookings {
                limit: 1001,
                ..base.clone()
            },
            "limit",
        ),
        (
            ListBookings {
                from: Some("24.11.2026".into()),
                ..base.clone()
            },
            "from",
        ),
        (
            ListBookings {
                from: Some("2026-11-24".into()),
                to: Some("2026-11-23".into()),
                ..base.clone()
            },
            "to",
        ),
        (
            ListBookings {
                after: Some("x".into()),
                ..base.clone()
            },
            "after",
        ),
    ] {
        let error = list(&desk, request).await.unwrap_err();
        assert_eq!(
            (error.code, error.field.as_deref()),
            (Code::Invalid, Some(field))
        );
    }
}

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
        let cancel = page
            .actions
            .iter()
            .find(|a| a.name == "cancel_booking")
            .unwrap();
        assert!(cancel.refused.is_some());
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

/// `cargo test --no-default-features --test it -- --ignored --nocapture the_list_at_100_000_bookings`
#[tokio::test]
#[ignore = "a measurement to be run by hand on a quiet machine; it asserts nothing"]
async fn the_list_at_100_000_bookings() {
    let s = seeded().await;
    let started = std::time::Instant::now();
    s.follow().await;
    println!("projections of the demo: {:?}", started.elapsed());
    let db = crate::support::db::TestDb::new().await;
    let (admin, worker) = (db.pool("admin").await, db.pool("worker").await);
    let started = std::time::Instant::now();
    demo::seed(&admin, &worker, Utc::now()).await.unwrap();
    println!("seeding the demo: {:?}", started.elapsed());
    let people = s.db.pool("viewer").await;
    let desk = desk(&s, people, Group::Viewer);
    let superuser = s.db.superuser_pool().await;
    for sql in [
        "insert into p_bookings_g1.bookings
         select (jsonb_populate_record(b, jsonb_build_object('booking_id', gen_random_uuid(), 'reference', 'BK-' || upper(substr(md5(n::text), 1, 6)),
                   'starts_at', b.starts_at + (n % 700 - 350) * interval '1 day', 'changed_at', b.changed_at - n * interval '7 seconds',
                   'search', 'bk-' || substr(md5(n::text), 1, 6) || chr(10) || lower(b.customer_name) || ' ' || substr(md5(n::text), 7, 5) || chr(10)
                             || substr(md5(n::text), 12, 8) || '@example.com' || chr(10) || '+351 9' || n || chr(10) || 'pi_' || md5(n::text)))).*
           from generate_series(1, 100000) n
           join (select *, row_number() over () as r, count(*) over () as c from p_bookings_g1.bookings) x on x.r = 1 + n % x.c
           join p_bookings_g1.bookings b on b.booking_id = x.booking_id",
        "insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, booking_id, correlation_id, started_by, outcome, finished_at, \"cursor\")
         select gen_random_uuid(), 'booking', 1, 'x' || booking_id, 'completed', booking_id, correlation_id, 'x', 'completed', now(), 5
           from p_bookings_g1.bookings b where not exists (select 1 from saga.instance i where i.booking_id = b.booking_id)",
        "vacuum analyze p_bookings_g1.bookings",
        "vacuum analyze saga.instance",
    ] {
        sqlx::query(sql).execute(&superuser).await.unwrap();
    }
    let catalogue = catalogue::catalogue(&desk, Empty {}).await.unwrap();
    let staff = catalogue.resources[0].resource_id;
    let base = ask(BookingSort::Starts, false, 200);
    let last = list(
        &desk,
        ListBookings {
            sort: BookingSort::Customer,
            ..base.clone()
        },
    )
    .await
    .unwrap();
    for (what, request) in [
        ("first page by start", base.clone()),
        (
            "first page by change, newest first",
            ask(BookingSort::Changed, true, 200),
        ),
        (
            "second page by customer",
            ListBookings {
                sort: BookingSort::Customer,
                after: last.next,
                ..base.clone()
            },
        ),
        ("by reference", ask(BookingSort::Reference, false, 200)),
        ("1,000 by price", ask(BookingSort::Price, true, 1000)),
        (
            "state",
            ListBookings {
                states: vec![BookingState::Cancelled],
                ..base.clone()
            },
        ),
        (
            "payments",
            ListBookings {
                payments: vec![PaymentState::Paid, PaymentState::Refunded],
                ..base.clone()
            },
        ),
        (
            "answer missing",
            ListBookings {
                payments: vec![PaymentState::Unknown],
                ..base.clone()
            },
        ),
        (
            "one week",
            ListBookings {
                from: Some("2027-01-04".into()),
                to: Some("2027-01-10".into()),
                ..base.clone()
            },
        ),
        (
            "one person",
            ListBookings {
                resource_id: Some(staff),
                ..base.clone()
            },
        ),
        (
            "one service",
            ListBookings {
                service_id: Some(catalogue.services[0].service_id),
                ..base.clone()
            },
        ),
        (
            "search a name",
            ListBookings {
                search: Some("carvalho".into()),
                ..base.clone()
            },
        ),
        (
            "search a reference",
            ListBookings {
                search: Some("bk-7a1".into()),
                ..base.clone()
            },
        ),
        (
            "search two signs",
            ListBookings {
                search: Some("ca".into()),
                ..base.clone()
            },
        ),
        (
            "search an intent",
            ListBookings {
                search: Some("pi_c4ca42".into()),
                ..base.clone()
            },
        ),
        (
            "search one sign",
            ListBookings {
                search: Some("7".into()),
                ..base.clone()
            },
        ),
    ] {
        let mut times = vec![];
        let mut matched = 0;
        for _ in 0..7 {
            let asked = std::time::Instant::now();
            matched = list(&desk, request.clone()).await.unwrap().matched;
            times.push(asked.elapsed());
        }
        times.sort();
        println!(
            "{what:38} {:7.1} ms  of {matched}",
            times[3].as_secs_f64() * 1e3
        );
    }
}
