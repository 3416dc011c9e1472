//! Messages from before ids rose with time have random ids. The migration that renames them is run again, as it stands in its file, over
//! such rows: lists go by the id, so what is older must come before what is newer, and everything that names a row follows it.

use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::support::desk::{TestDesk, booking, slot};

const FILE: &str = include_str!("../../../migrations/0053_kept_and_shown.sql");

fn renaming() -> &'static str {
    let (from, last) = (
        "create table delivery.renamed",
        "drop table delivery.renamed;",
    );
    let from = FILE.find(from).expect("its beginning");
    &FILE[from..FILE.find(last).expect("its end") + last.len()]
}

/// Of each message: its id, its age in days, its tries and its changes, the oldest first.
async fn messages(pool: &PgPool) -> Vec<(Uuid, i32, i64, i64)> {
    let rows = sqlx::query(
        "select d.delivery_id, (extract(epoch from now() - d.created_at) / 86400)::int as age,
                (select count(*) from delivery.attempts a where a.delivery_id = d.delivery_id) as tries,
                (select count(*) from delivery.changes c where c.delivery_id = d.delivery_id) as changes
           from delivery.deliveries d join delivery.destinations t using (destination_id) where t.kind = 'email' and exists (select from delivery.attempts a where a.delivery_id = d.delivery_id) order by d.created_at",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.iter()
        .map(|r| (r.get(0), r.get(1), r.get(2), r.get(3)))
        .collect()
}

#[tokio::test]
async fn old_messages_are_renamed_by_their_time_and_what_names_them_follows() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    // Two messages each.
    for n in 0..2 {
        let booked = t
            .book(&t.desk(Some(worker.worker.clone())), booking(&slot(n)))
            .await;
        t.wait_for_saga(booked.booking_id, "completed").await;
    }
    worker.close().await;
    let pool = t.db.superuser_pool().await;
    // As they were: random ids, in no order of time, tries and a change that name them; one is being sent, one has an id of today.
    for (n, (id, ..)) in messages(&pool).await.into_iter().enumerate() {
        let random: Uuid = sqlx::query_scalar("select gen_random_uuid()")
            .fetch_one(&pool)
            .await
            .unwrap();
        let old = if n == 3 { id } else { random };
        let age = 40 - 10 * i32::try_from(n).unwrap();
        for text in [
            "update delivery.attempts set delivery_id = $2 where delivery_id = $1",
            "update delivery.deliveries set delivery_id = $2 where delivery_id = $1",
        ] {
            sqlx::query(text)
                .bind(id)
                .bind(old)
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("update delivery.deliveries set created_at = now() - make_interval(days => $2) where delivery_id = $1")
            .bind(old)
            .bind(age)
            .execute(&pool)
            .await
            .unwrap();
        sqlx::query("insert into delivery.changes (what, destination_id, delivery_id) select 'redelivered', destination_id, delivery_id from delivery.deliveries where delivery_id = $1")
            .bind(old)
            .execute(&pool)
            .await
            .unwrap();
    }
    let before = messages(&pool).await;
    assert_eq!(before.len(), 4);
    let sending = before[2].0;
    sqlx::query("update delivery.deliveries set state = 'sending', finished_at = null, lease_owner = gen_random_uuid(), lease_expires_at = now() where delivery_id = $1")
        .bind(sending)
        .execute(&pool)
        .await
        .unwrap();

    sqlx::raw_sql(renaming()).execute(&pool).await.unwrap();

    let after = messages(&pool).await;
    assert_eq!(after[2].0, sending, "what is being sent keeps its id");
    assert_eq!(after[3].0, before[3].0, "an id that rises is left alone");
    for n in 0..2 {
        let (old, new) = (before[n].0, after[n].0);
        assert_eq!(new.get_version_num(), 7, "{new}");
        let (seconds, _) = new.get_timestamp().unwrap().to_unix();
        let age = (chrono::Utc::now().timestamp() - i64::try_from(seconds).unwrap()) / 86_400;
        assert_eq!(age, i64::from(before[n].1), "{new} says when it was made");
        assert_eq!(
            new.as_bytes()[8..],
            old.as_bytes()[8..],
            "the rest is as it was"
        );
    }
    assert!(
        after[0].0 < after[1].0 && after[1].0 < after[3].0,
        "{after:?}"
    );
    let named = |all: &[(Uuid, i32, i64, i64)]| all.iter().map(|m| (m.2, m.3)).collect::<Vec<_>>();
    assert_eq!(named(&after), named(&before));
    assert!(
        named(&after)
            .iter()
            .all(|(tries, changes)| *tries > 0 && *changes > 0)
    );
}
