//! How fast the live read models move: counted in memory, written as one row for ten seconds in which something moved.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::PgPool;

const EVERY: Duration = Duration::from_secs(10);

/// Of this process.
static COUNTED: Mutex<Option<Counted>> = Mutex::new(None);

struct Counted {
    since: Instant,
    events: HashMap<&'static str, i64>,
}

pub fn add(name: &'static str, events: usize) {
    let mut counted = COUNTED.lock().unwrap_or_else(|e| e.into_inner());
    let counted = counted.get_or_insert_with(|| Counted {
        since: Instant::now(),
        events: HashMap::new(),
    });
    *counted.events.entry(name).or_default() += i64::try_from(events).unwrap_or(i64::MAX);
}

/// Writes what was counted, when ten seconds are over. What cannot be written is forgotten: it is a picture, no fact.
pub async fn write(pool: &PgPool) {
    let counted = {
        let mut counted = COUNTED.lock().unwrap_or_else(|e| e.into_inner());
        counted.take_if(|c| c.since.elapsed() >= EVERY)
    };
    let Some(counted) = counted else { return };
    let (names, events): (Vec<&str>, Vec<i64>) = counted.events.into_iter().unzip();
    let written = sqlx::query(
        "with old as (delete from read.projection_rates where at < now() - interval '15 minutes')
         insert into read.projection_rates (name, at, events, holder)
         select n, date_bin('10 seconds', now(), 'epoch'), e, session_user from unnest($1::text[], $2::bigint[]) as x(n, e)
         on conflict (name, at) do update set events = projection_rates.events + excluded.events, holder = excluded.holder",
    )
    .bind(names)
    .bind(events)
    .execute(pool)
    .await;
    if let Err(error) = written {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the read models' speed was not noted"
        );
    }
}
