//! `bizing-desk report`: what it prints is what the read models say, in each layout, for whoever may look.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use bizing_engine::app::customers;
use bizing_engine::app::wire::{GetCustomerHistory, Group};

use crate::projection::{Seeded, seeded};
use crate::reading::desk;
use crate::served;

async fn followed() -> Seeded {
    let s = seeded().await;
    s.follow().await;
    s
}

/// Under a viewer's login.
async fn report(s: &Seeded, arguments: &[&str]) -> (Option<i32>, String) {
    served::run(&s.db.login("viewer"), &[&["report"], arguments].concat()).await
}

async fn rows(s: &Seeded, arguments: &[&str]) -> Value {
    let (code, said) = report(s, &[arguments, &["--json"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    let mut first = serde_json::Deserializer::from_str(&said).into_iter();
    first.next().unwrap().unwrap()
}

async fn number(pool: &PgPool, sql: &str) -> i64 {
    let found = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
    found.fetch_one(pool).await.unwrap()
}

fn sum(rows: &Value, column: &str) -> i64 {
    let rows = rows["rows"].as_array().unwrap().iter();
    rows.filter_map(|row| row[column].as_i64()).sum()
}

#[tokio::test]
async fn the_days_of_a_range_are_those_of_the_read_model_and_say_as_of_when() {
    let s = followed().await;
    let all = rows(&s, &["daily"]).await;
    let captured = number(
        &s.people,
        "select sum(captured_minor)::bigint from read.report_money_v1",
    );
    let (captured, visits) = tokio::join!(
        captured,
        number(
            &s.people,
            "select sum(visits)::bigint from read.daily_report_v1"
        )
    );
    assert!(captured > 0 && visits > 0);
    assert_eq!(
        (sum(&all, "captured"), sum(&all, "visits")),
        (captured, visits)
    );
    let position = number(
        &s.people,
        "select position from read.checkpoints where name = 'daily_report'",
    )
    .await;
    assert_eq!(all["position"], position);
    assert_eq!(all["behind_seconds"], 0.0);
    assert!(
        all["rows"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["utilisation"].as_f64().is_some_and(|u| u > 0.0)),
        "{all}"
    );

    // Both ends are in the range, and nothing else is.
    let days: Vec<String> =
        sqlx::query_scalar("select distinct day::text from read.daily_report_v1 order by 1")
            .fetch_all(&s.people)
            .await
            .unwrap();
    let (from, to) = (days[2].as_str(), days[4].as_str());
    let some = rows(&s, &["daily", "--from", from, "--to", to]).await;
    let shown: Vec<&str> = some["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["day"].as_str().unwrap())
        .collect();
    assert_eq!(shown, days[2..=4]);

    let (code, table) = report(&s, &["daily", "--from", from, "--to", from]).await;
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains(&format!("1 row, as of position {position}, 0 s behind.")),
        "{table}"
    );
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("day") && lines[1].starts_with(from),
        "{table}"
    );
    assert_eq!(
        lines[0].find("made").unwrap() + 4,
        lines[1][..lines[0].find("made").unwrap() + 6]
            .trim_end()
            .len(),
        "numbers end under their title: {table}"
    );
}

#[tokio::test]
async fn what_was_not_read_yet_is_said() {
    let s = followed().await;
    sqlx::query("update read.generations set position = position - 200 where name = 'ledger'")
        .execute(&s.worker)
        .await
        .unwrap();
    let rows = rows(&s, &["ledger"]).await;
    assert!(rows["behind_seconds"].as_f64().unwrap() > 0.0, "{rows}");
}

#[tokio::test]
async fn debits_and_credits_of_the_ledger_stand_side_by_side_and_are_even() {
    let s = followed().await;
    let rows = rows(&s, &["ledger"]).await;
    let rows = rows["rows"].as_array().unwrap();
    let all: Vec<&Value> = rows.iter().filter(|row| row["account"] == "all").collect();
    let posted = number(
        &s.people,
        "select sum(amount_minor)::bigint from read.ledger_transfers_v1 where currency = 'EUR'",
    )
    .await;
    assert!(all.len() == 1 && rows.len() > 3, "{rows:?}");
    assert_eq!(
        (&all[0]["debits"], &all[0]["credits"], &all[0]["balance"]),
        (&json!(posted), &json!(posted), &json!(0))
    );
    assert_eq!(all[0]["even"], true);
    let (_, table) = report(&s, &["ledger"]).await;
    assert!(table.contains("debits = credits"), "{table}");
    let (_, csv) = report(&s, &["ledger", "--csv"]).await;
    assert!(
        csv.starts_with("currency,account,debits,credits,balance,even\n"),
        "{csv}"
    );
    assert!(
        csv.contains(&format!("EUR,all,{posted},{posted},0,true\n")),
        "{csv}"
    );
}

#[tokio::test]
async fn a_customer_is_found_by_a_booking_and_told_as_on_the_bookings_page() {
    let s = followed().await;
    let (reference, customer): (String, uuid::Uuid) = sqlx::query_as(
        "select b.reference, b.customer_id from read.bookings_v1 b join read.customer_spend_v1 p using (customer_id)
          where p.captured_minor > p.refunded_minor and b.state = 'confirmed' and b.starts_at < now() order by b.starts_at limit 1",
    )
    .fetch_one(&s.people)
    .await
    .unwrap();
    let found = rows(&s, &["customer", "--customer", &reference.to_lowercase()]).await;
    let row = &found["rows"][0];
    assert_eq!(found["rows"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(row["customer_id"], customer.to_string());

    let desk = desk(&s, s.db.pool("viewer").await, Group::Viewer);
    let told = customers::history(
        &desk,
        GetCustomerHistory {
            customer_id: customer,
        },
    )
    .await
    .unwrap();
    assert!(told.visits > 0, "{told:?}");
    assert_eq!(
        (&row["bookings"], &row["visits"], &row["no_shows"]),
        (
            &json!(told.bookings),
            &json!(told.visits),
            &json!(told.no_shows)
        )
    );
    assert_eq!(row["spent"], told.spent[0].amount_minor);
    assert!(told.latest.iter().any(|b| b.reference == reference) || told.bookings > 8);
    assert!(
        told.latest
            .is_sorted_by(|a, b| a.starts.utc >= b.starts.utc)
    );

    let everybody = rows(&s, &["customer"]).await;
    let known = number(&s.people, "select count(*) from read.customer_history_v1").await;
    let mut ids: Vec<&str> = everybody["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["customer_id"].as_str().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len() as i64, known);
    let nobody = rows(&s, &["customer", "--customer", "BK-NOBODY"]).await;
    assert_eq!(nobody["rows"], json!([]));
}

#[tokio::test]
async fn a_day_that_is_none_is_refused_in_plain_words() {
    let s = seeded().await;
    for (arguments, word) in [
        (
            &["daily", "--from", "2026-02-30"][..],
            "write year, month and day",
        ),
        (&["ledger", "--to", "soon"][..], "write year, month and day"),
        (
            &["ledger", "--from", "2026-03-02", "--to", "2026-03-01"][..],
            "before it begins",
        ),
    ] {
        let (code, said) = report(&s, arguments).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
