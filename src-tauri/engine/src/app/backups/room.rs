//! The backups of one database, as one process has them: where they lie, how it gets at the database, what runs.
//!
//! Promises: one thing at a time; what was taken or proved is known to everybody who may look; a file never gets its
//! name before it is whole; nothing here opens the database for work.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::erasures::{self, Erasure};
use super::fault::BackupError;
use super::folder::into_folder;
use super::manifest::{Manifest, Proof};
use super::restore;
use super::shelf::Shelf;
use super::take::{self, Occasion, OnProgress};
use crate::app::wire::{AppError, BackupRun, BackupWork, Code, Retry};
use crate::runtime::computer;
use crate::runtime::config::Config;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;

#[derive(Clone)]
pub struct Room(Arc<Parts>);

struct Parts {
    /// May read all of the database and make others.
    admin: PgConnectOptions,
    bin: Option<PathBuf>,
    shelf: Shelf,
    hints: Hints,
    tasks: Tasks,
    running: Mutex<Option<BackupRun>>,
}

impl Room {
    pub fn new(config: &Config, admin: PgConnectOptions, hints: Hints, tasks: Tasks) -> Room {
        let shelf = Shelf::of(&config.data, admin.get_database().unwrap_or_default());
        Room(Arc::new(Parts {
            admin,
            bin: config.pg_bin.clone(),
            shelf,
            hints,
            tasks,
            running: Mutex::default(),
        }))
    }

    pub fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub fn admin(&self) -> &PgConnectOptions {
        &self.0.admin
    }

    pub fn bin(&self) -> Option<&Path> {
        self.0.bin.as_deref()
    }

    pub fn running(&self) -> Option<BackupRun> {
        self.lock().clone()
    }

    /// Takes one and tells everybody, also when it failed.
    pub async fn back_up(
        &self,
        occasion: Occasion,
        on_progress: OnProgress,
    ) -> Result<Manifest, AppError> {
        let _busy = self.begin(BackupWork::BackUp, None, occasion.by.clone())?;
        self.take(occasion, on_progress)
            .await
            .map_err(AppError::from)
    }

    async fn take(
        &self,
        occasion: Occasion,
        on_progress: OnProgress,
    ) -> Result<Manifest, BackupError> {
        // A backup without the journal beside it could bring people back.
        self.note_erasures().await?;
        let taken = take::take(
            &self.0.admin,
            self.bin(),
            self.shelf(),
            occasion.clone(),
            on_progress,
        )
        .await;
        match &taken {
            Ok(manifest) => self.record(manifest).await?,
            Err(error) => {
                if let Err(e) = self.record_failure(&occasion, error).await {
                    tracing::warn!(
                        error = &e as &dyn std::error::Error,
                        "a failed backup could not be recorded"
                    );
                }
            }
        }
        taken
    }

    pub async fn verify(
        &self,
        manifest: &Manifest,
        by: Option<String>,
        on_progress: OnProgress,
    ) -> Result<Proof, AppError> {
        let _busy = self.begin(BackupWork::Verify, Some(manifest.backup_id), by)?;
        self.prove(manifest, on_progress)
            .await
            .map_err(AppError::from)
    }

    pub(super) async fn prove(
        &self,
        manifest: &Manifest,
        on_progress: OnProgress,
    ) -> Result<Proof, BackupError> {
        let folder = self.shelf().folder();
        let proof =
            restore::verify(&self.0.admin, self.bin(), folder, manifest, on_progress).await?;
        let proved = Manifest {
            proof: Some(proof.clone()),
            ..manifest.clone()
        };
        proved.write(folder)?;
        self.record(&proved).await?;
        match &proof.problem {
            None => tracing::info!(
                file = proved.file,
                seconds = proof.seconds,
                "a backup was restored on trial and is whole"
            ),
            Some(problem) => {
                tracing::error!(file = proved.file, problem, "a backup cannot be restored")
            }
        }
        Ok(proof)
    }

    /// Restores into a new database. `folder` is where the manifest's files lie, which need not be our shelf.
    pub async fn restore(
        &self,
        folder: &Path,
        manifest: &Manifest,
        name: &str,
        on_progress: OnProgress,
    ) -> Result<usize, AppError> {
        let _busy = self.begin(BackupWork::Restore, Some(manifest.backup_id), None)?;
        let erasures = self.erasures().await?;
        let made = restore::into_new(
            &self.0.admin,
            self.bin(),
            folder,
            manifest,
            name,
            &erasures,
            on_progress,
        );
        Ok(made.await?)
    }

    /// The same into a data folder of its own, which must not be there yet.
    pub async fn restore_into_folder(
        &self,
        folder: &Path,
        manifest: &Manifest,
        path: &Path,
        on_progress: OnProgress,
    ) -> Result<usize, AppError> {
        let _busy = self.begin(BackupWork::Restore, Some(manifest.backup_id), None)?;
        let erased = self.erasures().await?;
        let made = into_folder(self.bin(), folder, manifest, path, &erased, on_progress);
        Ok(made.await?)
    }

    /// Everybody who was erased, as far as the file and the database know. A database that is gone knows nobody.
    pub async fn erasures(&self) -> Result<Vec<Erasure>, BackupError> {
        let noted = erasures::noted(self.shelf())?;
        match PgConnection::connect_with(&self.0.admin).await {
            Ok(mut conn) => {
                let recorded = erasures::recorded(&mut conn).await?;
                conn.close().await?;
                Ok(erasures::merged(noted, recorded))
            }
            Err(error) if missing(&error) => Ok(noted),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings the journal beside the backups up to what the database knows.
    pub async fn note_erasures(&self) -> Result<(), BackupError> {
        let mut conn = PgConnection::connect_with(&self.0.admin).await?;
        let recorded = erasures::recorded(&mut conn).await?;
        conn.close().await?;
        erasures::note(self.shelf(), &recorded)
    }

    /// The manifest of a backup that lies here.
    pub fn find(&self, backup: Uuid) -> Result<Manifest, AppError> {
        let all = self.shelf().list().map_err(AppError::from)?;
        all.into_iter()
            .find(|m| m.backup_id == backup)
            .ok_or_else(|| {
                AppError::new(Code::NotFound, "That backup does not lie on this computer.")
                    .hint("Do it on the computer that took it; the list names it.")
            })
    }

    /// Tells the database of backups that it does not know: one taken before a migration could not be written down.
    pub async fn register(&self) -> Result<(), BackupError> {
        for manifest in self.shelf().list()? {
            self.record(&manifest).await?;
        }
        Ok(())
    }

    /// Starts work that a person asked for; what comes of it stands in the list.
    pub(super) fn in_background(
        &self,
        work: impl Future<Output = Result<(), AppError>> + Send + 'static,
    ) {
        let stop = self.0.tasks.stopping();
        self.0.tasks.once(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                done = work => if let Err(error) = done {
                    tracing::error!(correlation_id = %error.correlation_id, "{}", error.message);
                }
            }
        });
    }

    /// One thing at a time. The place is given back when the answer is dropped.
    pub(super) fn begin(
        &self,
        work: BackupWork,
        backup_id: Option<Uuid>,
        by: Option<String>,
    ) -> Result<Busy, AppError> {
        let mut running = self.lock();
        if let Some(now) = &*running {
            return Err(AppError::new(
                Code::Refused,
                format!(
                    "Another {} is running since {}.",
                    word(now.work),
                    now.started_at.format("%H:%M UTC")
                ),
            )
            .hint("Wait until it is done.")
            .retry(Retry::After { seconds: 10 }));
        }
        *running = Some(BackupRun {
            work,
            backup_id,
            by,
            started_at: Utc::now(),
        });
        drop(running);
        self.0.hints.changed("backups");
        Ok(Busy(self.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<BackupRun>> {
        self.0.running.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn owner(&self) -> Result<Option<PgConnection>, BackupError> {
        let mut conn = PgConnection::connect_with(&self.0.admin).await?;
        let owner: Option<String> = sqlx::query_scalar(
            "select tableowner::text from pg_tables where schemaname = 'admin' and tablename = 'backup'",
        )
        .fetch_optional(&mut conn)
        .await?;
        // An older schema has no such table: the file speaks for itself until it is there.
        let Some(owner) = owner else { return Ok(None) };
        sqlx::query("select set_config('role', $1, false)")
            .bind(owner)
            .execute(&mut conn)
            .await?;
        Ok(Some(conn))
    }

    async fn record(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let Some(mut conn) = self.owner().await? else {
            return Ok(());
        };
        let encoded = |e| sqlx::Error::Encode(Box::new(e));
        let mut told = serde_json::to_value(manifest).map_err(encoded)?;
        let proof = told.as_object_mut().and_then(|m| m.remove("proof"));
        // Row counts are for comparing files; everybody else has no use for them.
        if let Some(facts) = told.get_mut("facts").and_then(|f| f.as_object_mut()) {
            facts.remove("rows");
        }
        sqlx::query(
            "insert into admin.backup (backup_id, why, started_at, asked_by, host, folder, manifest, proof)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (backup_id) do update set proof = coalesce(excluded.proof, backup.proof)",
        )
        .bind(manifest.backup_id)
        .bind(manifest.why.word())
        .bind(manifest.started_at)
        .bind(&manifest.by)
        .bind(computer::name())
        .bind(self.shelf().folder().display().to_string())
        .bind(told)
        .bind(proof.filter(|p| !p.is_null()))
        .execute(&mut conn)
        .await?;
        conn.close().await?;
        self.0.hints.changed("backups");
        Ok(())
    }

    async fn record_failure(
        &self,
        occasion: &Occasion,
        error: &BackupError,
    ) -> Result<(), BackupError> {
        let Some(mut conn) = self.owner().await? else {
            return Ok(());
        };
        sqlx::query(
            "insert into admin.backup (backup_id, why, started_at, asked_by, host, folder, problem) values ($1, $2, now(), $3, $4, $5, $6)",
        )
        .bind(crate::runtime::ids::v7())
        .bind(occasion.why.word())
        .bind(&occasion.by)
        .bind(computer::name())
        .bind(self.shelf().folder().display().to_string())
        .bind(error.told())
        .execute(&mut conn)
        .await?;
        conn.close().await?;
        self.0.hints.changed("backups");
        Ok(())
    }

    /// Removes what is no longer kept, here and in what everybody sees.
    pub(super) async fn tidy(&self, now: DateTime<Utc>) -> Result<(), BackupError> {
        restore::sweep(&self.0.admin).await?;
        let gone: Vec<Uuid> = self
            .shelf()
            .tidy(now)?
            .iter()
            .map(|m| m.backup_id)
            .collect();
        self.note_removed(gone).await
    }

    /// Removes one by hand, by the name of its file.
    pub async fn delete(&self, file: &str) -> Result<Manifest, BackupError> {
        let manifest = self.shelf().delete(file)?;
        self.note_removed(vec![manifest.backup_id]).await?;
        tracing::info!(file = manifest.file, "a backup was deleted by hand");
        Ok(manifest)
    }

    async fn note_removed(&self, gone: Vec<Uuid>) -> Result<(), BackupError> {
        if gone.is_empty() {
            return Ok(());
        }
        let Some(mut conn) = self.owner().await? else {
            return Ok(());
        };
        sqlx::query("update admin.backup set removed_at = now() where backup_id = any($1)")
            .bind(gone)
            .execute(&mut conn)
            .await?;
        conn.close().await?;
        Ok(())
    }

    /// Whether a daily backup is due, and ours to take: of all processes only one does it. Due is a day after the last
    /// one that was taken, or after the business was set up; a desk without events has nothing to lose.
    pub(super) async fn due(&self, holder: Uuid) -> Result<bool, BackupError> {
        let Some(mut conn) = self.owner().await? else {
            return Ok(false);
        };
        let due: bool = sqlx::query_scalar(
            "select exists (select 1 from core.events)
                and greatest((select max(started_at) from admin.backup where manifest is not null and removed_at is null),
                             (select created_at from admin.installation)) < now() - interval '1 day'
                and coalesce((select max(started_at) < now() - interval '1 hour' from admin.backup where problem is not null), true)",
        )
        .fetch_one(&mut conn)
        .await?;
        let ours = due
            && sqlx::query_scalar::<_, Uuid>(
                "insert into admin.lease (name, holder, until) values ('daily backup', $1, now() + interval '2 hours')
                 on conflict (name) do update set holder = excluded.holder, until = excluded.until
                   where lease.until < now() or lease.holder = excluded.holder
                 returning holder",
            )
            .bind(holder)
            .fetch_optional(&mut conn)
            .await?
            .is_some();
        conn.close().await?;
        Ok(ours)
    }

    pub(super) async fn give_back(&self, holder: Uuid) -> Result<(), BackupError> {
        if let Some(mut conn) = self.owner().await? {
            sqlx::query(
                "update admin.lease set until = now() where name = 'daily backup' and holder = $1",
            )
            .bind(holder)
            .execute(&mut conn)
            .await?;
            conn.close().await?;
        }
        Ok(())
    }
}

pub(super) struct Busy(Room);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.lock() = None;
        self.0.0.hints.changed("backups");
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({})", self.shelf().folder().display())
    }
}

fn word(work: BackupWork) -> &'static str {
    match work {
        BackupWork::BackUp => "backup",
        BackupWork::Verify => "restore on trial",
        BackupWork::Restore => "restore",
    }
}

fn missing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|c| c == "3D000")
}
