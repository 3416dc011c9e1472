//! What a list of sagas is asked for: which of them, in which order, and where a page begins.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::app::bookings::list::push_found;
use crate::app::wire::*;

/// Bookings that a search looks at, the newest of those that fit.
const MOST_FOUND: i64 = 2_000;
const LONGEST_SEARCH: usize = 200;
/// Ten years.
const OLDEST_H: u32 = 87_600;
/// Since when a saga is as it is, whichever tab it stands in.
const SINCE: &str = "coalesce(s.finished_at, s.parked_at, s.created_at)";

/// Will go wrong by itself if nothing happens: a hold or an authorisation about to end, an answer that stays away, a turn that
/// nobody takes since no running program knows its definition.
const AT_RISK: &str =
    "(s.direction = 'F' and s.step in ('hold', 'payment') and s.hold_expires_at < now() + interval '2 minutes'
      or s.auth_expires_at < now() + interval '12 hours' and s.pivot_passed_at is null
      or s.error_class = 'unknown' and s.updated_at < now() - interval '30 seconds'
      or s.attempt > 3
      or s.wake_at < now() - interval '1 minute' and s.paused_at is null
         and (s.definition, s.def_version::text) not in (select k.value->>'definition', k.value->>'version' from read.saga_workers_v1 w cross join jsonb_array_elements(w.supports) k
                                                          where w.heartbeat_at > now() - interval '60 seconds'))";
const LIVE: &str = "s.finished_at is null and s.state <> 'parked'";
const CUSTOMER: &str = "s.state = 'waiting' and s.direction = 'F' and s.step = 'payment' and s.await_key is not null and s.error_class is null";

pub fn condition(tab: SagaTab) -> String {
    match tab {
        SagaTab::NeedsPerson => {
            "s.state = 'parked' and (s.snoozed_until is null or s.snoozed_until < now())".to_owned()
        }
        SagaTab::Snoozed => "s.state = 'parked' and s.snoozed_until >= now()".to_owned(),
        SagaTab::AtRisk => format!("{LIVE} and {AT_RISK}"),
        // That it is not over follows from its state, but only said is it found by the index of what lives.
        SagaTab::WaitingForCustomer => format!("s.finished_at is null and {CUSTOMER}"),
        SagaTab::WaitingForProvider => {
            format!("s.finished_at is null and s.state = 'waiting' and not ({CUSTOMER})")
        }
        SagaTab::Running => {
            "s.finished_at is null and s.state in ('running', 'compensating')".to_owned()
        }
        SagaTab::Done => "s.finished_at is not null".to_owned(),
    }
}

/// The time that a tab goes by, and whether the newest stands first.
fn time_of(tab: SagaTab) -> (&'static str, bool) {
    match tab {
        SagaTab::NeedsPerson | SagaTab::Snoozed => ("s.parked_at", false),
        SagaTab::Done => ("s.finished_at", true),
        _ => ("s.created_at", false),
    }
}

/// What is looked for, where something is. Whoever is about to type a reference has said nothing until its first sign, and sees
/// the tab as it is.
fn searched(filter: &SagaFilter) -> Option<&str> {
    let text = filter.search.as_deref().map(str::trim);
    text.filter(|text| text.split_whitespace().any(says_which))
}

fn says_which(word: &str) -> bool {
    !"bk-".starts_with(&word.to_lowercase())
}

/// The order of a list. All its columns go the same way, so that one comparison of rows says where a page begins.
pub enum Order {
    Time {
        column: &'static str,
        newest_first: bool,
    },
    Price,
}

impl Order {
    pub fn of(filter: &SagaFilter) -> Order {
        let (column, newest_first) = match searched(filter) {
            Some(_) => ("s.created_at", true),
            None => time_of(filter.tab),
        };
        match filter.order {
            SagaOrder::Time => Order::Time {
                column,
                newest_first,
            },
            SagaOrder::Price => Order::Price,
        }
    }

    fn columns(&self) -> Vec<&'static str> {
        match self {
            Order::Time { column, .. } => vec![column, "s.saga_id"],
            Order::Price => vec!["s.currency", "s.amount_minor", "s.saga_id"],
        }
    }

    fn falling(&self) -> bool {
        match self {
            Order::Time { newest_first, .. } => *newest_first,
            Order::Price => true,
        }
    }

    pub fn by(&self) -> String {
        let way = if self.falling() { " desc" } else { "" };
        let columns: Vec<String> = self
            .columns()
            .iter()
            .map(|column| format!("{column}{way}"))
            .collect();
        format!(" order by {}", columns.join(", "))
    }

    /// What names a row's place: `<microseconds>:<saga>`, or `<currency>:<minor>:<saga>`.
    pub fn place(&self) -> String {
        match self {
            Order::Time { column, .. } => {
                format!("(extract(epoch from {column}) * 1000000)::bigint || ':' || s.saga_id")
            }
            Order::Price => "s.currency || ':' || s.amount_minor || ':' || s.saga_id".to_owned(),
        }
    }

    /// Only what stands behind that place.
    pub fn push_after(
        &self,
        query: &mut QueryBuilder<Postgres>,
        place: &str,
    ) -> Result<(), AppError> {
        let unknown =
            || AppError::invalid("after", "This page cannot be found: begin at the first.");
        let than = if self.falling() { "<" } else { ">" };
        query.push(format!(" and ({}) {than} (", self.columns().join(", ")));
        let (key, id) = place.rsplit_once(':').ok_or_else(unknown)?;
        match self {
            Order::Time { .. } => {
                let at = key
                    .parse()
                    .ok()
                    .and_then(DateTime::<Utc>::from_timestamp_micros);
                query.push_bind(at.ok_or_else(unknown)?);
            }
            Order::Price => {
                let (currency, minor) = key.split_once(':').ok_or_else(unknown)?;
                query
                    .push_bind(currency.to_owned())
                    .push("::bpchar, ")
                    .push_bind(minor.parse::<i64>().map_err(|_| unknown())?);
            }
        }
        query
            .push(", ")
            .push_bind(id.parse::<Uuid>().map_err(|_| unknown())?)
            .push(")");
        Ok(())
    }
}

/// Which sagas `s` a filter finds.
pub fn push(query: &mut QueryBuilder<Postgres>, filter: &SagaFilter) -> Result<(), AppError> {
    let since = match searched(filter) {
        Some(text) => {
            push_search(query, text)?;
            SINCE
        }
        None => {
            query.push(condition(filter.tab));
            if let Some(group) = &filter.group {
                push_group(query, group)?;
            }
            time_of(filter.tab).0
        }
    };
    match filter.who {
        Some(SagaWho::Me) => query.push(" and s.assigned_to = session_user::text"),
        Some(SagaWho::Nobody) => query.push(" and s.assigned_to is null"),
        None => query,
    };
    if let Some(definition) = &filter.definition {
        query
            .push(" and s.definition = ")
            .push_bind(definition.clone());
    }
    if let Some(hours) = filter.older_than_h {
        push_older(query, since, hours)?;
    }
    match &filter.price {
        Some(price) => push_price(query, price),
        None => Ok(()),
    }
}

fn push_older(query: &mut QueryBuilder<Postgres>, since: &str, hours: u32) -> Result<(), AppError> {
    let hours = i32::try_from(hours).ok();
    let hours = hours.filter(|h| (1..=OLDEST_H as i32).contains(h));
    let hours = hours.ok_or_else(|| {
        AppError::invalid("older_than_h", "An age is between 1 and 87,600 hours.")
    })?;
    query
        .push(format!(" and {since} < now() - make_interval(hours => "))
        .push_bind(hours)
        .push(")");
    Ok(())
}

fn push_price(query: &mut QueryBuilder<Postgres>, price: &PriceRange) -> Result<(), AppError> {
    let (from, to) = (price.from_minor, price.to_minor);
    if matches!((from, to), (Some(from), Some(to)) if from > to) {
        return Err(AppError::invalid(
            "price",
            "The lower end of the price is above the upper one.",
        ));
    }
    query
        .push(" and s.currency = ")
        .push_bind(price.currency.clone())
        .push("::bpchar");
    for (than, end) in [(">=", from), ("<=", to)] {
        if let Some(minor) = end {
            query
                .push(format!(" and s.amount_minor {than} "))
                .push_bind(minor);
        }
    }
    Ok(())
}

fn push_search(query: &mut QueryBuilder<Postgres>, exact: &str) -> Result<(), AppError> {
    if exact.chars().count() > LONGEST_SEARCH {
        return Err(AppError::invalid(
            "search",
            "A search has at most 200 signs.",
        ));
    }
    if let Ok(id) = exact.parse::<Uuid>() {
        query
            .push("(s.saga_id = ")
            .push_bind(id)
            .push(" or s.booking_id = ")
            .push_bind(id)
            .push(")");
        return Ok(());
    }
    let text = exact.to_lowercase();
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| says_which(word))
        .take(8)
        .collect();
    // As arrays, each made once by its own index: then sagas are found by theirs, and not by asking each of them.
    query.push(
        "(s.saga_id = any(array(select g.saga_id from read.saga_signals_v1 g where g.signal_id = ",
    );
    query.push_bind(exact.to_owned());
    query.push(" union all select f.saga_id from read.effects_v1 f where f.provider_object = ");
    query.push_bind(exact.to_owned());
    // First what fits, by its own indexes, then the newest of it: a word that most bookings share would be a saga's work for each.
    query.push(
        ")) or s.booking_id = any(array(select f.booking_id from (select b.booking_id, b.changed_at from read.bookings_v1 b where true",
    );
    for word in &words {
        query.push(" and ");
        push_found(query, word);
    }
    query
        .push(" offset 0) f order by f.changed_at desc limit ")
        .push_bind(MOST_FOUND);
    query.push(")");
    // A list that is behind, or stands still, does not know it: the register does.
    if let [reference] = words[..]
        && reference.starts_with("bk-")
    {
        query
            .push(" || array(select r.booking_id from read.references_v1 r where r.reference = ")
            .push_bind(reference.to_uppercase())
            .push(")");
    }
    query.push("))");
    Ok(())
}

/// `notify:F:refused`, as the groups of a list are named.
fn push_group(query: &mut QueryBuilder<Postgres>, key: &str) -> Result<(), AppError> {
    let bad = || AppError::invalid("group", "A group is named like notify:F:refused.");
    let mut parts = key.splitn(3, ':');
    let (Some(step), Some(direction), Some(cause)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    query
        .push(" and coalesce(s.step, '') = ")
        .push_bind(step.to_owned())
        .push(" and s.direction::text = ")
        .push_bind(direction.to_owned())
        .push(" and coalesce(s.error_class, s.park_code, 'other') = ")
        .push_bind(cause.to_owned());
    Ok(())
}
