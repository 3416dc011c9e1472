//! Erasing a person: gone from every place that told who they were, for good, and what happened stays.

use std::sync::Arc;
use std::time::Duration;

use bizing_engine::app::backups::{Room, erase_customer, preview_erasure};
use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::doctor;
use bizing_engine::app::messages::caught;
use bizing_engine::app::wire::{
    Code, CreateBooking, Empty, EraseCustomer, ForCustomer, Group, PreviewErasure, ProfileKind,
};
use bizing_engine::projection::{ERASED, Tail};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use sqlx::PgPool;
use uuid::Uuid;

use crate::projection::{Seeded, seeded};
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

/// A manager's desk on a seeded business.
pub async fn desk(s: &Seeded, backups: Option<Room>) -> Desk {
    desk_of(s, "manager", Group::Manager, backups).await
}

async fn desk_of(s: &Seeded, login: &str, group: Group, backups: Option<Room>) -> Desk {
    Desk(Arc::new(DeskParts {
        maker: None,
        vault: Default::default(),
        people: s.db.pool(login).await,
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
        backups,
        silent: Default::default(),
        policy: Default::default(),
    }))
}

fn request(customer_id: Uuid) -> EraseCustomer {
    EraseCustomer {
        command_id: Uuid::now_v7(),
        customer_id,
        reason: "Asked for it in writing.".to_owned(),
    }
}

/// Somebody with bookings and an address.
async fn somebody(people: &PgPool) -> (Uuid, String, String) {
    sqlx::query_as(
        "select customer_id, name, email from read.customers_v1 where bookings > 0 and email is not null and not erased order by bookings desc, customer_id limit 1",
    )
    .fetch_one(people)
    .await
    .unwrap()
}

async fn shown(
    people: &PgPool,
    customer: Uuid,
) -> (String, Option<String>, Option<String>, bool, String) {
    sqlx::query_as(
        "select name, email, phone, erased, search from read.customers_v1 where customer_id = $1",
    )
    .bind(customer)
    .fetch_one(people)
    .await
    .unwrap()
}

/// In how many rows of the whole database a text still stands, small or capital.
async fn rows_with(superuser: &PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'",
    )
    .fetch_all(superuser)
    .await
    .unwrap();
    let mut found = vec![];
    for table in tables {
        let sql = format!(
            "select count(*) from {table} t where lower(to_jsonb(t)::text) like '%' || lower($1) || '%'"
        );
        let n: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(text)
            .fetch_one(superuser)
            .await
            .unwrap();
        if n > 0 {
            found.push(format!("{table}: {n}"));
        }
    }
    found
}

#[tokio::test]
async fn an_erased_person_is_gone_from_every_view_and_their_bookings_stay() {
    let s = seeded().await;
    s.follow().await;
    let (customer, name, email) = somebody(&s.people).await;
    let desk = desk(&s, None).await;
    let preview = preview_erasure(
        &desk,
        PreviewErasure {
            customer_id: customer,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (preview.customer.name, preview.refused),
        (name.clone(), None)
    );
    assert!(
        preview.fields.contains(&"email".to_owned()) && preview.events >= 1 && preview.bookings > 0
    );

    let erased = erase_customer(&desk, request(customer)).await.unwrap();
    let look = async || {
        let (n, e, p, gone, search) = shown(&s.people, customer).await;
        assert_eq!(
            (n.as_str(), e, p, gone, search.trim()),
            (ERASED, None, None, true, "")
        );
        let bookings: Vec<(String, String)> = sqlx::query_as(
            "select customer_name, search from read.bookings_v1 where customer_id = $1",
        )
        .bind(customer)
        .fetch_all(&s.people)
        .await
        .unwrap();
        assert_eq!(bookings.len() as i64, preview.bookings);
        for (shown, search) in bookings {
            assert_eq!(shown, ERASED);
            assert!(
                search.starts_with("bk-") && !search.contains(&email.to_lowercase()),
                "{search}"
            );
        }
    };
    look().await;
    s.follow().await;
    look().await;
    let superuser = s.db.superuser_pool().await;
    assert_eq!(rows_with(&superuser, &email).await, Vec::<String>::new());

    // From zero again: the same, since there is no key to read them with.
    for name in ["bookings", "customers"] {
        let mut tx = s.worker.begin().await.unwrap();
        bizing_engine::projection::reset(&mut tx, name)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    s.follow().await;
    look().await;
    let report = doctor::run(&s.worker, true).await.unwrap();
    let wrong: Vec<_> = report
        .findings()
        .map(|f| f.name)
        .filter(|n| {
            n.starts_with("stream.") || n.starts_with("customer.") || n.starts_with("projection.")
        })
        .collect();
    assert_eq!(
        wrong,
        Vec::<&str>::new(),
        "the chain is whole: nothing stored was changed\n{report}"
    );

    // Asked again, by a double click or a second person, it is the same erasure.
    let again = erase_customer(&desk, request(customer)).await.unwrap();
    assert_eq!(again, erased);
    let events: i64 =
        sqlx::query_scalar("select count(*) from read.events_v1 where name = 'CustomerErased'")
            .fetch_one(&s.people)
            .await
            .unwrap();
    assert_eq!(events, 1);
    let actor: String =
        sqlx::query_scalar("select actor from read.events_v1 where name = 'CustomerErased'")
            .fetch_one(&s.people)
            .await
            .unwrap();
    assert!(actor.starts_with("test_manager_"), "{actor}");
    let preview = preview_erasure(
        &desk,
        PreviewErasure {
            customer_id: customer,
        },
    )
    .await
    .unwrap();
    assert!(preview.refused.is_some() && preview.fields.is_empty());
}

#[tokio::test]
async fn only_managers_and_admins_erase_and_the_reason_names_nobody() {
    let s = seeded().await;
    s.follow().await;
    let (customer, name, email) = somebody(&s.people).await;
    for (login, group) in [("viewer", Group::Viewer), ("staff", Group::Staff)] {
        let desk = desk_of(&s, login, group, None).await;
        let refused = erase_customer(&desk, request(customer)).await.unwrap_err();
        assert_eq!(
            refused.code,
            Code::Forbidden,
            "{login}: {}",
            refused.message
        );
        let preview = preview_erasure(
            &desk,
            PreviewErasure {
                customer_id: customer,
            },
        )
        .await
        .unwrap();
        assert!(preview.refused.unwrap().contains("manager"));
    }
    let desk = desk(&s, None).await;
    for reason in [
        "too short",
        &format!("{name} asked for it"),
        &format!("a mail from {email} today"),
    ] {
        let bad = EraseCustomer {
            reason: reason.to_string(),
            ..request(customer)
        };
        assert_eq!(
            erase_customer(&desk, bad)
                .await
                .unwrap_err()
                .field
                .as_deref(),
            Some("reason"),
            "{reason}"
        );
    }
    let nobody = erase_customer(&desk, request(Uuid::now_v7()))
        .await
        .unwrap_err();
    assert_eq!(nobody.code, Code::NotFound);
    assert!(
        !shown(&s.people, customer).await.3,
        "nothing of that erased anybody"
    );
}

#[tokio::test]
async fn what_mail_servers_and_providers_told_of_an_erased_person_goes_too() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let address = "bounce@example.com";
    let booked = t
        .book(
            &desk,
            CreateBooking {
                customer: ForCustomer::New {
                    name: "Bo Lindqvist".to_owned(),
                    email: Some(address.to_owned()),
                    phone: Some("+351 912 345 678".to_owned()),
                },
                ..booking(&slot(0))
            },
        )
        .await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    wait_until(
        "every message is settled",
        Duration::from_secs(20),
        || async {
            sqlx::query_scalar(
                "select not exists (select 1 from delivery.deliveries where finished_at is null)",
            )
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
        },
    )
    .await;
    worker.close().await;
    let tail = Tail::new(t.worker_pool.clone(), Hints::default());
    while tail.round().await.unwrap() {}
    // A notice as Stripe sends it, with the payer in it, and one of another customer.
    let superuser = t.db.superuser_pool().await;
    for (id, booking, email) in [
        ("evt_theirs", booked.booking_id, address),
        ("evt_other", Uuid::now_v7(), "other@example.com"),
    ] {
        sqlx::query("insert into delivery.inbox (source, external_id, kind, object_id, via, payload, state, processed_at) values ('stripe', $1, 'checkout.session.completed', 'cs_1', 'webhook', $2, 'done', now())")
            .bind(id)
            .bind(serde_json::json!({ "id": id, "data": { "object": { "id": "cs_1", "status": "complete", "metadata": { "booking_id": booking },
                "customer_details": { "email": email, "name": "Bo Lindqvist" } } } }))
            .execute(&superuser)
            .await
            .unwrap();
    }
    // What somebody wrote when they decided the saga.
    sqlx::query(
        "insert into saga.command (command_id, saga_id, action, expected_version, params, reason, requested_by)
         select gen_random_uuid(), saga_id, 'note', version, jsonb_build_object('evidence', 'wrote to ' || $2), 'Asked ' || $2 || ' by mail', 'somebody'
           from saga.instance where booking_id = $1",
    )
    .bind(booked.booking_id)
    .bind(address)
    .execute(&superuser)
    .await
    .unwrap();
    let customer: Uuid =
        sqlx::query_scalar("select customer_id from read.bookings_v1 where booking_id = $1")
            .bind(booked.booking_id)
            .fetch_one(&t.people)
            .await
            .unwrap();
    erase_customer(&desk, request(customer)).await.unwrap();
    while tail.round().await.unwrap() {}

    let reason: String =
        sqlx::query_scalar("select reason from saga.command where action = 'note'")
            .fetch_one(&superuser)
            .await
            .unwrap();
    assert_eq!(reason, "Asked (address) by mail");
    assert_eq!(rows_with(&superuser, address).await, Vec::<String>::new());
    assert_eq!(
        rows_with(&superuser, "912 345 678").await,
        Vec::<String>::new()
    );
    assert_eq!(
        rows_with(&superuser, "Lindqvist").await,
        ["delivery.inbox: 1"],
        "of the other customer"
    );
    let kept: String = sqlx::query_scalar("select payload #>> '{data,object,status}' from delivery.inbox where external_id = 'evt_theirs'")
        .fetch_one(&superuser)
        .await
        .unwrap();
    assert_eq!(kept, "complete");
}

#[tokio::test]
async fn the_sandboxs_mailbox_forgets_an_erased_person_and_nobody_else() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    for (n, name) in [(0, "Marta"), (1, "Inês")] {
        let customer = ForCustomer::New {
            name: name.to_owned(),
            email: Some(format!(
                "{}@example.com",
                name.to_lowercase().replace('ê', "e")
            )),
            phone: None,
        };
        let booked = t
            .book(
                &desk,
                CreateBooking {
                    customer,
                    ..booking(&slot(n))
                },
            )
            .await;
        t.wait_for_saga(booked.booking_id, "completed").await;
    }
    let tail = Tail::new(t.worker_pool.clone(), Hints::default());
    while tail.round().await.unwrap() {}
    let receivers = async || {
        let mut to: Vec<String> = caught(&desk, Empty {})
            .await
            .unwrap()
            .into_iter()
            .flat_map(|m| m.to)
            .collect();
        to.sort();
        to
    };
    assert_eq!(receivers().await, ["ines@example.com", "marta@example.com"]);
    let marta: Uuid =
        sqlx::query_scalar("select customer_id from read.customers_v1 where name = 'Marta'")
            .fetch_one(&t.people)
            .await
            .unwrap();
    erase_customer(&desk, request(marta)).await.unwrap();
    assert_eq!(receivers().await, ["ines@example.com"]);
    worker.close().await;
}
