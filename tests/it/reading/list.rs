//! The list of bookings: every sorting, every filter, and 100,000 of them.

use std::collections::HashSet;

use bizing_engine::app::bookings::list::list;
use bizing_engine::app::desk::Desk;
use bizing_engine::app::wire::*;
use bizing_engine::app::{catalogue, demo};
use chrono::Utc;
use uuid::Uuid;

use super::{desk, viewer};
use crate::projection::seeded;

pub(super) fn ask(sort: BookingSort, descending: bool, limit: u32) -> ListBookings {
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

pub(super) async fn all(desk: &Desk, mut request: ListBookings) -> (Vec<BookingRow>, BookingList) {
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

    // Ids of the provider and references are found by how they begin.
    let (paid, intent): (Uuid, String) = sqlx::query_as(
        "select booking_id, payment_intent from read.bookings_v1 where length(payment_intent) > 12 order by payment_intent limit 1",
    )
    .fetch_one(&desk.people)
    .await
    .unwrap();
    for begins in [&intent[..], &intent[..intent.len() - 1]] {
        let found = of(ListBookings {
            search: Some(begins.to_uppercase()),
            ..base.clone()
        })
        .await;
        assert!(found.iter().any(|r| r.booking_id == paid), "{begins}");
        assert!(found.len() < everything.len(), "{begins}");
    }
    for begins in [&one.reference[..6], &one.reference[3..6]] {
        let found = of(ListBookings {
            search: Some(begins.to_lowercase()),
            ..base.clone()
        })
        .await;
        assert!(
            found.iter().any(|r| r.booking_id == one.booking_id),
            "{begins}"
        );
        assert!(found.len() < everything.len(), "{begins}");
    }
    for nothing in ["'; drop", "pi_%", "\\", "a'b:*", "&|!()"] {
        let found = of(ListBookings {
            search: Some(nothing.to_owned()),
            ..base.clone()
        })
        .await;
        assert!(found.is_empty(), "{nothing}");
    }

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
        "insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, booking_id, amount_minor, currency, correlation_id, started_by, outcome, finished_at, \"cursor\")
         select gen_random_uuid(), 'booking', 1, 'x' || booking_id, 'completed', booking_id, price_minor, currency, correlation_id, 'x', 'completed', now(), 5
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
