//! Moving a cluster to another major: a new one is made beside it, everything is dumped and restored, counted, and only
//! then do the two change places. The old folder is kept under another name; nothing in this crate ever removes it.
//!
//! The start lock is held all the time, so that nobody starts or joins the old server meanwhile. Killed at any point, the
//! old cluster is where it was, or the next start finishes the change of places.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::cluster::Cluster;
use crate::discover::{self, Binaries};
use crate::error::{StartError, StopError};
use crate::folder::Folder;
use crate::locks::StartLock;
use crate::tools::{ToolError, Tools};
use crate::{Options, process, settings, survey};

/// Names the two folders that change places, from before the first rename until after the second.
const MARK: &str = "upgrade.swap";
const PREFIX: &str = "upgrade.";

#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("There is no database in {} yet.", root.display())]
    NoData { root: PathBuf },
    #[error("The data in {} is of PostgreSQL {has}, and the newest server found here is {newest} ({}). There is nothing to move it to: install a newer PostgreSQL, or set BIZING_PG_BIN to its folder.", root.display(), dir.display())]
    NothingNewer {
        root: PathBuf,
        has: u32,
        newest: u32,
        dir: PathBuf,
    },
    #[error("The database in {} is in use (process {pid}). Close every window and `bizing-desk serve`, then try again.", root.display())]
    InUse { root: PathBuf, pid: i32 },
    #[error("{free} MB are free where {} lies, and moving its data needs about {needs} MB beside it. Free some space, then try again.", root.display())]
    Room {
        root: PathBuf,
        free: u64,
        needs: u64,
    },
    #[error("{table} of {database} has {old} rows, and {new} came over. Nothing was changed.")]
    Differs {
        database: String,
        table: String,
        old: i64,
        new: i64,
    },
    #[error("a statement failed on the server")]
    Database(#[from] sqlx::Error),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgraded {
    pub from: u32,
    pub to: u32,
    /// The old cluster, whole.
    pub kept: PathBuf,
    /// Rows of each database.
    pub rows: BTreeMap<String, i64>,
}

/// A new cluster that stands ready beside the old one. Dropped, it goes away again and nothing was changed.
pub struct Move {
    options: Options,
    folder: Folder,
    from: u32,
    new: Option<Cluster>,
    fresh: PathBuf,
    rows: BTreeMap<String, i64>,
    _lock: StartLock,
}

impl Move {
    /// Makes an empty cluster of the newest server found (or of `options.bin`) beside the one in `options.root`.
    pub async fn begin(options: Options) -> Result<Move, UpgradeError> {
        let folder = Folder::prepare(&options.root)?;
        let lock = StartLock::acquire(&folder).await?;
        finish_swap(&folder)?;
        let root = folder.root.clone();
        let from = folder
            .data_major()?
            .ok_or_else(|| UpgradeError::NoData { root: root.clone() })?;
        let newest = newest(&options).await?;
        if newest.major <= from {
            return Err(UpgradeError::NothingNewer {
                root,
                has: from,
                newest: newest.major,
                dir: newest.dir,
            });
        }
        let socket = folder.socket_folder()?;
        if let Some(running) = survey::settle(&folder, socket.as_deref()).await? {
            return Err(UpgradeError::InUse {
                root,
                pid: running.pid,
            });
        }
        room(&folder)?;
        sweep(&folder);
        let fresh = root.join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
        folder.make_private(&fresh)?;
        let mut moving = Move {
            options: options.clone(),
            folder,
            from,
            new: None,
            fresh,
            rows: BTreeMap::new(),
            _lock: lock,
        };
        // The password stays, so that everybody who knows the old server gets into the new one.
        let password = moving.folder.password(false)?;
        settings::write(&moving.folder, &moving.fresh.join("password"), &password)
            .map_err(|e| StartError::io("writing the password in", &moving.fresh, e))?;
        let started = Cluster::start(Options {
            root: moving.fresh.clone(),
            bin: Some(newest.dir),
            ..options
        });
        moving.new = Some(started.await?);
        Ok(moving)
    }

    pub fn from(&self) -> u32 {
        self.from
    }

    pub fn to(&self) -> u32 {
        self.cluster().major()
    }

    /// The new cluster, for whoever fills it in another way.
    pub fn cluster(&self) -> &Cluster {
        self.new
            .as_ref()
            .unwrap_or_else(|| unreachable!("begin starts it, finish consumes it"))
    }

    /// Starts the old server with its own programs, and brings logins and databases over.
    pub async fn copy(&mut self, said: impl Fn(&str)) -> Result<(), UpgradeError> {
        let bundled = self.options.bundled.clone();
        let from = self.from;
        let found = tokio::task::spawn_blocking(move || {
            discover::discover(None, bundled.as_deref(), Some(from))
        });
        let found = found.await.map_err(|e| self.io(std::io::Error::other(e)))?;
        let binaries = found.map_err(|error| self.old_is_missing(error))?;
        said(&format!("Starting PostgreSQL {from} on the old data"));
        let old = Cluster::start_under(&self.folder, &self.options, &binaries).await?;
        let copied = self.copy_from(&old, said).await;
        old.stop().await?;
        copied
    }

    /// The two change places, and the new one stops. The next start opens it.
    pub async fn finish(mut self) -> Result<Upgraded, UpgradeError> {
        let to = self.to();
        if let Some(new) = self.new.take() {
            new.stop().await?;
        }
        let kept = free_name(&self.folder.root, self.from);
        let mark = Mark {
            old: name_of(&kept),
            new: PathBuf::from(name_of(&self.fresh)).join("data"),
        };
        let (root, data) = (&self.folder.root, self.folder.data());
        let swap = || {
            settings::write(&self.folder, &root.join(MARK), &mark.text())?;
            sync(root)?;
            fs::rename(&data, &kept)?;
            fs::rename(self.fresh.join("data"), &data)?;
            sync(root)?;
            fs::remove_file(root.join(MARK))
        };
        swap().map_err(|e| self.io(e))?;
        tracing::info!(from = self.from, to, kept = %kept.display(), "the database is of another major now");
        Ok(Upgraded {
            from: self.from,
            to,
            kept,
            rows: std::mem::take(&mut self.rows),
        })
    }

    async fn copy_from(&mut self, old: &Cluster, said: impl Fn(&str)) -> Result<(), UpgradeError> {
        let new = self
            .new
            .as_ref()
            .unwrap_or_else(|| unreachable!("begin starts it, finish consumes it"));
        let tools = Tools {
            dir: new.bin().to_owned(),
            major: new.major(),
        };
        roles(old, new).await?;
        let mut conn = PgConnection::connect_with(&old.connect_options("postgres")).await?;
        let databases: Vec<String> = sqlx::query_scalar(
            "select datname::text from pg_database where datallowconn and not datistemplate and datname <> 'postgres' order by 1",
        )
        .fetch_all(&mut conn)
        .await?;
        let mut copied = BTreeMap::new();
        for name in databases {
            said(&format!("Copying {name}"));
            let (from, to) = (old.connect_options(&name), new.connect_options(&name));
            let acl = create_like(&mut conn, new, &name).await?;
            let file = self.fresh.join("dump");
            tools
                .run(
                    "pg_dump",
                    ["--format=custom".into(), joined("--file=", &file)],
                    &from,
                    |_| {},
                )
                .await?;
            let restore: [OsString; 5] = [
                "--exit-on-error".into(),
                "--no-comments".into(),
                "--jobs=2".into(),
                joined("--dbname=", Path::new(&name)),
                file.clone().into(),
            ];
            tools.run("pg_restore", restore, &to, |_| {}).await?;
            fs::remove_file(&file).map_err(|e| self.io(e))?;
            let mut there = PgConnection::connect_with(&to).await?;
            for grant in acl {
                // Quoted by the old server itself.
                sqlx::query(AssertSqlSafe(grant))
                    .execute(&mut there)
                    .await?;
            }
            sqlx::query("analyze").execute(&mut there).await?;
            there.close().await?;
            let rows = compare(&name, &from, &to).await?;
            said(&format!("{name}: {rows} rows, each table has what it had"));
            copied.insert(name, rows);
        }
        conn.close().await?;
        self.rows = copied;
        Ok(())
    }

    fn old_is_missing(&self, error: StartError) -> StartError {
        match error {
            StartError::Major { folder, found, .. } => StartError::Major {
                data: self.folder.data(),
                folder,
                found,
            },
            other => other,
        }
    }

    fn io(&self, error: std::io::Error) -> UpgradeError {
        StartError::io("moving the data in", &self.folder.root, error).into()
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        // Its server stops first; then what was made a while ago and never used goes away.
        drop(self.new.take());
        let _ = fs::remove_dir_all(&self.fresh);
    }
}

/// Finishes what a process that was killed between the two renames began. Called under the start lock.
pub(crate) fn finish_swap(folder: &Folder) -> Result<(), StartError> {
    let path = folder.root.join(MARK);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StartError::io("reading", &path, e)),
    };
    let failed = |e| StartError::io("finishing the move in", &folder.root, e);
    if let Some(mark) = Mark::read(&text) {
        let (data, new) = (folder.data(), folder.root.join(&mark.new));
        if !data.exists() && folder.root.join(&mark.old).exists() && new.exists() {
            fs::rename(&new, &data).map_err(failed)?;
            sync(&folder.root).map_err(failed)?;
            tracing::warn!(
                kept = mark.old,
                "finished the move to another major that was cut off"
            );
        }
    }
    fs::remove_file(&path).map_err(failed)
}

struct Mark {
    old: String,
    new: PathBuf,
}

impl Mark {
    fn text(&self) -> String {
        format!("{}\n{}\n", self.old, self.new.display())
    }

    /// Our own shapes only: it decides what becomes the data.
    fn read(text: &str) -> Option<Mark> {
        let mut lines = text.lines();
        let (old, new) = (lines.next()?, lines.next()?);
        let fresh = new.strip_suffix("/data")?.strip_prefix(PREFIX)?;
        let ours = old.starts_with("data.")
            && !old.contains('/')
            && fresh.bytes().all(|b| b.is_ascii_hexdigit());
        ours.then(|| Mark {
            old: old.to_owned(),
            new: new.into(),
        })
    }
}

async fn newest(options: &Options) -> Result<Binaries, StartError> {
    let (bin, bundled) = (options.bin.clone(), options.bundled.clone());
    tokio::task::spawn_blocking(move || {
        discover::discover(bin.as_deref(), bundled.as_deref(), None)
    })
    .await
    .map_err(|e| {
        StartError::io(
            "looking for the server of",
            &options.root,
            std::io::Error::other(e),
        )
    })?
}

/// Logins and groups with their passwords, as the server keeps them: hashed.
async fn roles(old: &Cluster, new: &Cluster) -> Result<(), UpgradeError> {
    let mut from = PgConnection::connect_with(&old.connect_options("postgres")).await?;
    let mut to = PgConnection::connect_with(&new.connect_options("postgres")).await?;
    let statements: Vec<String> = sqlx::query_scalar(
        "select format('create role %I %s %s %s %s %s connection limit %s', rolname,
                       case when rolsuper then 'superuser' else 'nosuperuser' end, case when rolcreatedb then 'createdb' else 'nocreatedb' end,
                       case when rolcreaterole then 'createrole' else 'nocreaterole' end, case when rolcanlogin then 'login' else 'nologin' end,
                       case when rolinherit then 'inherit' else 'noinherit' end, rolconnlimit)
                || case when rolpassword is null then '' else format(' password %L', rolpassword) end
           from pg_authid where rolname !~ '^pg_' and oid <> 10
         union all
         select * from (select format('grant %I to %I', g.rolname, m.rolname) || case when a.admin_option then ' with admin option' else '' end
           from pg_auth_members a join pg_roles g on g.oid = a.roleid join pg_roles m on m.oid = a.member
          where m.rolname !~ '^pg_' order by a.roleid, a.member) x",
    )
    .fetch_all(&mut from)
    .await?;
    for statement in statements {
        // Quoted by the old server itself.
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut to)
            .await?;
    }
    from.close().await?;
    to.close().await?;
    Ok(())
}

/// Makes the database on the new server; returns the statements that say who may come in, for when it is filled.
async fn create_like(
    conn: &mut PgConnection,
    new: &Cluster,
    name: &str,
) -> Result<Vec<String>, UpgradeError> {
    let row = sqlx::query(
        "select format('create database %I template template0 encoding ''UTF8'' owner %I', d.datname, pg_get_userbyid(d.datdba)) as made,
                case when d.datacl is null then '{}'::text[] else
                  array[format('revoke all on database %I from public', d.datname)] ||
                  array(select format('grant %s on database %I to %s%s', a.privilege_type, d.datname,
                                      case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                                      case when a.is_grantable then ' with grant option' else '' end)
                          from aclexplode(d.datacl) a where a.grantee <> d.datdba) end as acl
           from pg_database d where d.datname = $1",
    )
    .bind(name)
    .fetch_one(conn)
    .await?;
    let mut there = PgConnection::connect_with(&new.connect_options("postgres")).await?;
    // Quoted by the old server itself.
    sqlx::query(AssertSqlSafe(row.try_get::<String, _>("made")?))
        .execute(&mut there)
        .await?;
    there.close().await?;
    Ok(row.try_get("acl")?)
}

/// All rows of all tables, on both sides.
async fn compare(
    database: &str,
    old: &PgConnectOptions,
    new: &PgConnectOptions,
) -> Result<i64, UpgradeError> {
    let (old, new) = (counts(old).await?, counts(new).await?);
    for (table, n) in &old {
        let came = new.get(table).copied().unwrap_or(-1);
        if came != *n {
            return Err(UpgradeError::Differs {
                database: database.to_owned(),
                table: table.clone(),
                old: *n,
                new: came,
            });
        }
    }
    Ok(old.values().sum())
}

async fn counts(options: &PgConnectOptions) -> Result<BTreeMap<String, i64>, UpgradeError> {
    let mut conn = PgConnection::connect_with(options).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'",
    )
    .fetch_all(&mut conn)
    .await?;
    let mut counts = BTreeMap::new();
    for table in tables {
        // Quoted by the server itself.
        let n = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(&mut conn)
            .await?;
        counts.insert(table, n);
    }
    conn.close().await?;
    Ok(counts)
}

/// The data once more, and what a fresh cluster takes.
fn room(folder: &Folder) -> Result<(), UpgradeError> {
    let needs = size_of(&folder.data()) + (300 << 20);
    match process::free_bytes(&folder.root) {
        Some(free) if free < needs => Err(UpgradeError::Room {
            root: folder.root.clone(),
            free: free >> 20,
            needs: needs >> 20,
        }),
        _ => Ok(()),
    }
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Removes what killed moves left, by our own shape of name. A folder called `data` is never one.
fn sweep(folder: &Folder) {
    for entry in fs::read_dir(&folder.root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if rest.is_some_and(|r| r.len() == 16 && r.bytes().all(|b| b.is_ascii_hexdigit())) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `data.15.bak`, or with a number behind it.
fn free_name(root: &Path, major: u32) -> PathBuf {
    let first = root.join(format!("data.{major}.bak"));
    let numbered = (2..).map(|n| root.join(format!("data.{major}.bak{n}")));
    std::iter::once(first)
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| unreachable!("the numbers do not end"))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}

fn sync(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_our_own_shape_can_become_the_data() {
        let mark = Mark {
            old: "data.15.bak".into(),
            new: "upgrade.0123456789abcdef/data".into(),
        };
        let read = Mark::read(&mark.text()).unwrap();
        assert_eq!((read.old, read.new), (mark.old, mark.new));
        for bad in [
            "",
            "data.15.bak\n",
            "../x\nupgrade.00/data\n",
            "data.15.bak\n/etc\n",
            "data.15.bak\nupgrade.0/../../x/data\n",
        ] {
            assert!(Mark::read(bad).is_none(), "{bad:?}");
        }
    }
}
