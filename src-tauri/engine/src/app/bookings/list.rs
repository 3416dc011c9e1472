//! The list of bookings: filters, keyset pages, counts.
//!
//! A page is cheap wherever it lies, because it starts at a key and not at an offset. Rows, counts and position come
//! from one snapshot.

use chrono::DateTime;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::cursor::{Cursor, Key};
use super::row::{COLUMNS, NEWEST_SAGA, booking_row};
use crate::app::desk::Desk;
use crate::app::place;
use crate::app::wire::*;
use crate::domain::slot;

const READ_ONLY: &str = "begin isolation level repeatable read read only";
const LONGEST_SEARCH: usize = 200;
/// Above this many rows the total is the planner's estimate: counting them all would cost more than it tells.
const COUNTED_EXACTLY: i64 = 200_000;

pub async fn list(desk: &Desk, request: ListBookings) -> Result<BookingList, AppError> {
    if !(1..=1000).contains(&request.limit) {
        return Err(AppError::invalid(
            "limit",
            "A page has 1 to 1,000 bookings.",
        ));
    }
    let after = request
        .after
        .as_deref()
        .map(|text| Cursor::parse(text, request.sort, request.descending))
        .transpose()?;
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let filter = Filter::new(&mut tx, &request).await?;

    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS);
    query.push(" from (select * from read.bookings_v1 b");
    filter.push(&mut query);
    push_after(&mut query, request.sort, request.descending, after.as_ref());
    push_order(&mut query, request.sort, request.descending);
    query
        .push(" limit ")
        .push_bind(i64::from(request.limit) + 1);
    query.push(") b ").push(NEWEST_SAGA);
    push_order(&mut query, request.sort, request.descending);
    // Not kept: a plan made without the values would not know how many rows a filter leaves.
    let rows = query.build().persistent(false).fetch_all(&mut *tx).await?;

    let total = total(&mut tx).await?;
    let matched = if filter.is_empty() {
        total
    } else {
        let mut count = QueryBuilder::<Postgres>::new("select count(*) from read.bookings_v1 b");
        filter.push(&mut count);
        let row = count.build().persistent(false).fetch_one(&mut *tx).await?;
        row.try_get(0)?
    };
    let position: Option<i64> =
        sqlx::query_scalar("select min(position) from read.checkpoints where name = 'bookings'")
            .fetch_one(&mut *tx)
            .await?;
    tx.commit().await?;

    let mut rows = rows
        .iter()
        .map(booking_row)
        .collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > request.limit as usize;
    rows.truncate(request.limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| cursor_of(last, request.sort, request.descending).text());
    Ok(BookingList {
        rows,
        next,
        total,
        matched,
        position: position.unwrap_or(0),
    })
}

async fn total(conn: &mut PgConnection) -> Result<i64, AppError> {
    let estimate: i64 = sqlx::query_scalar(
        "select coalesce(max(c.reltuples), 0)::bigint from read.generations g
           join pg_catalog.pg_namespace n on n.nspname = format('p_bookings_g%s', g.generation)
           join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'bookings'
          where g.name = 'bookings' and g.role = 'live'",
    )
    .fetch_one(&mut *conn)
    .await?;
    if estimate > COUNTED_EXACTLY {
        return Ok(estimate);
    }
    Ok(sqlx::query_scalar("select count(*) from read.bookings_v1")
        .fetch_one(conn)
        .await?)
}

// ---- filters -------------------------------------------------------------------------------------------------------

/// The checked filters of a request.
#[derive(Debug, Default)]
struct Filter {
    /// Each must be found, in the customer's data or in what the booking is called.
    words: Vec<String>,
    /// One sign only: the beginning of a reference.
    reference: Option<String>,
    states: Vec<String>,
    payments: Vec<String>,
    unknown_payment: bool,
    service_id: Option<Uuid>,
    resource_id: Option<Uuid>,
    from: Option<DateTime<chrono::Utc>>,
    to: Option<DateTime<chrono::Utc>>,
}

impl Filter {
    async fn new(conn: &mut PgConnection, request: &ListBookings) -> Result<Filter, AppError> {
        let mut filter = Filter {
            states: request.states.iter().map(snake).collect(),
            payments: request
                .payments
                .iter()
                .filter(|p| **p != PaymentState::Unknown)
                .map(snake)
                .collect(),
            unknown_payment: request.payments.contains(&PaymentState::Unknown),
            service_id: request.service_id,
            resource_id: request.resource_id,
            ..Filter::default()
        };
        filter.search(request.search.as_deref().unwrap_or_default())?;
        if request.from.is_some() || request.to.is_some() {
            let zone = place::here(conn).await?.zone;
            let day = |field, date: &Option<String>| {
                let not_a_date = || AppError::invalid(field, "Write the date as 2026-11-24.");
                date.as_deref()
                    .map(|d| slot::day(d, &zone).map_err(|_| not_a_date()))
                    .transpose()
            };
            filter.from = day("from", &request.from)?.map(|(begins, _)| begins);
            filter.to = day("to", &request.to)?.map(|(_, ends)| ends);
            if let (Some(from), Some(to)) = (filter.from, filter.to)
                && from >= to
            {
                return Err(AppError::invalid(
                    "to",
                    "The last day lies before the first.",
                ));
            }
        }
        Ok(filter)
    }

    fn search(&mut self, text: &str) -> Result<(), AppError> {
        if text.chars().count() > LONGEST_SEARCH {
            return Err(AppError::invalid(
                "search",
                "A search has at most 200 signs.",
            ));
        }
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [] => {}
            [one] if one.chars().count() < 2 => {
                self.reference = Some(format!("bk-{one}"));
            }
            _ => self.words = words.iter().take(8).map(|w| (*w).to_owned()).collect(),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty()
            && self.reference.is_none()
            && self.states.is_empty()
            && self.payments.is_empty()
            && !self.unknown_payment
            && self.service_id.is_none()
            && self.resource_id.is_none()
            && self.from.is_none()
            && self.to.is_none()
    }

    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" where true");
        for word in &self.words {
            query.push(" and ");
            push_found(query, word);
        }
        if let Some(prefix) = &self.reference {
            query.push(" and ");
            push_reference(query, prefix);
        }
        if !self.states.is_empty() {
            query
                .push(" and b.state = any(")
                .push_bind(self.states.clone())
                .push(")");
        }
        // Few sagas at a time owe an answer, and an index finds them; see `SagaFacts::outcome_unknown`.
        const OWED: &str = "b.booking_id in (select booking_id from read.sagas_v1
             where error_class = 'unknown' and finished_at is null and booking_id is not null)";
        match (self.payments.is_empty(), self.unknown_payment) {
            (true, false) => {}
            (true, true) => {
                query.push(" and ").push(OWED);
            }
            (false, unknown) => {
                query
                    .push(" and (b.payment = any(")
                    .push_bind(self.payments.clone())
                    .push(") and not ")
                    .push(OWED);
                if unknown {
                    query.push(" or ").push(OWED);
                }
                query.push(")");
            }
        }
        if let Some(service) = self.service_id {
            query.push(" and b.service_id = ").push_bind(service);
        }
        if let Some(resource) = self.resource_id {
            query
                .push(" and b.resources @> ")
                .push_bind(serde_json::json!([{ "id": resource }]));
        }
        if let Some(from) = self.from {
            query.push(" and b.starts_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            query.push(" and b.starts_at < ").push_bind(to);
        }
    }
}

/// A word anywhere in what is known of the customer, or that begins the reference or one of the provider's ids. Each has
/// an index of its own, and the customers' holds a name once and not once for each booking.
pub fn push_found(query: &mut QueryBuilder<Postgres>, word: &str) {
    query.push("(b.customer_id = any(array(select customer_id from read.customers_v1 where ");
    push_word(query, "search", word);
    query.push(")) or ");
    push_reference(query, word);
    query
        .push(" or octet_length(b.search) <= 2000 and array_to_tsvector((string_to_array(b.search, E'\\n'))[5:]) @@ ")
        .push_bind(beginning(word))
        .push("::tsquery)");
}

fn push_reference(query: &mut QueryBuilder<Postgres>, begins: &str) {
    let begins = match "bk-".starts_with(begins) {
        true => "",
        false => begins.strip_prefix("bk-").unwrap_or(begins),
    };
    query
        .push(format!("{REFERENCE} like "))
        .push_bind(format!("bk-{}%", escaped(begins)));
}

/// As its index has it.
const REFERENCE: &str = "lower(b.reference) collate \"C\"";

/// A `tsquery` for whatever begins like that.
fn beginning(word: &str) -> String {
    format!("'{}':*", word.replace('\\', "\\\\").replace('\'', "''"))
}

/// A word anywhere in the text. Of one or two signs it must begin a word: the trigram index can find that, and would
/// have to be read whole for anything shorter.
pub fn push_word(query: &mut QueryBuilder<Postgres>, column: &str, word: &str) {
    let escaped = escaped(word);
    if word.chars().count() > 2 {
        query
            .push(format!("{column} like "))
            .push_bind(format!("%{escaped}%"));
        return;
    }
    let begins = ["", "%\n", "% ", "%-"].map(|before| format!("{before}{escaped}%"));
    for (n, pattern) in begins.into_iter().enumerate() {
        query
            .push(if n == 0 { "(" } else { " or " })
            .push(format!("{column} like "))
            .push_bind(pattern);
    }
    query.push(")");
}

/// `%`, `_` and `\` mean themselves.
fn escaped(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The word that serde and the projection write.
fn snake<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

// ---- pages ---------------------------------------------------------------------------------------------------------

fn column(sort: BookingSort) -> &'static str {
    match sort {
        BookingSort::Starts => "b.starts_at",
        BookingSort::Changed => "b.changed_at",
        BookingSort::Customer => "b.customer_name",
        BookingSort::Price => "b.price_minor",
        BookingSort::Reference => REFERENCE,
    }
}

fn push_order(query: &mut QueryBuilder<Postgres>, sort: BookingSort, descending: bool) {
    let way = if descending { " desc" } else { "" };
    query.push(format!(
        " order by {}{way}, b.booking_id{way}",
        column(sort)
    ));
}

fn push_after(
    query: &mut QueryBuilder<Postgres>,
    sort: BookingSort,
    descending: bool,
    after: Option<&Cursor>,
) {
    let Some(cursor) = after else { return };
    let way = if descending { "<" } else { ">" };
    query.push(format!(" and ({}, b.booking_id) {way} (", column(sort)));
    match &cursor.key {
        Key::Time(micros) => {
            query.push_bind(DateTime::from_timestamp_micros(*micros).unwrap_or_default())
        }
        Key::Text(text) => query.push_bind(text.clone()),
        Key::Number(n) => query.push_bind(*n),
    };
    query.push(", ").push_bind(cursor.booking_id).push(")");
}

fn cursor_of(row: &BookingRow, sort: BookingSort, descending: bool) -> Cursor {
    let key = match sort {
        BookingSort::Starts => Key::Time(row.starts.utc.timestamp_micros()),
        BookingSort::Changed => Key::Time(row.changed_at.timestamp_micros()),
        BookingSort::Customer => Key::Text(row.customer.name.clone()),
        BookingSort::Price => Key::Number(row.price.amount_minor),
        BookingSort::Reference => Key::Text(row.reference.to_lowercase()),
    };
    Cursor {
        sort,
        descending,
        key,
        booking_id: row.booking_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(text: &str) -> Filter {
        let mut filter = Filter::default();
        filter.search(text).unwrap();
        filter
    }

    #[test]
    fn signs_of_like_mean_themselves() {
        assert_eq!(escaped(r"100%_\"), r"100\%\_\\");
    }

    #[test]
    fn what_an_id_begins_with_is_taken_as_it_stands() {
        assert_eq!(beginning("pi_3q"), "'pi_3q':*");
        assert_eq!(beginning(r"o'n\:*"), r"'o''n\\:*':*");
    }

    #[test]
    fn one_sign_is_the_beginning_of_a_reference_and_more_are_words() {
        assert_eq!(searched(" 7 ").reference.as_deref(), Some("bk-7"));
        assert_eq!(searched("Ana  SILVA").words, ["ana", "silva"]);
        assert!(searched("   ").is_empty());
    }

    #[test]
    fn words_are_those_of_the_wire() {
        assert_eq!(snake(&PaymentState::RefundFailed), "refund_failed");
        assert_eq!(snake(&BookingState::AwaitingPayment), "awaiting_payment");
    }
}
