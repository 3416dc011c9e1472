//! What a person sees of the inbox, and who may do what with it.

use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::inbox;
use bizing_engine::app::wire::*;
use bizing_engine::webhook::inbox::{Came, Refused, Sent, Verdict, keep, refuse};
use bizing_stripe::webhook::Seal;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{event, record};
use crate::support::desk::TestDesk;

fn sent() -> Sent {
    Sent {
        bytes: 1234,
        sha256: [7; 32],
        secrets: 2,
        receiver: "server-2".to_owned(),
    }
}

fn refused(verdict: Verdict) -> Refused<'static> {
    Refused {
        verdict,
        seal: None,
        skew_s: None,
        claims: None,
        problem: "no signature in the header is made with one of our secrets".to_owned(),
    }
}

/// Six arrivals: two kept by webhook, one of them twice, one by poll, one forged, one too old.
async fn filled(t: &TestDesk) {
    let mut conn = t.worker_pool.acquire().await.unwrap();
    let seal = Seal {
        secret_no: 2,
        signed_at: chrono::Utc::now().timestamp(),
    };
    let object = |id: &str| json!({ "id": id, "object": "payment_intent", "receipt_email": "ines@example.com" });
    let a = record(&event("evt_a", "payment_intent.succeeded", object("pi_a")));
    let b = record(&event("evt_b", "moon.phase_changed", object("pi_b")));
    let c = record(&event("evt_c", "charge.captured", object("ch_c")));
    let webhook = sent();
    keep(
        &mut conn,
        std::slice::from_ref(&a),
        Came::Webhook(&webhook, seal),
    )
    .await
    .unwrap();
    keep(
        &mut conn,
        std::slice::from_ref(&a),
        Came::Webhook(&webhook, seal),
    )
    .await
    .unwrap();
    keep(
        &mut conn,
        std::slice::from_ref(&b),
        Came::Webhook(&webhook, seal),
    )
    .await
    .unwrap();
    keep(&mut conn, &[a.clone(), c.clone(), c], Came::Poll)
        .await
        .unwrap();
    assert!(
        refuse(&mut conn, &webhook, &refused(Verdict::Forged))
            .await
            .unwrap()
    );
    let too_old = Refused {
        seal: Some(seal),
        skew_s: Some(408.0),
        claims: Some(&a),
        ..refused(Verdict::TooOld)
    };
    assert!(refuse(&mut conn, &webhook, &too_old).await.unwrap());
    drop(conn);
    bizing_engine::webhook::inbox::process(&t.worker_pool, 100)
        .await
        .unwrap();
}

async fn list(desk: &Desk, filter: Value) -> InboxList {
    let request = json!({ "filter": filter, "limit": 50 });
    inbox::list(desk, serde_json::from_value(request).unwrap())
        .await
        .unwrap()
}

fn shown(list: &InboxList) -> Vec<String> {
    list.rows
        .iter()
        .map(|r| {
            format!(
                "{} {:?} {:?}",
                r.external_id.as_deref().unwrap_or("-"),
                r.check,
                r.result
            )
        })
        .collect()
}

#[tokio::test]
async fn each_arrival_shows_how_it_came_and_what_became_of_it() {
    let t = TestDesk::new().await;
    filled(&t).await;
    let desk = t.desk(None);
    let all = list(&desk, json!({})).await;
    let expected = [
        "evt_a TooOld NotTaken",
        "- Forged NotTaken",
        "evt_c Asked NotOurs",
        "evt_b Genuine Kept",
        "evt_a Genuine Duplicate",
        "evt_a Genuine NotOurs",
    ];
    assert_eq!(shown(&all), expected);
    let c = &all.counts;
    assert_eq!(
        (
            c.today,
            c.done_today,
            c.duplicates_today,
            c.refused_today,
            c.waiting,
            c.quarantined
        ),
        (6, 3, 1, 2, 0, 0)
    );

    let some = |filter: Value| async { shown(&list(&desk, filter).await) };
    assert_eq!(
        some(json!({ "results": ["duplicate", "not_taken"] })).await,
        [expected[0], expected[1], expected[4]]
    );
    assert_eq!(some(json!({ "results": ["kept"] })).await, [expected[3]]);
    assert_eq!(
        some(json!({ "results": ["quarantined", "waiting"] })).await,
        Vec::<String>::new()
    );
    assert_eq!(some(json!({ "via": "poll" })).await, [expected[2]]);
    assert_eq!(
        some(json!({ "kinds": ["moon.phase_changed"] })).await,
        [expected[3]]
    );
    assert_eq!(some(json!({ "search": " ch_c " })).await, [expected[2]]);
    assert_eq!(
        some(json!({ "search": "evt_a" })).await,
        [expected[0], expected[4], expected[5]]
    );
    assert_eq!(
        some(json!({ "payload": { "data": { "object": { "id": "pi_b" } } } })).await,
        [expected[3]]
    );

    // Page after page, nothing twice and nothing left out.
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let request = json!({ "filter": {}, "limit": 4, "after": after });
        let page = inbox::list(&desk, serde_json::from_value(request).unwrap())
            .await
            .unwrap();
        pages.extend(shown(&page));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, expected);

    let old = inbox::get(
        &desk,
        GetArrival {
            arrival_id: all.rows[0].arrival_id,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (
            old.skew_s,
            old.secret_no,
            old.secrets,
            old.receiver.as_deref()
        ),
        (Some(408.0), Some(2), Some(2), Some("server-2"))
    );
    let steps: Vec<&str> = old.steps.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(
        steps,
        ["kept", "came_again", "refused", "not_ours"],
        "the same event came by itself as well"
    );
    assert!(old.raw.is_none() && old.reprocess_refused.is_some());
}

#[tokio::test]
async fn who_paid_is_shown_to_staff_and_only_managers_have_it_processed_again() {
    let t = TestDesk::new().await;
    filled(&t).await;
    let mut shown = Vec::new();
    for (login, group) in [
        ("viewer", Group::Viewer),
        ("staff", Group::Staff),
        ("manager", Group::Manager),
    ] {
        let whole = t.desk(None);
        let desk = Desk(Arc::new(DeskParts {
            vault: Default::default(),
            people: t.db.pool(login).await,
            group,
            bell: whole.bell.clone(),
            hints: whole.hints.clone(),
            installation: whole.installation.clone(),
            profile: whole.profile,
            read_only: None,
            works_here: None,
            sandbox_url: None,
            connections: Connections {
                stripe_set: true,
                mail_set: true,
            },
            backups: None,
            maker: None,
            examiner: Default::default(),
            log_change: None,
            log_id: None,
            policy: whole.policy.clone(),
            silent: Default::default(),
        }));
        let all = list(&desk, json!({})).await;
        let last = all.rows.last().unwrap().arrival_id;
        let page = inbox::get(&desk, GetArrival { arrival_id: last })
            .await
            .unwrap();
        let again = inbox::reprocess(
            &desk,
            Reprocess {
                arrival_ids: vec![last],
                reason: "to see".to_owned(),
            },
        )
        .await;
        shown.push((
            page.raw.is_some_and(|raw| raw.contains("ines@example.com")),
            page.reprocess_refused.is_none(),
            again.is_ok(),
        ));
    }
    assert_eq!(
        shown,
        [
            (false, false, false),
            (true, false, false),
            (true, true, true)
        ]
    );
}

#[tokio::test]
async fn whoever_sends_nonsense_fills_no_disk() {
    let t = TestDesk::new().await;
    // In one transaction, whose time stands still: all of it comes within a minute, however long it takes.
    let mut conn = t.worker_pool.begin().await.unwrap();
    let mut written = 0;
    for _ in 0..200 {
        written += u32::from(
            refuse(&mut conn, &sent(), &refused(Verdict::Forged))
                .await
                .unwrap(),
        );
    }
    assert_eq!(written, 60, "a minute's worth");
    let bytes: Option<i64> =
        sqlx::query_scalar("select sum(pg_column_size(a))::bigint from delivery.arrivals a")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    assert!(bytes.unwrap() < 30_000, "no body is kept: {bytes:?}");
}

#[tokio::test]
async fn old_arrivals_are_forgotten_and_what_waits_is_not() {
    let t = TestDesk::new().await;
    filled(&t).await;
    let root = t.db.superuser_pool().await;
    sqlx::raw_sql(
        "update delivery.arrivals set received_at = now() - interval '40 days';
         update delivery.inbox set received_at = now() - interval '100 days';
         update delivery.inbox set state = 'quarantined', processed_at = null where external_id = 'evt_b';",
    )
    .execute(&root)
    .await
    .unwrap();
    while bizing_engine::webhook::inbox::forget(&t.worker_pool, 1)
        .await
        .unwrap()
        > 0
    {}
    let left: (i64, Vec<String>) =
        sqlx::query_as("select (select count(*) from delivery.arrivals), array(select external_id from delivery.inbox)").fetch_one(&root).await.unwrap();
    assert_eq!(
        left,
        (4, vec!["evt_b".to_owned()]),
        "refused ones go after 30 days, others after 90"
    );
}
