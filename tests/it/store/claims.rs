//! Inventory under contention: exactly one wins, nobody deadlocks, nothing overlaps.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::postgres::types::PgRange;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::count;
use crate::support::db::TestDb;

struct Shop {
    db: TestDb,
    pools: Vec<PgPool>,
    noon: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Want {
    resource: Uuid,
    from_min: i64,
    until_min: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Held,
    Taken,
    /// Lost a race that the caller repeats.
    Again,
    Deadlock,
}

const ANA: Uuid = Uuid::from_u128(10);
const ROOM: Uuid = Uuid::from_u128(20);

fn want(resource: Uuid, from_min: i64, until_min: i64) -> Want {
    Want {
        resource,
        from_min,
        until_min,
    }
}

impl Shop {
    async fn open() -> Shop {
        let db = TestDb::new().await;
        let location = Uuid::from_u128(1);
        let catalogue = json!({
            "locations": [{ "location_id": location, "business_name": "Halcyon", "name": "Chiado", "zone": "Europe/Lisbon", "currency": "EUR" }],
            "resources": [{ "resource_id": ANA, "location_id": location, "kind": "staff", "name": "Ana" }, { "resource_id": ROOM, "location_id": location, "kind": "room", "name": "Room" }],
        });
        sqlx::query("select api.put_catalogue($1)")
            .bind(catalogue)
            .execute(&db.pool("admin").await)
            .await
            .unwrap();
        let pools = vec![
            db.pool("staff").await,
            db.pool("staff").await,
            db.pool("staff").await,
        ];
        Shop {
            db,
            pools,
            noon: "2030-06-01T12:00:00Z".parse().unwrap(),
        }
    }

    /// As the booking use case does it: rows mean "taken", and then everything is rolled back.
    async fn hold(&self, pool: usize, wants: &[Want], expires: Option<DateTime<Utc>>) -> Got {
        let at = |minutes| self.noon + TimeDelta::minutes(minutes);
        let mut tx = self.pools[pool % self.pools.len()].begin().await.unwrap();
        let booking = Uuid::now_v7();
        let rivals = sqlx::query("select * from api.hold_inventory($1,$2,$3,$4,$5,$6,$7)")
            .bind(booking)
            .bind(bizing_engine::domain::ids::Reference::from_bits(booking.as_u128() as u32).0)
            .bind(expires)
            .bind(wants.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(wants.iter().map(|w| w.resource).collect::<Vec<_>>())
            .bind(wants.iter().map(|_| 1_i16).collect::<Vec<_>>())
            .bind(
                wants
                    .iter()
                    .map(|w| PgRange::from(at(w.from_min)..at(w.until_min)))
                    .collect::<Vec<_>>(),
            )
            .fetch_all(&mut *tx)
            .await;
        match rivals {
            Ok(rows) if rows.is_empty() => {
                tx.commit().await.unwrap();
                Got::Held
            }
            Ok(rows) => {
                assert!(
                    rows.iter()
                        .all(|r| r.get::<Option<Uuid>, _>("by_booking") != Some(booking)),
                    "nobody stands in their own way"
                );
                Got::Taken
            }
            Err(e) => match e.as_database_error().and_then(|d| d.code()).as_deref() {
                Some("40P01") => Got::Deadlock,
                Some("40001") => Got::Again,
                _ => panic!("{e}"),
            },
        }
    }

    /// All at once; a race that is to be repeated is repeated.
    async fn rush(&self, wants: Vec<Vec<Want>>) -> Vec<Got> {
        let one = async |(n, w): (usize, &Vec<Want>)| loop {
            match self
                .hold(n, w, Some(Utc::now() + TimeDelta::minutes(15)))
                .await
            {
                Got::Again => {}
                got => return got,
            }
        };
        futures_util::future::join_all(wants.iter().enumerate().map(one)).await
    }

    /// A year of other bookings: with so many rows the planner goes through the index, once for each slot that is wanted
    /// and in the order in which they are.
    async fn fill(&self) {
        let superuser = self.db.superuser_pool().await;
        sqlx::query(
            "insert into booking.inventory_claim (claim_id, resource_id, during, kind, released_at)
             select gen_random_uuid(), r, tstzrange(t, t + interval '1 hour'), 'booking', now()
               from unnest($1::uuid[]) r, generate_series('2029-01-01'::timestamptz, '2029-12-31', '2 hours') t",
        )
        .bind(vec![ANA, ROOM])
        .execute(&superuser)
        .await
        .unwrap();
        sqlx::query("insert into booking.inventory_claim (claim_id, resource_id, during, kind) select gen_random_uuid(), resource_id, during, 'booking' from booking.inventory_claim").execute(&superuser).await.unwrap();
        sqlx::query("analyze booking.inventory_claim")
            .execute(&superuser)
            .await
            .unwrap();
    }

    async fn overlaps(&self) -> i64 {
        count(
            &self.db.pool("worker").await,
            "booking.inventory_claim a join booking.inventory_claim b on a.resource_id = b.resource_id and a.unit = b.unit and a.during && b.during and a.claim_id < b.claim_id
              where a.released_at is null and b.released_at is null",
        )
        .await
    }

    async fn live(&self) -> i64 {
        count(
            &self.db.pool("worker").await,
            "booking.inventory_claim where released_at is null",
        )
        .await
    }
}

fn won(got: &[Got]) -> usize {
    assert!(!got.contains(&Got::Deadlock), "{got:?}");
    got.iter().filter(|g| **g == Got::Held).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_at_once_for_one_slot_leave_one_winner_and_no_deadlock() {
    let shop = Shop::open().await;
    for round in 0..8 {
        let got = shop
            .rush(vec![vec![want(ANA, round * 60, round * 60 + 60)]; 16])
            .await;
        assert_eq!(won(&got), 1, "round {round}: {got:?}");
    }
    assert_eq!((shop.live().await, shop.overlaps().await), (8, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn staggered_slots_that_overlap_end_without_a_deadlock_and_each_loser_had_a_rival() {
    let shop = Shop::open().await;
    for round in 0..8 {
        let base = round * 1000;
        let wants: Vec<_> = (0..16)
            .map(|n| want(ANA, base + n * 13, base + n * 13 + 60))
            .collect();
        let got = shop.rush(wants.iter().map(|w| vec![*w]).collect()).await;
        assert!(
            won(&got) >= 2,
            "round {round}: slots that do not meet can both be held: {got:?}"
        );
        let winners: Vec<&Want> = wants
            .iter()
            .zip(&got)
            .filter(|(_, g)| **g == Got::Held)
            .map(|(w, _)| w)
            .collect();
        for (w, g) in wants.iter().zip(&got) {
            let rival = winners
                .iter()
                .any(|x| x.from_min < w.until_min && w.from_min < x.until_min);
            assert!(
                *g == Got::Held || rival,
                "round {round}: {w:?} lost to nobody"
            );
        }
    }
    assert_eq!(shop.overlaps().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_resources_wanted_in_opposite_orders_leave_one_winner_and_no_deadlock() {
    let shop = Shop::open().await;
    for round in 0..8 {
        let (a, b) = (
            want(ANA, round * 60, round * 60 + 60),
            want(ROOM, round * 60, round * 60 + 60),
        );
        let got = shop
            .rush(
                (0..16)
                    .map(|n| if n % 2 == 0 { vec![a, b] } else { vec![b, a] })
                    .collect(),
            )
            .await;
        assert_eq!(won(&got), 1, "round {round}: {got:?}");
    }
    assert_eq!((shop.live().await, shop.overlaps().await), (16, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn expired_holds_on_two_resources_are_taken_over_in_opposite_orders_without_a_deadlock() {
    let shop = Shop::open().await;
    shop.fill().await;
    let past = Some(Utc::now() - TimeDelta::seconds(1));
    for round in 0..25 {
        let (a, b) = (
            want(ANA, round * 60, round * 60 + 60),
            want(ROOM, round * 60, round * 60 + 60),
        );
        assert_eq!(shop.hold(0, &[a, b], past).await, Got::Held);
        let got = shop
            .rush(
                (0..16)
                    .map(|n| if n % 2 == 0 { vec![a, b] } else { vec![b, a] })
                    .collect(),
            )
            .await;
        assert_eq!(won(&got), 1, "round {round}: {got:?}");
    }
    let live = count(
        &shop.db.pool("worker").await,
        "booking.inventory_claim where released_at is null and kind = 'hold'",
    )
    .await;
    assert_eq!((live, shop.overlaps().await), (50, 0));
}

#[tokio::test]
async fn an_expired_hold_is_released_by_the_next_who_wants_the_slot_and_by_nobody_else() {
    let shop = Shop::open().await;
    let worker = shop.db.pool("worker").await;
    assert_eq!(
        shop.hold(
            0,
            &[want(ANA, 0, 60)],
            Some(Utc::now() - TimeDelta::seconds(1))
        )
        .await,
        Got::Held
    );
    assert_eq!(
        shop.hold(0, &[want(ANA, 60, 120)], None).await,
        Got::Held,
        "half-open: the next slot begins where the last one ends"
    );
    assert_eq!(shop.live().await, 2, "nobody sweeps");
    assert_eq!(shop.hold(0, &[want(ANA, 30, 60)], None).await, Got::Held);
    let released: Vec<Option<String>> = sqlx::query_scalar(
        "select release_reason from booking.inventory_claim where released_at is not null",
    )
    .fetch_all(&worker)
    .await
    .unwrap();
    assert_eq!(released, [Some("expired".to_owned())]);
    // A hold that still runs, and one without limit, stand.
    assert_eq!(
        shop.hold(
            0,
            &[want(ROOM, 0, 60)],
            Some(Utc::now() + TimeDelta::minutes(5))
        )
        .await,
        Got::Held
    );
    assert_eq!(shop.hold(0, &[want(ROOM, 59, 90)], None).await, Got::Taken);
    assert_eq!(shop.hold(0, &[want(ANA, 45, 50)], None).await, Got::Taken);
}

#[tokio::test]
async fn a_booking_that_misses_one_of_its_resources_holds_none() {
    let shop = Shop::open().await;
    assert_eq!(shop.hold(0, &[want(ROOM, 0, 60)], None).await, Got::Held);
    assert_eq!(
        shop.hold(0, &[want(ANA, 0, 60), want(ROOM, 30, 90)], None)
            .await,
        Got::Taken
    );
    assert_eq!(shop.live().await, 1);
    assert_eq!(
        count(&shop.db.pool("worker").await, "booking.booking").await,
        1,
        "and its reference is free again"
    );
}

#[tokio::test]
async fn a_pinned_hold_is_not_taken_over_by_somebody_who_saw_it_expire() {
    let shop = Shop::open().await;
    assert_eq!(
        shop.hold(
            0,
            &[want(ANA, 0, 60)],
            Some(Utc::now() - TimeDelta::seconds(1))
        )
        .await,
        Got::Held
    );
    let (worker, superuser) = (shop.db.pool("worker").await, shop.db.superuser_pool().await);
    let mut pin = worker.begin().await.unwrap();
    sqlx::query("update booking.inventory_claim set kind = 'booking', expires_at = null where released_at is null").execute(&mut *pin).await.unwrap();
    let wanted = [want(ANA, 0, 60)];
    let rival = shop.hold(0, &wanted, None);
    let commit = async {
        let waits =
            "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        crate::support::wait_until(
            "the rival waits for the pin",
            std::time::Duration::from_secs(5),
            || async { count(&superuser, waits).await > 0 },
        )
        .await;
        pin.commit().await.unwrap();
    };
    let (got, ()) = tokio::join!(rival, commit);
    assert_eq!(got, Got::Taken);
    assert_eq!(shop.live().await, 1);
}

#[tokio::test]
async fn a_unit_above_the_capacity_is_a_managers_to_hold() {
    let shop = Shop::open().await;
    let hold = async |group: &str, unit: i16| {
        let booking = Uuid::now_v7();
        let reference =
            bizing_engine::domain::ids::Reference::from_bits(booking.as_u128() as u32).0;
        sqlx::query("select * from api.hold_inventory($1, $2, null, array[$3], array[$4], array[$5], array[tstzrange($6, $6 + interval '1 hour')])")
            .bind(booking)
            .bind(reference)
            .bind(Uuid::now_v7())
            .bind(ANA)
            .bind(unit)
            .bind(shop.noon)
            .fetch_all(&shop.db.pool(group).await)
            .await
            .map(|rivals| rivals.len())
    };
    let refused = hold("staff", 2).await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.code().as_deref(), Some("42501"));
    assert!(
        refused.message().contains("Ana has 1 unit(s)"),
        "{}",
        refused.message()
    );
    assert_eq!(shop.live().await, 0, "nothing is half held");
    assert_eq!(hold("staff", 1).await.unwrap(), 0);
    assert_eq!(hold("manager", 2).await.unwrap(), 0);
}
