//! Who is at the desk, and how the desk is.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, Row};

use super::desk::Desk;
use super::lamps::{self, Checked};
use super::place::{self, moment};
use super::wire::*;
use crate::store::ordering;
use crate::store::schema;

pub async fn session(desk: &Desk, _: Empty) -> Result<Session, AppError> {
    let mut conn = desk.people.acquire().await?;
    let row = sqlx::query(
        "select session_user::text as login, current_database()::text as database_name,
                split_part(current_setting('server_version'), ' ', 1) as server_version,
                (select coalesce(max(version), 0) from read.migrations_v1 where success) as schema_version,
                coalesce((select value #>> '{}' from read.settings_v1 where name = 'display_name.' || session_user), (select display_name from read.me_v1)) as display_name",
    )
    .fetch_one(&mut *conn)
    .await?;
    let place = place::find(&mut conn).await?;
    let login: String = row.try_get("login")?;
    let schema: i64 = row.try_get("schema_version")?;
    let place = place.unwrap_or_else(|| place::Place {
        business_name: String::new(),
        name: String::new(),
        zone: "UTC".to_owned(),
        currency: "EUR".to_owned(),
    });
    Ok(Session {
        display_name: row
            .try_get::<Option<String>, _>("display_name")?
            // The login that this computer made for itself is the person who sits at it.
            .unwrap_or_else(|| {
                if login.starts_with("bizing_desk_") {
                    "You".to_owned()
                } else {
                    login.clone()
                }
            }),
        login,
        group: desk.group,
        mode: mode(desk),
        profile: desk.profile,
        business_name: place.business_name,
        location_name: place.name,
        zone: place.zone,
        currency: place.currency,
        database_name: row.try_get("database_name")?,
        server_version: row.try_get("server_version")?,
        schema_version: u32::try_from(schema).unwrap_or(0),
        read_only: desk.read_only.clone(),
        works_here: desk.works_here.is_some(),
    })
}

/// Anything but `live` is a sandbox: money never moves by mistake.
pub fn mode(desk: &Desk) -> Mode {
    match desk.installation.mode.as_str() {
        "live" => Mode::Live,
        _ => Mode::Sandbox,
    }
}

pub async fn status(desk: &Desk, _: Empty) -> Result<Status, AppError> {
    let mut conn = desk.people.acquire().await?;
    let asked = Instant::now();
    let now: DateTime<Utc> = sqlx::query_scalar("select now() from (select 1) x")
        .fetch_one(&mut *conn)
        .await?;
    let latency = asked.elapsed();

    let facts = facts(&mut conn).await?;
    let position: i64 = sqlx::query_scalar("select api.safe_position()")
        .fetch_one(&mut *conn)
        .await?;
    let projections = projections(&mut conn, now).await?;
    let lag_cause = lag_cause(&mut conn).await?;
    // An older schema has no place for either.
    let (old_snapshot, backup) = match desk.read_only {
        None => (old_snapshot(&mut conn).await?, backup(&mut conn).await?),
        Some(_) => (None, LastBackup::default()),
    };
    let unread = schema::unreplayable(&mut conn).await?;
    let zone = place::find(&mut conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);

    let parked = projections.iter().find(|p| p.parked.is_some());
    Ok(Status {
        now: moment(now, &zone)?,
        database: lamps::database(
            now,
            latency,
            &lamps::Worries {
                parked,
                unread: &unread,
                lag_cause: lag_cause.as_deref(),
                backup_overdue: backup.overdue,
                old_snapshot: old_snapshot.as_deref(),
            },
        ),
        stripe: lamps::stripe(
            now,
            facts.stripe,
            facts.stripe_every,
            facts.workers,
            desk.connections.stripe_set,
        ),
        mail: lamps::mail(now, facts.mail, facts.workers, desk.connections.mail_set),
        workers: u32::try_from(facts.workers).unwrap_or(u32::MAX),
        works_here: desk.works_here.is_some(),
        position,
        projections,
        rebuild_percent: facts.rebuild_percent.and_then(|n| u32::try_from(n).ok()),
        lag_cause,
        old_snapshot,
        log_id: desk.log_id,
        log_change: match &desk.log_change {
            Some(changed) => Some(changed.shown(&zone)?),
            None => None,
        },
        last_good_backup: backup.good.map(|at| moment(at, &zone)).transpose()?,
        backup_overdue: backup.overdue,
        counts: facts.counts,
        endpoints_in_trouble: facts.trouble,
    })
}

/// How many decisions wait for a person, as the window's rail counts them.
pub async fn decisions(desk: &Desk) -> Result<u32, AppError> {
    let mut conn = desk.people.acquire().await?;
    let text = format!("select {SAGAS_NEED_PERSON} + {DELIVERIES_NEED_PERSON}");
    // The text is made of our own words.
    let waiting: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .fetch_one(&mut *conn)
        .await?;
    Ok(u32::try_from(waiting).unwrap_or(u32::MAX))
}

/// What would be cut short by closing the window now. Nothing is lost by it: the next owner looks what became of each.
pub async fn leaving(desk: &Desk, _: Empty) -> Result<Leaving, AppError> {
    let Some(worker) = &desk.works_here else {
        return Ok(Leaving {
            with_provider: 0,
            elsewhere: true,
        });
    };
    let (asked, elsewhere): (i64, bool) = sqlx::query_as(
        "select (select count(*) from read.sagas_v2 s
                  where s.lease_owner = $1 and s.lease_expires_at > now()
                    and exists (select from read.effects_v1 e where e.saga_id = s.saga_id and e.first_sent_at is not null and e.resolved_at is null)),
                exists (select from read.saga_workers_v1 where worker_id <> $1 and heartbeat_at > now() - interval '60 seconds' and not draining)",
    )
    .bind(worker.worker_id().0)
    .fetch_one(&desk.people)
    .await?;
    Ok(Leaving {
        with_provider: u32::try_from(asked).unwrap_or(u32::MAX),
        elsewhere,
    })
}

const SAGAS_NEED_PERSON: &str = "((select count(*) from read.sagas_v1 where state = 'parked')
                  + (select count(*) from read.disputes_v1 where closed_at is null and coalesce(submissions, 0) = 0))";
/// A message to a customer is its saga's to decide, and is counted there.
const DELIVERIES_NEED_PERSON: &str = "((select count(*) from (select from read.deliveries_v2 d join read.destination_names_v1 n using (destination_id)
                                        where d.state in ('gave_up', 'unclear', 'held') and n.kind = 'webhook' limit 1000) x)
                  + (select count(*) from read.destinations_v1 where kind = 'webhook' and state = 'disabled' and state_reason in ('gone', 'days_of_failures')))";

struct Facts {
    workers: i64,
    stripe: Option<Checked>,
    stripe_every: Option<TimeDelta>,
    mail: Option<Checked>,
    counts: Counts,
    trouble: Vec<EndpointTrouble>,
    rebuild_percent: Option<i32>,
}

async fn facts(conn: &mut PgConnection) -> Result<Facts, AppError> {
    let text = format!(
        "select (select count(*) from read.workers_v1 where heartbeat_at > now() - interval '60 seconds') as workers,
                s.checked_at as stripe_at, s.problem as stripe_problem, s.source is not null as stripe_asked, s.every_s as stripe_every_s,
                m.source is not null as mail_asked, m.checked_at as mail_at, m.problem as mail_problem,
                {SAGAS_NEED_PERSON} as need_person,
                (select count(*) from read.sagas_v1 where finished_at is null and state in ('running', 'waiting', 'compensating')) as open,
                (select count(*) from (select from read.deliveries_v2 where state = 'scheduled' and attempt > 0 limit 1000) x) as failing,
                {DELIVERIES_NEED_PERSON} as deliveries_need_person,
                (select min(case when events_total > 0 then least(99, 100 * events_done / events_total) else 0 end)::int
                   from read.rebuilds where state = 'running') as rebuild_percent
           from (select 1) x
           left join read.inbox_sources_v1 s on s.source = 'stripe'
           left join read.poll_cursors_v1 m on m.source = 'email'"
    );
    // The text is made of our own words.
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .fetch_one(&mut *conn)
        .await?;
    let trouble = trouble(conn).await?;
    let stripe = row.try_get::<bool, _>("stripe_asked")?.then_some(Checked {
        at: row.try_get("stripe_at")?,
        problem: row.try_get("stripe_problem")?,
    });
    let mail = row.try_get::<bool, _>("mail_asked")?.then_some(Checked {
        at: row.try_get("mail_at")?,
        problem: row.try_get("mail_problem")?,
    });
    Ok(Facts {
        workers: row.try_get("workers")?,
        stripe,
        stripe_every: row
            .try_get::<Option<i32>, _>("stripe_every_s")?
            .map(|s| TimeDelta::seconds(s.into())),
        mail,
        counts: Counts {
            sagas_need_person: row.try_get("need_person")?,
            sagas_open: row.try_get("open")?,
            deliveries_failing: row.try_get("failing")?,
            deliveries_need_person: row.try_get("deliveries_need_person")?,
        },
        trouble,
        rebuild_percent: row.try_get("rebuild_percent")?,
    })
}

async fn trouble(conn: &mut PgConnection) -> Result<Vec<EndpointTrouble>, AppError> {
    let rows =
        sqlx::query("select * from read.endpoints_in_trouble_v1 order by change_id desc limit 20")
            .fetch_all(conn)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(EndpointTrouble {
                destination_id: row.try_get("destination_id")?,
                name: row.try_get("name")?,
                off_at: row.try_get("off_at")?,
                since: row.try_get("failing_since")?,
                off: row.try_get("state_reason")?,
                error: row.try_get("last_error")?,
                news: row.try_get("change_id")?,
            })
        })
        .collect()
}

/// Lag in events counts positions: a refused append may have burnt a few.
/// Behind the last position that was given out: the safe one stands still with the readers while an append stays open.
async fn projections(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<Vec<ProjectionStatus>, AppError> {
    let rows = sqlx::query(
        "select c.name, c.version, c.position, c.parked, i.issued,
                (select e.recorded_at from read.events_v1 e where e.position > c.position order by e.position limit 1) as waiting_since
           from read.checkpoints c cross join (select api.issued_position() as issued) i order by c.name, c.version",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let position: i64 = row.try_get("position")?;
            let behind = (row.try_get::<i64, _>("issued")? - position).max(0);
            let since: Option<DateTime<Utc>> = row.try_get("waiting_since")?;
            let lag = since
                .filter(|_| behind > 0)
                .map_or(TimeDelta::zero(), |at| now - at);
            let parked: Option<serde_json::Value> = row.try_get("parked")?;
            Ok(ProjectionStatus {
                name: row.try_get("name")?,
                version: row.try_get("version")?,
                position,
                lag_events: behind,
                lag_seconds: lag.as_seconds_f64().max(0.0),
                parked: parked.map(|p| {
                    format!(
                        "event {}: {}",
                        p["position"],
                        p["error"].as_str().unwrap_or("unknown error")
                    )
                }),
            })
        })
        .collect()
}

/// What keeps old rows in place longer than reports and backups of this size do. It delays nobody; tables grow meanwhile.
async fn old_snapshot(conn: &mut PgConnection) -> Result<Option<String>, AppError> {
    let row = sqlx::query(
        "select format('%s, login %s, database %s, %s, open for %s min: %s', coalesce('pid ' || pid, 'no process'), login, database, state,
                       floor(age_seconds / 60), split_part(query, e'\n', 1)) as who
           from api.oldest_snapshot() where age_seconds > 600",
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| row.try_get("who")).transpose()?)
}

#[derive(Default)]
struct LastBackup {
    good: Option<DateTime<Utc>>,
    overdue: bool,
}

/// As the audit `backup.good_one_is_old` has it.
async fn backup(conn: &mut PgConnection) -> Result<LastBackup, AppError> {
    let row = sqlx::query(
        "select g.at, coalesce(greatest(g.at, i.created_at) < now() - interval '2 days' and exists (select 1 from read.log_v1), false) as overdue
           from (select max(started_at) as at from read.backups_v1 where proof is not null and proof->>'problem' is null and removed_at is null) g
           left join read.installation_v1 i on true",
    )
    .fetch_one(conn)
    .await?;
    Ok(LastBackup {
        good: row.try_get("at")?,
        overdue: row.try_get("overdue")?,
    })
}

/// An append that stays open keeps every reader waiting, so it is named once it lasts longer than appends do.
async fn lag_cause(conn: &mut PgConnection) -> Result<Option<String>, AppError> {
    let order = ordering::of(conn).await?;
    let holder = order.keeps_readers_waiting(conn).await?;
    Ok(holder.filter(|h| h.age_seconds > 2.0).map(|h| {
        let who = match h.pid {
            Some(pid) => format!("pid {pid}, login {}", h.login),
            None => format!("login {}", h.login),
        };
        format!(
            "{who}, {}, open for {:.0} s: {}",
            h.state,
            h.age_seconds,
            h.query.lines().next().unwrap_or_default()
        )
    }))
}
