//! Read models that no page of the window shows, as rows for a table or a file: the daily report, the ledger, customers.
//!
//! Rows come as the database sends them, so a long range takes no more memory than a short one. What they say and the
//! position they say it of are read in one snapshot, under the rights of the person's own login.

use chrono::NaiveDate;
use futures_util::TryStreamExt;
use sqlx::{PgConnection, Row as _};

use super::desk::Desk;
use super::wire::AppError;

const READ_ONLY: &str = "begin isolation level repeatable read read only";

pub enum Report {
    /// A row for each day and currency.
    Daily(Range),
    /// A row for each account and currency, then one for all accounts of a currency.
    Ledger(Range),
    /// A row for each customer and currency; of whom this finds, or of everybody.
    Customers(Option<String>),
}

/// Days of the place, both among them. `None`: without an end on that side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    pub from: Option<NaiveDate>,
    pub to: Option<NaiveDate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    /// Minor units of the row's `currency`.
    Minor,
    /// 0 to 1.
    Share,
    /// `true` or `false`.
    Truth,
}

pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// A cell for each column. `None`: not known.
pub type Row = Vec<Option<String>>;

/// What the rows are true of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AsOf {
    pub position: i64,
    /// Since when an event waits that is not in them; 0 when none does.
    pub behind_seconds: f64,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

static DAILY: [Column; 16] = [
    column("day", Kind::Text),
    column("currency", Kind::Text),
    column("made", Kind::Number),
    column("confirmed", Kind::Number),
    column("cancelled", Kind::Number),
    column("expired", Kind::Number),
    column("visits", Kind::Number),
    column("no_shows", Kind::Number),
    column("no_show_rate", Kind::Share),
    column("booked_min", Kind::Number),
    column("opening_min", Kind::Number),
    column("utilisation", Kind::Share),
    column("captured", Kind::Minor),
    column("refunded", Kind::Minor),
    column("revenue", Kind::Minor),
    column("lead_median_min", Kind::Number),
];

/// Hours are known of people only, so utilisation is of all of them together and the same for each currency of a day.
const DAILY_ROWS: &str = "
    select array[d.day::text, d.currency, d.made::text, d.confirmed::text, d.cancelled::text, d.expired::text, d.visits::text, d.no_shows::text,
                 d.no_show_rate::text, d.booked_min::text, u.opening_min::text, round(u.booked_min / nullif(u.opening_min, 0), 4)::text,
                 d.captured_minor::text, d.refunded_minor::text, (d.captured_minor - d.refunded_minor)::text, round(d.lead_median_min)::text]
      from read.daily_report_v1 d
      left join (select day, sum(booked_min) as booked_min, sum(opening_min) as opening_min from read.utilisation_v1
                  where ($1::date is null or day >= $1) and ($2::date is null or day <= $2) group by day) u using (day)
     where ($1::date is null or d.day >= $1) and ($2::date is null or d.day <= $2)
     order by d.day, d.currency, d.zone";

static LEDGER: [Column; 6] = [
    column("currency", Kind::Text),
    column("account", Kind::Text),
    column("debits", Kind::Minor),
    column("credits", Kind::Minor),
    column("balance", Kind::Minor),
    column("even", Kind::Truth),
];

const LEDGER_ROWS: &str = "
    select array[currency, coalesce(account, 'all'), sum(debited_minor)::text, sum(credited_minor)::text, sum(moved_minor)::text,
                 case when account is null then (sum(debited_minor) = sum(credited_minor))::text end]
      from read.ledger_days_v1
     where ($1::date is null or day >= $1) and ($2::date is null or day <= $2)
     group by grouping sets ((currency, account), (currency))
     order by currency, account nulls last";

static CUSTOMERS: [Column; 13] = [
    column("customer_id", Kind::Text),
    column("name", Kind::Text),
    column("bookings", Kind::Number),
    column("visits", Kind::Number),
    column("cancelled", Kind::Number),
    column("expired", Kind::Number),
    column("no_shows", Kind::Number),
    column("first_booking", Kind::Text),
    column("last_start", Kind::Text),
    column("currency", Kind::Text),
    column("captured", Kind::Minor),
    column("refunded", Kind::Minor),
    column("spent", Kind::Minor),
];

/// A visit is what was confirmed, not given up, and has begun without a no-show. By its id, an address, a booking's reference or every
/// word of a name.
const CUSTOMER_ROWS: &str = "
    with wanted as materialized (
      select c.customer_id, c.name from read.customers_v1 c
       where $1::text is null or c.customer_id::text = lower($1) or lower(c.email) = lower($1)
          or c.customer_id in (select b.customer_id from read.bookings_v1 b where b.reference = upper($1))
          or not exists (select 1 from regexp_split_to_table(lower($1), '\\s+') w where strpos(lower(c.name), w) = 0)),
    begun as (
      select customer_id, count(*) as n from read.history_bookings_v1
       where confirmed and not ended and starts_at <= now() and customer_id in (select customer_id from wanted) group by customer_id)
    select array[w.customer_id::text, w.name, h.bookings::text, (coalesce(b.n, 0) - h.no_shows)::text, h.cancelled::text, h.expired::text,
                 h.no_shows::text, to_char(h.first_booking_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                 to_char(h.last_start_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), s.currency, s.captured_minor::text,
                 s.refunded_minor::text, (s.captured_minor - s.refunded_minor)::text]
      from wanted w join read.customer_history_v1 h using (customer_id)
      left join begun b using (customer_id) left join read.customer_spend_v1 s using (customer_id)
     order by h.last_booking_at desc, w.customer_id, s.currency";

impl Report {
    pub fn columns(&self) -> &'static [Column] {
        match self {
            Report::Daily(_) => &DAILY,
            Report::Ledger(_) => &LEDGER,
            Report::Customers(_) => &CUSTOMERS,
        }
    }

    /// The projections whose rows it shows.
    fn projections(&self) -> &'static [&'static str] {
        match self {
            Report::Daily(_) => &["daily_report"],
            Report::Ledger(_) => &["ledger"],
            Report::Customers(_) => &["customer_history", "customers"],
        }
    }
}

/// Gives out one row after the other.
pub async fn read(
    desk: &Desk,
    report: &Report,
    mut put: impl FnMut(Row) -> Result<(), AppError>,
) -> Result<AsOf, AppError> {
    if let Report::Daily(range) | Report::Ledger(range) = report {
        in_order(*range)?;
    }
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let as_of = as_of(&mut tx, report.projections()).await?;
    let rows = match report {
        Report::Daily(r) => sqlx::query_scalar(DAILY_ROWS).bind(r.from).bind(r.to),
        Report::Ledger(r) => sqlx::query_scalar(LEDGER_ROWS).bind(r.from).bind(r.to),
        Report::Customers(whose) => sqlx::query_scalar(CUSTOMER_ROWS).bind(whose),
    };
    let mut rows = rows.fetch(&mut *tx);
    while let Some(row) = rows.try_next().await? {
        put(row)?;
    }
    drop(rows);
    tx.commit().await?;
    Ok(as_of)
}

fn in_order(range: Range) -> Result<(), AppError> {
    match (range.from, range.to) {
        (Some(from), Some(to)) if to < from => Err(AppError::invalid(
            "to",
            format!("The range ends on {to}, before it begins on {from}."),
        )),
        _ => Ok(()),
    }
}

async fn as_of(conn: &mut PgConnection, projections: &[&str]) -> Result<AsOf, AppError> {
    let row = sqlx::query(
        "select p.position,
                coalesce((select extract(epoch from greatest(now() - e.recorded_at, interval '0')) from read.events_v1 e
                           where e.position > p.position order by e.position limit 1), 0)::float8 as behind
           from (select coalesce(min(position), 0) as position from read.checkpoints where name = any($1)) p",
    )
    .bind(projections)
    .fetch_one(conn)
    .await?;
    Ok(AsOf {
        position: row.try_get("position")?,
        behind_seconds: row.try_get("behind")?,
    })
}
