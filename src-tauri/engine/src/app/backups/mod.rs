//! Backups, their proof, and the erasure of a customer.
//!
//! Promises: a backup is of one moment, whole on the disk before it has a name, and says what is in it; it counts as good
//! only after it was restored on trial and compared; a restore makes something new and never writes into what exists;
//! whoever was erased stays erased in everything that is restored.
//!
//! One file a backup (`pg_dump`'s custom format) and its manifest, in `<data>/backups/<database>/`; `erasures.ndjson`
//! beside them names who was erased, by id.

mod daily;
mod erase;
mod erasures;
mod facts;
mod fault;
mod folder;
mod manifest;
mod marks;
mod restore;
mod room;
mod shelf;
mod take;

use std::path::{Path, PathBuf};

use bizing_postgres::free_bytes;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::customers::customer_row;
use super::desk::Desk;
use super::messages;
use super::place::{self, moment};
use super::wire::*;
use crate::runtime::config::Config;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;

pub use daily::{once as daily_once, run as daily};
pub use erasures::Erasure;
pub use fault::BackupError;
pub use manifest::{Facts, Manifest, Proof, Why};
pub(super) use marks::as_restored_by_another_tool;
pub use restore::{check_name, exists, put_in_place};
pub use room::Room;
pub use shelf::{KEPT_DAYS, Shelf};
pub use take::{Occasion, OnProgress, Progress, silent, take};

/// Before the schema is changed. `None`: there is nothing to lose yet.
pub async fn before_migration(
    conn: &mut PgConnection,
    config: &Config,
    admin: &PgConnectOptions,
    to_schema: i64,
) -> Result<Option<Manifest>, AppError> {
    let has_log: bool = sqlx::query_scalar("select to_regclass('core.events') is not null")
        .fetch_one(&mut *conn)
        .await?;
    let has_events = has_log
        && sqlx::query_scalar("select exists (select 1 from core.events)")
            .fetch_one(&mut *conn)
            .await?;
    if !has_events || config.migrate_without_backup {
        return Ok(None);
    }
    let room = Room::new(config, admin.clone(), Hints::default(), Tasks::default());
    let occasion = Occasion {
        before_schema: Some(to_schema),
        ..Occasion::new(Why::BeforeMigration)
    };
    match room.back_up(occasion, silent()).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            let why = error.message.trim_end_matches('.').to_owned();
            let hint = error.hint.unwrap_or_default();
            Err(AppError::new(
                error.code,
                format!("The database needs schema {to_schema}, and no backup could be taken before changing it: {why}."),
            )
            .hint(format!("{hint} When you have a backup of your own: `bizing-desk migrate --without-backup`."))
            .retry(Retry::NeedsPerson))
        }
    }
}

/// Restores the newest good backup of every database of this data folder, each under its own name, into a server that has
/// none of them.
pub async fn restore_all(
    config: &Config,
    admin: &PgConnectOptions,
    bin: Option<&Path>,
    said: &impl Fn(&str),
) -> Result<(), AppError> {
    let mut restored = 0;
    for database in ["bizing_own", "bizing_demo"] {
        let shelf = Shelf::of(&config.data, database);
        let all = shelf.list()?;
        let Some(manifest) = all.iter().find(|m| m.good()).or_else(|| all.first()) else {
            continue;
        };
        let erasures = erasures::noted(&shelf)?;
        said(&format!(
            "Restoring {database} as of {}{}",
            manifest.started_at.format("%Y-%m-%d %H:%M UTC"),
            if manifest.good() {
                ""
            } else {
                " (a backup that was never verified)"
            }
        ));
        restore::into_new(
            admin,
            bin,
            shelf.folder(),
            manifest,
            database,
            &erasures,
            silent(),
        )
        .await?;
        restored += 1;
    }
    if restored == 0 {
        return Err(AppError::new(
            Code::NotFound,
            format!(
                "No backup lies in {}.",
                config.data.join("backups").display()
            ),
        )
        .hint("Nothing was changed."));
    }
    Ok(())
}

// ---- commands: see `dispatch` ----------------------------------------------------------------------------

pub async fn list(desk: &Desk, _: Empty) -> Result<Backups, AppError> {
    let mut conn = desk.people.acquire().await?;
    let zone = zone(&mut conn).await?;
    let running = desk.backups.as_ref().and_then(Room::running);
    let rows = sqlx::query(
        "select backup_id, why, asked_by, manifest, proof, folder, started_at from read.backups_v1
          where manifest is not null and removed_at is null order by started_at desc limit 200",
    )
    .fetch_all(&mut *conn)
    .await?;
    let proving = running
        .as_ref()
        .filter(|r| r.work == BackupWork::Verify)
        .and_then(|r| r.backup_id);
    let rows: Vec<Backup> = rows
        .iter()
        .map(|row| backup(row, &zone, proving))
        .collect::<Result<_, _>>()?;
    let next = next(&mut conn).await?;
    let last_good = rows
        .iter()
        .find(|b| b.proof.state == ProofState::Restored)
        .map(|b| b.backup_id);
    let refused = not_from_here(desk);
    let action = |name: &str, none: bool| Action {
        name: name.to_owned(),
        refused: refused
            .clone()
            .or_else(|| {
                running
                    .as_ref()
                    .map(|_| "Something is being done with the backups already.".to_owned())
            })
            .or_else(|| none.then(|| "There is no backup yet.".to_owned())),
    };
    let actions = vec![
        action("back_up_now", false),
        action("verify_backup", rows.is_empty()),
        action("restore_backup", rows.is_empty()),
    ];
    Ok(Backups {
        last_good,
        folder: desk
            .backups
            .as_ref()
            .map(|room| room.shelf().folder().display().to_string()),
        kept_days: KEPT_DAYS,
        kept_bytes: rows.iter().map(|b| b.size_bytes).sum(),
        daily_at: None,
        next: next.map(|at| moment(at, &zone)).transpose()?,
        running,
        actions,
        rows,
    })
}

pub async fn back_up_now(desk: &Desk, _: BackUpNow) -> Result<BackupRun, AppError> {
    let room = room(desk)?;
    let by = Some(login(desk).await?);
    let occasion = Occasion {
        by: by.clone(),
        ..Occasion::new(Why::Asked)
    };
    let work = {
        let room = room.clone();
        async move { room.back_up(occasion, silent()).await.map(|_| ()) }
    };
    started(&room, BackupWork::BackUp, None, by, work)
}

pub async fn verify(desk: &Desk, request: VerifyBackup) -> Result<BackupRun, AppError> {
    let room = room(desk)?;
    let manifest = room.find(request.backup_id)?;
    let by = Some(login(desk).await?);
    let work = {
        let (room, by) = (room.clone(), by.clone());
        async move { room.verify(&manifest, by, silent()).await.map(|_| ()) }
    };
    started(&room, BackupWork::Verify, Some(request.backup_id), by, work)
}

pub async fn preview_restore(
    desk: &Desk,
    request: PreviewRestore,
) -> Result<RestorePreview, AppError> {
    let room = room(desk)?;
    let manifest = room.find(request.backup_id)?;
    let mut conn = desk.people.acquire().await?;
    let zone = zone(&mut conn).await?;
    let row = sqlx::query(
        "select backup_id, why, asked_by, manifest, proof, folder, started_at from read.backups_v1 where backup_id = $1",
    )
    .bind(request.backup_id)
    .fetch_one(&mut *conn)
    .await?;
    let missing: i64 =
        sqlx::query_scalar("select count(*) from read.events_v1 where position > $1")
            .bind(manifest.facts.last_position)
            .fetch_one(&mut *conn)
            .await?;
    let erasures = room.erasures().await.map_err(AppError::from)?;
    let since = erasures
        .iter()
        .filter(|e| e.erased_at > manifest.started_at)
        .count();
    let refused = match target(&request.target) {
        Ok(Target::Database(name))
            if exists(room.admin(), &name).await.map_err(AppError::from)? =>
        {
            Some(format!(
                "The database `{name}` exists already: choose another name."
            ))
        }
        Ok(_) => None,
        Err(error) => Some(error.message),
    };
    let disk = match &request.target {
        RestoreTarget::Folder { path } => Path::new(path).parent().and_then(free_bytes),
        RestoreTarget::Database { .. } => free_bytes(room.shelf().folder()),
    };
    Ok(RestorePreview {
        typed: manifest.database.clone(),
        events_missing: missing,
        erasures_again: i64::try_from(since).unwrap_or(i64::MAX),
        free_bytes: disk.and_then(|b| i64::try_from(b).ok()),
        seconds: manifest.proof.as_ref().map(|p| p.seconds),
        backup: backup(&row, &zone, None)?,
        refused,
    })
}

pub async fn restore(desk: &Desk, request: RestoreBackup) -> Result<BackupRun, AppError> {
    let room = room(desk)?;
    let manifest = room.find(request.backup_id)?;
    let target = target(&request.target)?;
    erase::checked_reason(&request.reason, &[])?;
    if request.typed.trim() != manifest.database {
        return Err(AppError::invalid(
            "typed",
            format!("Type `{}` to go on.", manifest.database),
        ));
    }
    if let Target::Database(name) = &target
        && exists(room.admin(), name).await.map_err(AppError::from)?
    {
        let name = name.clone();
        return Err(AppError::from(BackupError::NameTaken { name }));
    }
    let by = Some(login(desk).await?);
    tracing::warn!(
        by,
        into = %target,
        file = manifest.file,
        reason = request.reason.trim(),
        "a restore is asked for"
    );
    let work = {
        let room = room.clone();
        async move {
            let folder = room.shelf().folder().to_owned();
            let erased = match &target {
                Target::Database(name) => room.restore(&folder, &manifest, name, silent()).await?,
                Target::Folder(path) => {
                    room.restore_into_folder(&folder, &manifest, path, silent())
                        .await?
                }
            };
            tracing::warn!(
                into = %target,
                file = manifest.file,
                erased_again = erased,
                "a backup is restored"
            );
            Ok(())
        }
    };
    started(
        &room,
        BackupWork::Restore,
        Some(request.backup_id),
        by,
        work,
    )
}

pub async fn preview_erasure(
    desk: &Desk,
    request: PreviewErasure,
) -> Result<ErasurePreview, AppError> {
    let mut conn = desk.people.acquire().await?;
    let known = known(&mut conn, request.customer_id).await?;
    let row = sqlx::query(
        "select (select count(*) from read.events_v1 e where e.stream_id = 'customer-' || $1::uuid and e.name = 'CustomerRegistered') as events,
                (select count(*) from read.bookings_v1 b where b.customer_id = $1) as bookings,
                (select count(*) from read.backups_v1 where manifest is not null and removed_at is null) as backups",
    )
    .bind(request.customer_id)
    .fetch_one(&mut *conn)
    .await?;
    let fields = [
        ("name", Some(&known.customer.name)),
        ("email", known.customer.email.as_ref()),
        ("phone", known.customer.phone.as_ref()),
    ];
    let fields = match known.erased {
        true => vec![],
        false => fields
            .iter()
            .filter(|(_, value)| value.is_some_and(|v| !v.is_empty()))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    };
    let refused = match desk.group {
        _ if known.erased => Some("This customer was erased before.".to_owned()),
        Group::Viewer | Group::Staff => {
            Some("A manager or an admin must do this: it cannot be taken back.".to_owned())
        }
        Group::Manager | Group::Admin => desk.read_only.clone(),
    };
    Ok(ErasurePreview {
        customer: known.customer,
        events: row.try_get("events")?,
        bookings: row.try_get("bookings")?,
        fields,
        backups: row.try_get("backups")?,
        refused,
    })
}

pub async fn erase_customer(
    desk: &Desk,
    request: EraseCustomer,
) -> Result<CustomerErased, AppError> {
    if let Some(why) = &desk.read_only {
        return Err(AppError::new(Code::SchemaOlder, why.clone()));
    }
    let mut conn = desk.people.acquire().await?;
    // What the read model says of them, so that no word of it stands in the reason. It may not know them yet.
    let customer = match known(&mut conn, request.customer_id).await {
        Ok(known) => Some(known.customer).filter(|_| !known.erased),
        Err(error) if error.code == Code::NotFound => None,
        Err(error) => return Err(error),
    };
    let address = customer.as_ref().and_then(|c| c.email.clone());
    let personal: Vec<String> = customer
        .into_iter()
        .flat_map(|c| [Some(c.name), c.email, c.phone])
        .flatten()
        .collect();
    let reason = erase::checked_reason(&request.reason, &personal)?;
    drop(conn);
    let erased_at = erase::erase(
        &desk.people,
        request.customer_id,
        reason,
        Some(request.command_id),
    )
    .await?;
    desk.bell.ring();
    // The mailbox of the sandbox stands for the customer's own, which nobody can empty; but it lies on this computer.
    if let Some(address) = address {
        if let Err(error) = messages::forget(desk, &address).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the sandbox did not answer: what it caught for an erased customer is still there"
            );
        }
        desk.hints.changed("messages");
    }
    if let Some(room) = &desk.backups {
        let erasure = Erasure {
            customer_id: request.customer_id,
            erased_at,
        };
        // The database knows it as well, and the journal is brought up to it every few minutes.
        if let Err(error) = erasures::note(room.shelf(), &[erasure]) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the erasure is not in the journal beside the backups yet"
            );
        }
    }
    tracing::info!(customer = %request.customer_id, "a customer was erased");
    Ok(CustomerErased {
        customer_id: request.customer_id,
        erased_at,
    })
}

// ---- what the handlers share -----------------------------------------------------------------------------

struct Known {
    customer: CustomerRow,
    erased: bool,
}

async fn known(conn: &mut PgConnection, customer: Uuid) -> Result<Known, AppError> {
    let row = sqlx::query(
        "select customer_id, name, email, phone, bookings, last_booking_at, erased from read.customers_v1 where customer_id = $1",
    )
    .bind(customer)
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| {
        AppError::new(Code::NotFound, format!("There is no customer {customer}."))
            .hint("Look for them by name, e-mail or number.")
    })?;
    Ok(Known {
        customer: customer_row(&row, "")?,
        erased: row.try_get("erased")?,
    })
}

fn not_from_here(desk: &Desk) -> Option<String> {
    match (&desk.backups, desk.group) {
        (None, _) => Some(
            "This computer has no login that may read the whole database. Do it on the computer that runs `bizing-desk serve`, or with an admin's desk.".to_owned(),
        ),
        (Some(_), Group::Admin) => None,
        (Some(_), _) => Some("Only an admin may do that.".to_owned()),
    }
}

fn room(desk: &Desk) -> Result<Room, AppError> {
    match (not_from_here(desk), &desk.backups) {
        (None, Some(room)) => Ok(room.clone()),
        (why, _) => {
            Err(AppError::new(Code::Forbidden, why.unwrap_or_default()).retry(Retry::NeedsPerson))
        }
    }
}

/// Refuses at once when something else runs; what comes of it is in the list.
fn started(
    room: &Room,
    work: BackupWork,
    backup_id: Option<Uuid>,
    by: Option<String>,
    run: impl Future<Output = Result<(), AppError>> + Send + 'static,
) -> Result<BackupRun, AppError> {
    // Tried and given back: the work itself takes the place.
    drop(room.begin(work, backup_id, by.clone())?);
    room.in_background(run);
    Ok(BackupRun {
        work,
        backup_id,
        by,
        started_at: Utc::now(),
    })
}

/// Where a restore goes: always something new.
enum Target {
    Database(String),
    Folder(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Database(name) => f.write_str(name),
            Target::Folder(path) => path.display().fmt(f),
        }
    }
}

fn target(into: &RestoreTarget) -> Result<Target, AppError> {
    match into {
        RestoreTarget::Database { name } => {
            check_name(name).map_err(|e| AppError::from(e).field("target.name"))?;
            Ok(Target::Database(name.clone()))
        }
        RestoreTarget::Folder { path } => {
            let path = PathBuf::from(path.trim());
            folder::check(&path).map_err(|e| AppError::from(e).field("target.path"))?;
            Ok(Target::Folder(path))
        }
    }
}

async fn login(desk: &Desk) -> Result<String, AppError> {
    Ok(sqlx::query_scalar("select session_user::text")
        .fetch_one(&desk.people)
        .await?)
}

async fn zone(conn: &mut PgConnection) -> Result<String, AppError> {
    Ok(place::find(conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone))
}

async fn next(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, AppError> {
    let last: Option<DateTime<Utc>> = sqlx::query_scalar(
        "select greatest((select max(started_at) from read.backups_v1 where manifest is not null and removed_at is null), i.created_at)
           from read.installation_v1 i",
    )
    .fetch_optional(conn)
    .await?
    .flatten();
    Ok(last.map(|at| at + TimeDelta::days(1)))
}

fn backup(
    row: &sqlx::postgres::PgRow,
    zone: &str,
    proving: Option<Uuid>,
) -> Result<Backup, AppError> {
    let backup_id: Uuid = row.try_get("backup_id")?;
    let manifest: serde_json::Value = row.try_get("manifest")?;
    let proof: Option<serde_json::Value> = row.try_get("proof")?;
    let proof: Option<Proof> = proof.and_then(|p| serde_json::from_value(p).ok());
    let number = |at: &str| manifest.pointer(at).and_then(|v| v.as_i64()).unwrap_or(0);
    let text = |at: &str| {
        manifest
            .pointer(at)
            .and_then(|v| v.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let folder: String = row.try_get("folder")?;
    let state = match &proof {
        _ if proving == Some(backup_id) => ProofState::Running,
        None => ProofState::NotProved,
        Some(proof) if proof.good() => ProofState::Restored,
        Some(_) => ProofState::Failed,
    };
    Ok(Backup {
        backup_id,
        made: moment(row.try_get("started_at")?, zone)?,
        why: place::word(row.try_get("why")?)?,
        before_schema: manifest
            .get("before_schema")
            .and_then(|v| v.as_i64())
            .and_then(|v| i32::try_from(v).ok()),
        by: row.try_get("asked_by")?,
        file: Path::new(&folder).join(text("/file")).display().to_string(),
        size_bytes: number("/size_bytes"),
        schema_version: i32::try_from(number("/facts/schema_version")).unwrap_or(0),
        server_version: text("/server_version"),
        position: number("/facts/last_position"),
        events: number("/facts/events"),
        proof: BackupProof {
            state,
            at: proof.as_ref().map(|p| moment(p.at, zone)).transpose()?,
            events: proof.as_ref().and_then(|p| p.events),
            chain_intact: proof.as_ref().and_then(|p| p.chain_intact),
            seconds: proof.as_ref().map(|p| p.seconds),
            problem: proof.and_then(|p| p.problem),
        },
    })
}
