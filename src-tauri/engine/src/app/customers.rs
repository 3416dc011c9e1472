//! Finding a customer while a booking is made, and what one did here.

use sqlx::{Postgres, QueryBuilder, Row};

use super::bookings::list::push_word;
use super::desk::Desk;
use super::place::{moment, money, word};
use super::wire::*;

const READ_ONLY: &str = "begin isolation level repeatable read read only";
/// Of their bookings, the latest.
const LATEST: i64 = 8;

/// Those whose name, e-mail or number has every word of the search; newest booking first. Under two signs nobody:
/// it would be everybody.
pub async fn find(desk: &Desk, request: FindCustomers) -> Result<Vec<CustomerRow>, AppError> {
    if !(1..=50).contains(&request.limit) {
        return Err(AppError::invalid("limit", "Ask for 1 to 50 customers."));
    }
    if request.search.chars().count() > 200 {
        return Err(AppError::invalid(
            "search",
            "A search has at most 200 signs.",
        ));
    }
    let search = request.search.to_lowercase();
    if search.trim().chars().count() < 2 {
        return Ok(vec![]);
    }
    let mut query = QueryBuilder::<Postgres>::new(
        "select customer_id, name, email, phone, bookings, last_booking_at from read.customers_v1 where not erased",
    );
    for word in search.split_whitespace().take(8) {
        query.push(" and ");
        push_word(&mut query, "search", word);
    }
    query
        .push(" order by last_booking_at desc nulls last, name, customer_id limit ")
        .push_bind(i64::from(request.limit));
    let rows = query
        .build()
        .persistent(false)
        .fetch_all(&desk.people)
        .await?;
    rows.iter().map(|row| customer_row(row, "")).collect()
}

/// Sums of the customer's history and the latest of their bookings, as of one moment. Whom no event tells of has none.
pub async fn history(
    desk: &Desk,
    request: GetCustomerHistory,
) -> Result<CustomerHistory, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let sums = sqlx::query(
        "select coalesce(h.bookings, 0) as bookings, coalesce(h.no_shows, 0) as no_shows, coalesce(h.cancelled, 0) as cancelled,
                (select count(*) from read.bookings_v1 b where b.customer_id = c.id and b.state = 'confirmed' and b.starts_at <= now()) as begun
           from (values ($1::uuid)) c(id) left join read.customer_history_v1 h on h.customer_id = c.id",
    )
    .bind(request.customer_id)
    .fetch_one(&mut *tx)
    .await?;
    let spent: Vec<(i64, String)> = sqlx::query_as(
        "select captured_minor - refunded_minor, currency from read.customer_spend_v1
          where customer_id = $1 and captured_minor <> refunded_minor order by currency",
    )
    .bind(request.customer_id)
    .fetch_all(&mut *tx)
    .await?;
    let latest = sqlx::query(
        "select booking_id, reference, service_name, starts_at, zone, state from read.bookings_v1
          where customer_id = $1 order by starts_at desc, booking_id limit $2",
    )
    .bind(request.customer_id)
    .bind(LATEST)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let (begun, no_shows): (i64, i64) = (sums.try_get("begun")?, sums.try_get("no_shows")?);
    Ok(CustomerHistory {
        bookings: sums.try_get("bookings")?,
        // The two read models may be an event apart.
        visits: (begun - no_shows).max(0),
        no_shows,
        cancelled: sums.try_get("cancelled")?,
        spent: spent.iter().map(|(n, c)| money(*n, c)).collect(),
        latest: latest.iter().map(booking).collect::<Result<_, _>>()?,
    })
}

fn booking(row: &sqlx::postgres::PgRow) -> Result<CustomersBooking, AppError> {
    Ok(CustomersBooking {
        booking_id: row.try_get("booking_id")?,
        reference: row.try_get("reference")?,
        service: row.try_get("service_name")?,
        starts: moment(row.try_get("starts_at")?, row.try_get("zone")?)?,
        state: word(row.try_get("state")?)?,
    })
}

/// Reads the columns of `read.customers_v1`, each under a prefix.
pub fn customer_row(row: &sqlx::postgres::PgRow, prefix: &str) -> Result<CustomerRow, AppError> {
    let at = |name: &str| format!("{prefix}{name}");
    Ok(CustomerRow {
        customer_id: row.try_get(at("customer_id").as_str())?,
        name: row.try_get(at("name").as_str())?,
        email: row.try_get(at("email").as_str())?,
        phone: row.try_get(at("phone").as_str())?,
        bookings: row.try_get(at("bookings").as_str())?,
        last_booking_at: row.try_get(at("last_booking_at").as_str())?,
    })
}
