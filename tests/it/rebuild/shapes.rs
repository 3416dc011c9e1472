//! Rows of another shape: who reads the old one goes on through the swap, and back again.

use bizing_engine::projection::{ALL, ApplyError, Known, Load, Projection as View, Rows, Tail};
use bizing_engine::store::read::{Reads, Recorded};
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection};

use super::*;

/// Bookings as a later build might show them: how many events each has. Known to that build alone.
static COUNTED: View = View {
    name: "bookings",
    version: 2,
    event_types: None,
    reads: Reads::Whole,
    rows: Rows::OfBooking,
    apply: count,
    load: Load::Apply,
};

static LATER: [&View; 10] = {
    let mut all = [&COUNTED; 10];
    let mut at = 0;
    while at < ALL.len() {
        all[at] = ALL[at];
        at += 1;
    }
    all
};

fn count<'a>(
    conn: &'a mut PgConnection,
    events: &'a [&'a Recorded],
) -> BoxFuture<'a, Result<(), ApplyError>> {
    Box::pin(async move {
        for event in events {
            let Some(booking) = event.stream.booking() else {
                continue;
            };
            sqlx::query(
                "insert into bookings (booking_id, events) values ($1, 1)
                 on conflict (booking_id) do update set events = bookings.events + 1",
            )
            .bind(booking.0)
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    })
}

impl World {
    /// What the later build's migration declares.
    async fn declare_the_later_shape(&self) {
        let owner = format!("bizing_owner_{}", self.s.db.installation.id);
        let superuser = self.s.db.superuser_pool().await;
        for sql in [
            "create schema shape_bookings_v2".to_owned(),
            "create table shape_bookings_v2.bookings (booking_id uuid primary key, events bigint not null)".to_owned(),
            format!("alter schema shape_bookings_v2 owner to {owner}"),
            format!("alter table shape_bookings_v2.bookings owner to {owner}"),
        ] {
            sqlx::query(AssertSqlSafe(sql)).execute(&superuser).await.unwrap();
        }
    }

    async fn follow_as(&self, known: Known) {
        let mut tail = Tail::new(self.projector.clone(), Hints::default());
        tail.known = known;
        while tail.round().await.unwrap() {}
    }

    async fn live(&self) -> (i32, i32) {
        sqlx::query_as("select version, generation from read.checkpoints where name = 'bookings'")
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    async fn expire_one(&self) -> Uuid {
        let booking: Uuid = sqlx::query_scalar(
            "select booking_id from read.bookings_v1 where state = 'confirmed' limit 1",
        )
        .fetch_one(&self.s.people)
        .await
        .unwrap();
        append_raw(
            &self.s.worker,
            &format!("booking-{booking}"),
            "BookingExpired",
            json!({ "expired_at": "2026-11-25T10:00:00Z" }),
        )
        .await;
        booking
    }

    /// As the old shape shows it.
    async fn shown(&self, booking: Uuid) -> String {
        sqlx::query_scalar("select state from read.bookings_v1 where booking_id = $1")
            .bind(booking)
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    /// Whether the new shape has every event of every booking.
    async fn counted_all(&self) -> bool {
        sqlx::query_scalar(
            "select count(*) > 50 and bool_and(b.events = s.version)
               from read.streams_v1 s left join read.bookings_v2 b on 'booking-' || b.booking_id = s.stream_id
              where s.category = 'booking'",
        )
        .fetch_one(&self.s.people)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn readers_of_the_old_shape_go_on_through_a_swap_to_another_one_and_back() {
    let w = World::new().await;
    w.declare_the_later_shape().await;
    let whole = w.rows("bookings").await.len() as i64;
    let id = Uuid::now_v7();
    let asked: String = sqlx::query_scalar(
        "select api.start_replay($1, 'bookings', 2, '{\"from\": \"start\"}', 0, null, 'rebuild', 'all_cores', $2)",
    )
    .bind(id)
    .bind(WHY)
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    assert_eq!(asked, "done");
    w.work_until_as(&LATER, id, "waits_for_swap").await;
    assert_eq!(w.live().await, (1, 1));

    // Somebody reads the old shape all the while.
    let stop = CancellationToken::new();
    let reader = async {
        let mut reads = 0;
        while !stop.is_cancelled() {
            let rows: i64 = sqlx::query_scalar("select count(*) from read.bookings_v1")
                .fetch_one(&w.s.people)
                .await
                .unwrap();
            assert_eq!(rows, whole);
            reads += 1;
        }
        reads
    };
    let swap = async {
        assert_eq!(w.change(id, "swap").await, "done");
        w.work_until_as(&LATER, id, "done").await;
        stop.cancel();
    };
    let (reads, ()) = tokio::join!(reader, swap);
    assert!(reads > 0);
    assert_eq!(w.live().await, (2, 2));
    assert!(w.counted_all().await);

    // Both shapes follow the log for as long as somebody knows them.
    let first = w.expire_one().await;
    w.follow_as(&LATER).await;
    assert_eq!(w.shown(first).await, "expired");
    assert!(w.counted_all().await);
    // A worker of the old build fills what it knows, and leaves the rest alone.
    let second = w.expire_one().await;
    w.follow_as(&ALL).await;
    assert_eq!(w.shown(second).await, "expired");
    assert!(!w.counted_all().await);
    w.follow_as(&LATER).await;
    assert!(w.counted_all().await);

    // The rows of before are live again, and those of the new shape are still there for whoever reads them.
    assert_eq!(w.projection("bookings", "roll_back", None).await, "done");
    assert_eq!(w.live().await, (1, 1));
    let third = w.expire_one().await;
    w.follow_as(&LATER).await;
    assert_eq!(w.shown(third).await, "expired");
    assert!(w.counted_all().await);
    assert_eq!(w.rows("bookings").await.len() as i64, whole);
}
