//! Export and import: the log comes back byte for byte, or the file is refused at its line and nothing is written.

use std::io::Cursor;
use std::time::Duration;

use bizing_engine::app::transfer::{self, Imported, TransferError};
use bizing_engine::app::wire::{AppError, Code};
use bizing_engine::domain::event::{CustomerErased, Event};
use bizing_engine::domain::ids::{CorrelationId, CustomerId};
use bizing_engine::projection::{ERASED, Tail};
use bizing_engine::runtime::hints::Hints;
use bizing_engine::store::append::{Append, Context, Expected, append_in};
use sqlx::{PgPool, Row};

use crate::projection::seeded;
use crate::support::db::TestDb;
use crate::support::wait_until;

async fn export(pool: &PgPool, from: i64) -> Vec<u8> {
    let mut out = vec![];
    let mut conn = pool.acquire().await.unwrap();
    let done = transfer::export(&mut conn, from, &mut out, &mut |_, _| {})
        .await
        .unwrap();
    assert_eq!(done.bytes, out.len() as u64);
    out
}

async fn import(pool: &PgPool, file: &[u8]) -> Result<Imported, TransferError> {
    transfer::verify(&mut Cursor::new(file), &mut |_, _| {})?;
    let mut conn = pool.acquire().await.unwrap();
    transfer::import(&mut conn, &mut Cursor::new(file), 100, &mut |_, _| {}).await
}

/// A desk without an event, and an admin's login to it.
async fn empty() -> (TestDb, PgPool) {
    let db = TestDb::new().await;
    let admin = db.pool("admin").await;
    (db, admin)
}

async fn count(pool: &PgPool, table: &'static str) -> i64 {
    let sql = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(pool)
        .await
        .unwrap()
}

fn lines(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8(file.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn file(lines: &[String]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|l| [l.as_bytes(), b"\n"].concat())
        .collect()
}

/// Header and events with digests that fit them, as somebody who knows the format would forge them.
fn forged(lines: &[String], change: impl Fn(usize, &str) -> String) -> Vec<u8> {
    let mut chain = transfer::format::Chain::default();
    let mut out = format!("{}\n", lines[0]);
    let mut last = 0;
    for (i, line) in lines.iter().enumerate().skip(1).take(lines.len() - 2) {
        let body = &line["{\"event\":".len()..line.rfind(",\"sha256\"").unwrap()];
        let body = change(i + 1, body);
        last = serde_json::from_str::<serde_json::Value>(&body).unwrap()["position"]
            .as_i64()
            .unwrap();
        out += &chain.event(&body);
    }
    out += &chain.footer(lines.len() as u64 - 2, last);
    out.into_bytes()
}

fn other_payload(body: &str) -> String {
    let from = body.find("\"data\":").unwrap();
    let to = body.rfind(",\"hash\"").unwrap();
    format!("{}\"data\":{{\"x\":1}}{}", &body[..from], &body[to..])
}

#[tokio::test]
async fn what_is_exported_and_imported_is_exported_again_as_the_same_bytes() {
    let s = seeded().await;
    let before = export(&s.worker, 0).await;
    let (db, admin) = empty().await;
    let done = import(&admin, &before).await.unwrap();
    assert_eq!(done.events, count(&s.worker, "core.events").await as u64);

    let after = export(&admin, 0).await;
    // The header names the desk and the time; everything below it is the log.
    assert_eq!(lines(&before)[1..], lines(&after)[1..]);
    let streams = "select stream_id, version, first_position, last_position, encode(head, 'hex') as head from core.streams order by 1";
    let of = async |pool: &PgPool| -> Vec<String> {
        let rows = sqlx::query(streams).fetch_all(pool).await.unwrap();
        let text = |r: &sqlx::postgres::PgRow| {
            format!(
                "{} {} {} {} {}",
                r.get::<&str, _>(0),
                r.get::<i64, _>(1),
                r.get::<i64, _>(2),
                r.get::<i64, _>(3),
                r.get::<&str, _>(4)
            )
        };
        rows.iter().map(text).collect()
    };
    assert_eq!(of(&s.worker).await, of(&admin).await);

    // Nothing leaves and nothing starts by it.
    let worker = db.pool("worker").await;
    for table in [
        "delivery.deliveries",
        "saga.instance",
        "saga.effect",
        "core.commands",
    ] {
        assert_eq!(count(&worker, table).await, 0, "{table}");
    }
    // The read models follow it, and show nobody's name, because no key came along.
    let tail = Tail::new(worker.clone(), Hints::default());
    while tail.round().await.unwrap() {}
    s.follow().await;
    let bookings = "select booking_id, reference, state, payment, captured_minor, refunded_minor, version from read.bookings_v1 order by 1";
    let of = async |pool: &PgPool| -> Vec<String> {
        let sql = format!("select to_jsonb(x)::text from ({bookings}) x");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(pool)
            .await
            .unwrap()
    };
    assert_eq!(of(&s.worker).await, of(&worker).await);
    let names: Vec<String> =
        sqlx::query_scalar("select distinct customer_name from read.bookings_v1")
            .fetch_all(&worker)
            .await
            .unwrap();
    assert_eq!(names, [ERASED]);
    // The next append stands above it.
    let (top, last): (i64, i64) = sqlx::query_as(
        "select (select max(position) from core.events), (select last_value from core.position)",
    )
    .fetch_one(&worker)
    .await
    .unwrap();
    assert_eq!(top, last);
    let owed = bizing_engine::app::doctor::run(&worker, true)
        .await
        .unwrap();
    let found: Vec<&str> = owed.findings().map(|f| f.name).collect();
    // Claims are no part of a log: that nobody holds those slots is true, and told.
    assert_eq!(found, ["hold.confirmed_booking_without_claim"], "{owed}");
}

#[tokio::test]
async fn an_import_that_was_killed_goes_on_where_it_stopped() {
    let s = seeded().await;
    let whole = export(&s.worker, 0).await;
    let (db, admin) = empty().await;
    // The future is dropped in the middle of a batch, and its connection broken, as a kill would do.
    for after in [150, 250, 420] {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let mut conn = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .connect_with(db.login("admin"))
            .await
            .unwrap()
            .acquire()
            .await
            .unwrap()
            .detach();
        let mut input = Cursor::new(&whole[..]);
        let mut progress = |n: u64, _| {
            if n >= after
                && let Some(tell) = tell.take()
            {
                let _ = tell.send(());
            }
        };
        tokio::select! {
            biased;
            Ok(()) = told => {}
            done = transfer::import(&mut conn, &mut input, 40, &mut progress) => panic!("it was to be cut off: {done:?}"),
        }
        drop(conn);
        let there = count(&s.worker, "core.events").await;
        assert!(count(&admin, "core.events").await < there);
    }
    // Killed between a batch and what lets appends draw above it.
    sqlx::query("select setval('core.position', 1)")
        .execute(&db.superuser_pool().await)
        .await
        .unwrap();
    let done = import(&admin, &whole).await.unwrap();
    assert!(done.events > 0 && done.there_before >= 420, "{done:?}");
    assert_eq!(lines(&export(&admin, 0).await)[1..], lines(&whole)[1..]);
    let (imports, events): (i64, i64) =
        sqlx::query_as("select count(*), sum(events)::bigint from core.imports")
            .fetch_one(&admin)
            .await
            .unwrap();
    assert_eq!(
        (imports, events as u64),
        (1, done.events + done.there_before)
    );
    // And once more is harmless.
    let again = import(&admin, &whole).await.unwrap();
    assert_eq!(
        (again.events, again.there_before),
        (0, done.events + done.there_before)
    );
}

#[tokio::test]
async fn what_is_cut_off_altered_or_put_elsewhere_is_refused_at_its_line_and_nothing_is_written() {
    let s = seeded().await;
    let whole = export(&s.worker, 0).await;
    let good = lines(&whole);
    let (_db, admin) = empty().await;
    let n = good.len();
    let without = |i: usize| [&good[..i], &good[i + 1..]].concat();
    let mut swapped = good.clone();
    swapped.swap(30, 31);
    let mut altered = good.clone();
    altered[40] = altered[40].replacen("\"version\":", "\"version\":1", 1);
    let mut older = good.clone();
    older[0] = older[0].replace("\"events\":", "\"events\":1");
    let mut twice = good.clone();
    twice.insert(50, good[49].clone());
    let mut headed = good.clone();
    headed.push(good[0].clone());
    let mut broken = file(&good);
    let at = good[..10].iter().map(|l| l.len() + 1).sum::<usize>();
    broken[at + 20] = 0xff;
    let bad: Vec<(&str, Vec<u8>, usize)> = vec![
        ("an empty file", vec![], 1),
        ("no footer", file(&good[..n - 1]), n),
        (
            "cut within a line",
            whole[..whole.len() / 2].to_vec(),
            String::from_utf8_lossy(&whole[..whole.len() / 2])
                .lines()
                .count(),
        ),
        ("a line left out", file(&without(20)), 21),
        ("two lines turned round", file(&swapped), 31),
        ("one sign altered", file(&altered), 41),
        ("the header altered", file(&older), 1),
        ("a line twice", file(&twice), 51),
        ("something after the footer", file(&headed), n + 1),
        ("not UTF-8", broken, 11),
        ("another kind of file", b"{\"a\":1}\n".to_vec(), 1),
        // Digests that fit, and content that does not.
        (
            "a position that falls",
            forged(&good, |i, b| {
                if i == 60 {
                    b.replacen("\"position\":", "\"position\":-", 1)
                } else {
                    b.to_owned()
                }
            }),
            60,
        ),
        (
            "an unknown type",
            forged(&good, |i, b| {
                if i == 70 {
                    b.replacen("\"name\":\"", "\"name\":\"X", 1)
                } else {
                    b.to_owned()
                }
            }),
            70,
        ),
        (
            "a payload of another shape",
            forged(&good, |i, b| {
                if i == 80 {
                    other_payload(b)
                } else {
                    b.to_owned()
                }
            }),
            80,
        ),
    ];
    for (what, file, line) in bad {
        let error = import(&admin, &file).await.expect_err(what);
        let TransferError::Refused { line: at, rule } = &error else {
            panic!("{what}: {error:?}");
        };
        assert_eq!(*at, line as u64, "{what}: {rule}");
        let shown = AppError::from(error);
        assert!(
            shown.code == Code::Invalid && shown.message.starts_with(&format!("line {line}: ")),
            "{shown:?}"
        );
        assert_eq!(count(&admin, "core.events").await, 0, "{what}");
    }
    // Somebody who recomputes the digests still meets the hash chain of the stream.
    let actor = forged(&good, |i, b| {
        if i == 90 {
            b.replacen("\"actor\":\"", "\"actor\":\"x", 1)
        } else {
            b.to_owned()
        }
    });
    let mut conn = admin.acquire().await.unwrap();
    for dry in [true, false] {
        let mut input = Cursor::new(&actor[..]);
        let refused = match dry {
            true => transfer::dry_run(&mut conn, &mut input, &mut |_, _| {}).await,
            false => transfer::import(&mut conn, &mut input, 5_000, &mut |_, _| {}).await,
        };
        let Err(TransferError::Refused { line: 90, rule }) = refused else {
            panic!("{refused:?}");
        };
        assert!(rule.contains("hash does not follow"), "{rule}");
        assert_eq!(count(&admin, "core.events").await, 0);
    }
    // A dry run of a good file changes nothing either.
    let found = transfer::dry_run(&mut conn, &mut Cursor::new(&whole[..]), &mut |_, _| {})
        .await
        .unwrap();
    assert_eq!(found.events as usize, n - 2);
    assert_eq!(
        (
            count(&admin, "core.events").await,
            count(&admin, "core.streams").await
        ),
        (0, 0)
    );
    drop(conn);
    assert_eq!(import(&admin, &whole).await.unwrap().events as usize, n - 2);
}

#[tokio::test]
async fn a_log_goes_on_with_its_own_next_part_and_with_no_other() {
    let s = seeded().await;
    let whole = export(&s.worker, 0).await;
    let half = 300;
    // What an export up to there would have been.
    let events = count(&s.worker, "core.events").await as usize;
    let second = export(&s.worker, half).await;
    let (_db, admin) = empty().await;
    let refused = import(&admin, &second).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("line 1: the file begins after position 300"),
        "{refused}"
    );
    let mut conn = admin.acquire().await.unwrap();
    let server: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    // Cut off behind the first 300.
    let mut few = Cursor::new(&whole[..]);
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let mut progress = |n: u64, _| {
        if n == 300
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(());
        }
    };
    tokio::select! {
        biased;
        Ok(()) = told => {}
        done = transfer::import(&mut conn, &mut few, 100, &mut progress) => panic!("{done:?}"),
    }
    conn.close().await.unwrap();
    // The batch that was on its way when its sender was let go may still be carried out.
    wait_until(
        "the server's side is over",
        Duration::from_secs(30),
        || async {
            sqlx::query_scalar("select not exists (select from pg_stat_activity where pid = $1)")
                .bind(server)
                .fetch_one(&admin)
                .await
                .unwrap()
        },
    )
    .await;
    let held = count(&admin, "core.events").await;
    assert!((300..=400).contains(&held), "{held}");
    let done = import(&admin, &second).await.unwrap();
    assert_eq!(done.events + held as u64, events as u64);
    assert_eq!(lines(&export(&admin, 0).await)[1..], lines(&whole)[1..]);

    // Another desk's log is not this one's beginning, whichever part comes.
    let other = seeded().await;
    let elsewhere = import(&other.people, &whole).await.unwrap_err().to_string();
    assert!(
        elsewhere.contains("the log holds another event at position 1"),
        "{elsewhere}"
    );
    let elsewhere = import(&other.people, &second)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        elsewhere.starts_with("line 1: the file continues another log"),
        "{elsewhere}"
    );
    // Beyond the end there is nothing to export.
    let mut conn = admin.acquire().await.unwrap();
    let beyond = transfer::export(&mut conn, 9_999_999, &mut vec![], &mut |_, _| {}).await;
    assert!(matches!(
        beyond,
        Err(TransferError::From {
            from: 9_999_999,
            ..
        })
    ));
}

#[tokio::test]
async fn only_an_admin_imports() {
    let s = seeded().await;
    let whole = export(&s.worker, 0).await;
    let (db, admin) = empty().await;
    for group in ["viewer", "staff", "manager", "worker"] {
        let error = import(&db.pool(group).await, &whole).await.unwrap_err();
        assert_eq!(AppError::from(error).code, Code::Forbidden, "{group}");
    }
    assert_eq!(count(&admin, "core.events").await, 0);
}

/// A program of another language, written from docs/EXPORT.md alone.
#[tokio::test]
async fn somebody_elses_program_finds_an_export_whole_and_an_altered_one_not() {
    let s = seeded().await;
    let whole = export(&s.worker, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, file: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, file).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/log_verify.py");
        let run = std::process::Command::new("python3")
            .arg(script)
            .arg(&path)
            .output()
            .unwrap();
        (
            run.status.success(),
            String::from_utf8_lossy(&[run.stdout, run.stderr].concat())
                .trim()
                .to_owned(),
        )
    };
    let events = count(&s.worker, "core.events").await;
    assert_eq!(
        check("whole", &whole),
        (true, format!("{events} events are whole"))
    );
    assert!(check("part", &export(&s.worker, 100).await).0);
    let text = String::from_utf8(whole.clone()).unwrap();
    let altered = text.replacen("\"EUR\"", "\"USD\"", 1);
    assert!(!check("altered", altered.as_bytes()).0);
    let forged = forged(&lines(&whole), |i, b| {
        if i == 90 {
            b.replacen("\"actor\":\"", "\"actor\":\"x", 1)
        } else {
            b.to_owned()
        }
    });
    assert_eq!(
        check("forged", &forged),
        (
            false,
            "line 90: the chain of its stream is broken".to_owned()
        )
    );
}

#[tokio::test]
async fn whoever_was_erased_stays_erased_wherever_the_log_goes() {
    let s = seeded().await;
    s.follow().await;
    let customer: uuid::Uuid =
        sqlx::query_scalar("select customer_id from read.customers_v1 limit 1")
            .fetch_one(&s.people)
            .await
            .unwrap();
    let mut tx = s.people.begin().await.unwrap();
    sqlx::query("select * from api.erase_subject($1, true)")
        .bind(customer)
        .execute(&mut *tx)
        .await
        .unwrap();
    let erased = Event::CustomerErased(CustomerErased {
        customer_id: CustomerId(customer),
        reason: "Asked in writing".to_owned(),
    });
    let now = chrono::Utc::now();
    let append = Append::new(CustomerId(customer), Expected::Exists, vec![erased], now);
    let context = Context {
        correlation: CorrelationId(uuid::Uuid::now_v7()),
        causation: None,
        on_behalf_of: None,
    };
    append_in(&mut tx, &context, vec![append]).await.unwrap();
    tx.commit().await.unwrap();
    let whole = export(&s.worker, 0).await;
    let (_db, admin) = empty().await;
    // The desk that it comes to has a key for them.
    let make = "select api.subject_key($1, true) is null";
    let none: bool = sqlx::query_scalar(make)
        .bind(customer)
        .fetch_one(&admin)
        .await
        .unwrap();
    assert!(!none);
    import(&admin, &whole).await.unwrap();
    let none: bool = sqlx::query_scalar(make)
        .bind(customer)
        .fetch_one(&admin)
        .await
        .unwrap();
    assert!(none, "no key is there, and none can be made");
}
