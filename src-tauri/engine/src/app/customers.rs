//! Finding a customer while a booking is made.

use sqlx::{Postgres, QueryBuilder, Row};

use super::bookings::list::push_word;
use super::desk::Desk;
use super::wire::*;

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
