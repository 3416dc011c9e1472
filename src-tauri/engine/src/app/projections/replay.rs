//! Asking for a replay: what it would read, and starting it.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{action, may_change, needs_reason, refused, told, unknown, view};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::{self, moment};
use crate::app::wire::*;
use crate::domain::slot::{self, Fold};
use crate::projection::{self, Rows};
use crate::store::browse;

/// What of the log a replay is about.
struct Source {
    /// Rows that no later event touches stay as they are.
    position: i64,
    stream: Option<String>,
    subject: Option<String>,
}

pub async fn preview(desk: &Desk, request: PreviewReplay) -> Result<ReplayPreview, AppError> {
    let mut conn = desk.people.acquire().await?;
    let known = newest(&request.projection)?;
    let zone = place::find(&mut conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let source = source(&mut conn, &request.from, &zone).await?;
    let row = sqlx::query(
        "select case when $2::text is null then greatest(api.safe_position() - $1, 0) else (select count(*) from read.events_v1 where stream_id = $2) end as events,
                (select recorded_at from read.events_v1 where position > $1 and ($2::text is null or stream_id = $2) order by position limit 1) as from_at,
                array(select name from read.rebuilds where state in ('running', 'waits_for_swap') and name <> $3) as running,
                exists (select 1 from read.rebuilds where state in ('running', 'paused', 'waits_for_swap') and name = $3) as own",
    )
    .bind(source.position)
    .bind(&source.stream)
    .bind(&request.projection)
    .fetch_one(&mut *conn)
    .await?;
    let events: i64 = row.try_get("events")?;
    let speed = view::speed(&mut conn).await?;
    let why_not = refused(desk)
        .or_else(|| cannot(known, &source))
        .or_else(|| match row.try_get("own") {
            Ok(true) => Some("A replay of it is under way already.".to_owned()),
            _ => None,
        });
    let from_at: Option<chrono::DateTime<chrono::Utc>> = row.try_get("from_at")?;
    Ok(ReplayPreview {
        from_position: source.position + 1,
        from_at: from_at.map(|at| moment(at, &zone)).transpose()?,
        events: Count {
            count: events,
            estimated: source.stream.is_none(),
        },
        seconds: speed.filter(|s| *s > 0.0).map(|s| events as f64 / s),
        subject: source.subject,
        running: row.try_get("running")?,
        actions: vec![
            action("dry_run", why_not.clone()),
            action("rebuild", why_not),
        ],
    })
}

pub async fn start(desk: &Desk, request: StartReplay) -> Result<ReplayStarted, AppError> {
    may_change(desk)?;
    needs_reason(Some(&request.reason))?;
    let mut conn = desk.people.acquire().await?;
    let known = newest(&request.projection)?;
    let zone = place::find(&mut conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let source = source(&mut conn, &request.from, &zone).await?;
    if let Some(why) = cannot(known, &source) {
        return Err(AppError::invalid("from", why));
    }
    let status: String =
        sqlx::query_scalar("select api.start_replay($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(request.command_id)
            .bind(&request.projection)
            .bind(known.version)
            .bind(serde_json::to_value(&request.from).map_err(internal)?)
            .bind(source.position)
            .bind(&source.stream)
            .bind(match request.mode {
                ReplayMode::DryRun => "dry_run",
                ReplayMode::Rebuild => "rebuild",
            })
            .bind(match request.speed {
                ReplaySpeed::Gentle => "gentle",
                ReplaySpeed::Normal => "normal",
                ReplaySpeed::AllCores => "all_cores",
            })
            .bind(&request.reason)
            .fetch_one(&mut *conn)
            .await?;
    told(&status, &request.projection)?;
    desk.bell.ring();
    desk.hints.changed("projections");
    Ok(ReplayStarted {
        rebuild_id: request.command_id,
    })
}

fn newest(name: &str) -> Result<&'static projection::Projection, AppError> {
    projection::ALL
        .iter()
        .copied()
        .filter(|p| p.name == name)
        .max_by_key(|p| p.version)
        .ok_or_else(|| unknown(name))
}

/// Why only a replay from zero is true here.
fn cannot(known: &projection::Projection, source: &Source) -> Option<String> {
    let whole = source.position == 0 && source.stream.is_none();
    match known.rows {
        Rows::OfMany(why) if !whole => Some(format!("{why} Replay it from the start.")),
        _ => None,
    }
}

async fn source(
    conn: &mut PgConnection,
    from: &ReplayFrom,
    zone: &str,
) -> Result<Source, AppError> {
    let at = |position: i64| Source {
        position,
        stream: None,
        subject: None,
    };
    match from {
        ReplayFrom::Start => Ok(at(0)),
        ReplayFrom::Position { position } => {
            let safe: i64 = sqlx::query_scalar("select api.safe_position()")
                .fetch_one(conn)
                .await?;
            if *position < 1 || *position > safe {
                return Err(AppError::invalid(
                    "from",
                    format!("Positions go from 1 to {safe}."),
                ));
            }
            // From this event on, it included.
            Ok(at(position - 1))
        }
        ReplayFrom::Time { wall } => {
            let (_, instant) = slot::resolve(wall, zone, Some(Fold::First))
                .map_err(|e| AppError::invalid("from", format!("{e}.")))?;
            Ok(at(browse::below(conn, instant).await?))
        }
        ReplayFrom::Stream { stream } => one_stream(conn, stream).await,
    }
}

/// By the booking's id, its stream or its reference.
async fn one_stream(conn: &mut PgConnection, typed: &str) -> Result<Source, AppError> {
    let text = typed.trim();
    let id: Option<Uuid> = text.strip_prefix("booking-").unwrap_or(text).parse().ok();
    let found: Option<(Uuid, String)> = match id {
        Some(id) => {
            sqlx::query_as("select substr(stream_id, 9)::uuid, stream_id from read.events_v1 where stream_id = $1 limit 1")
                .bind(format!("booking-{id}"))
                .fetch_optional(&mut *conn)
                .await?
        }
        None => {
            let reference = text.to_uppercase();
            sqlx::query_as("select booking_id, reference from read.bookings_v1 where reference = $1 or reference = 'BK-' || $1 limit 1")
                .bind(reference)
                .fetch_optional(&mut *conn)
                .await?
        }
    };
    let (id, subject) = found.ok_or_else(|| {
        AppError::invalid(
            "from",
            format!("No booking has the stream or reference `{text}`."),
        )
    })?;
    Ok(Source {
        position: 0,
        stream: Some(format!("booking-{id}")),
        subject: Some(subject),
    })
}
