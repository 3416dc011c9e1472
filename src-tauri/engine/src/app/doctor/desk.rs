//! The doctor as a window asks it: in the background, one at a time in a process, and what it found kept for everybody.

use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::{Progress, Report, run_with};
use crate::app::desk::Desk;
use crate::app::place::{self, moment};
use crate::app::wire::*;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;
use crate::store::read;

/// What this process examines now.
#[derive(Clone, Default)]
pub struct Examiner(Arc<Parts>);

#[derive(Default)]
struct Parts {
    tasks: Tasks,
    hints: Hints,
    running: Mutex<Option<DoctorRunning>>,
}

impl Examiner {
    pub fn new(tasks: Tasks, hints: Hints) -> Examiner {
        Examiner(Arc::new(Parts {
            tasks,
            hints,
            running: Mutex::default(),
        }))
    }

    fn running(&self) -> MutexGuard<'_, Option<DoctorRunning>> {
        self.0.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The one that runs already, or a new one.
    fn begin(&self, run_id: Uuid) -> Result<DoctorRunning, DoctorRunning> {
        let mut running = self.running();
        if let Some(now) = &*running {
            return Err(now.clone());
        }
        let new = DoctorRunning {
            run_id,
            started_at: Utc::now(),
            streams: None,
            of: None,
        };
        *running = Some(new.clone());
        Ok(new)
    }

    async fn examine(self, pool: PgPool, run_id: Uuid) {
        let mut progress = |p: Progress| {
            if let Some(now) = &mut *self.running() {
                (now.streams, now.of) = (Some(p.streams), Some(p.of));
            }
        };
        if let Err(error) = examined(&pool, true, run_id, &mut progress).await {
            tracing::error!(correlation_id = %error.correlation_id, "the doctor could not finish: {}", error.message);
        }
        *self.running() = None;
        self.0.hints.changed("proofs");
        self.0.hints.changed("events");
    }
}

/// Runs the audits and keeps what they found for everybody. `pool` logs in as the worker or an admin.
pub async fn examined(
    pool: &PgPool,
    deep: bool,
    run_id: Uuid,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, AppError> {
    let begun = std::time::Instant::now();
    let mut conn = pool.acquire().await?;
    let upto = read::safe_position(&mut conn).await?;
    let events = crate::app::events::total(&mut conn, upto).await?;
    drop(conn);
    let report = run_with(pool, deep, on_progress).await?;
    let audits: Map<String, Value> = report
        .audits
        .iter()
        .map(|a| (a.name.to_owned(), a.found.into()))
        .collect();
    sqlx::query("select api.record_doctor_run($1, $2, $3, $4, $5, $6)")
        .bind(run_id)
        .bind(begun.elapsed().as_secs_f64())
        .bind(deep)
        .bind(upto)
        .bind(events.count)
        .bind(Value::Object(audits))
        .execute(pool)
        .await?;
    Ok(report)
}

/// What the last run that hashed every event said of the chain.
pub(in crate::app) async fn last_chain(
    conn: &mut PgConnection,
    zone: &str,
) -> Result<Option<ChainCheck>, AppError> {
    let row = sqlx::query(
        "select at, events, coalesce((audits->>'stream.hash_chain')::bigint, 0) + coalesce((audits->>'stream.version_gaps')::bigint, 0)
                  + coalesce((audits->>'stream.head_matches')::bigint, 0) = 0 as intact
           from read.doctor_runs_v1 where deep order by at desc limit 1",
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(ChainCheck {
            at: moment(row.try_get("at")?, zone)?,
            intact: row.try_get("intact")?,
            events: row.try_get("events")?,
            broken_at: None,
        })
    })
    .transpose()
}

// ---- commands: see `dispatch` ----------------------------------------------------------------------------

pub async fn proofs(desk: &Desk, _: Empty) -> Result<Proofs, AppError> {
    let mut conn = desk.people.acquire().await?;
    let zone = place::find(&mut conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let rows = sqlx::query(
        "(select * from read.doctor_runs_v1 order by at desc limit 1)
         union (select * from read.doctor_runs_v1 where deep order by at desc limit 1) order by at desc",
    )
    .fetch_all(&mut *conn)
    .await?;
    let runs: Vec<DoctorRun> = rows
        .iter()
        .map(|row| doctor_run(row, &zone))
        .collect::<Result<_, _>>()?;
    let running = desk.examiner.running().clone();
    let refused = refused(desk).or_else(|| {
        running
            .as_ref()
            .map(|_| "It is being looked at.".to_owned())
    });
    Ok(Proofs {
        last: runs.first().cloned(),
        last_deep: runs.into_iter().find(|run| run.deep),
        running,
        actions: vec![Action {
            name: "examine".to_owned(),
            refused,
        }],
    })
}

pub async fn examine(desk: &Desk, request: Examine) -> Result<DoctorRunning, AppError> {
    if let Some(why) = refused(desk) {
        return Err(AppError::new(Code::Forbidden, why).retry(Retry::NeedsPerson));
    }
    match desk.examiner.begin(request.command_id) {
        // Pressed twice, or in two windows: there is one answer.
        Err(running) => Ok(running),
        Ok(running) => {
            let (examiner, pool) = (desk.examiner.clone(), desk.people.clone());
            let stop = examiner.0.tasks.stopping();
            desk.examiner.0.tasks.once(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = examiner.examine(pool, running.run_id) => {}
                }
            });
            desk.hints.changed("proofs");
            Ok(desk.examiner.running().clone().unwrap_or(running))
        }
    }
}

fn refused(desk: &Desk) -> Option<String> {
    match desk.group {
        Group::Admin => desk.read_only.clone(),
        _ => Some("Only an admin may do that.".to_owned()),
    }
}

fn doctor_run(row: &sqlx::postgres::PgRow, zone: &str) -> Result<DoctorRun, AppError> {
    let audits: Value = row.try_get("audits")?;
    let at: DateTime<Utc> = row.try_get("at")?;
    let found = |(name, found): (&String, &Value)| AuditFound {
        name: name.clone(),
        found: found.as_i64().unwrap_or(0),
    };
    Ok(DoctorRun {
        run_id: row.try_get("run_id")?,
        at: moment(at, zone)?,
        by: row.try_get("asked_by")?,
        seconds: row.try_get("seconds")?,
        deep: row.try_get("deep")?,
        events: row.try_get("events")?,
        audits: audits
            .as_object()
            .into_iter()
            .flatten()
            .map(found)
            .collect(),
    })
}
