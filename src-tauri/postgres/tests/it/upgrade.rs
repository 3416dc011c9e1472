//! Moving from the system's major to the second one that `make test-postgres-18` fetches. Without it there is nothing to
//! move to, and the tests say so and pass.

use std::path::{Path, PathBuf};

use bizing_postgres::{Cluster, Move, Options, UpgradeError};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::support::{ask, folder};

fn newer() -> Option<PathBuf> {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.cache/postgres-18/bin-of-18")
        .canonicalize()
        .ok();
    if bin.is_none() {
        eprintln!("skipped: no second PostgreSQL here; `make .cache/postgres-18/.done` fetches it");
    }
    bin
}

fn old(root: &Path) -> Options {
    Options {
        no_sync: true,
        bin: None,
        ..Options::new(root)
    }
}

fn new(root: &Path, bin: &Path) -> Options {
    Options {
        bin: Some(bin.to_owned()),
        ..old(root)
    }
}

/// A cluster of the system's major with a business in it; `None` when that is not older.
async fn lived(root: &Path) -> Option<u32> {
    let cluster = Cluster::start(old(root)).await.unwrap();
    let major = cluster.major();
    let mut conn = PgConnection::connect_with(&cluster.connect_options("postgres"))
        .await
        .unwrap();
    conn.execute("create role keeper nologin; create role guest login password 'secret'; grant keeper to guest").await.unwrap();
    conn.execute("create database \"Own Ü\"").await.unwrap();
    let mut conn = PgConnection::connect_with(&cluster.connect_options("Own Ü"))
        .await
        .unwrap();
    conn.execute(
        "revoke connect on database \"Own Ü\" from public; grant connect on database \"Own Ü\" to keeper;
         create schema core authorization keeper; create table core.kept (n int primary key, t text);
         alter table core.kept owner to keeper; create sequence core.no; select nextval('core.no'), nextval('core.no');
         insert into core.kept select n, md5(n::text) from generate_series(1, 5000) n",
    )
    .await
    .unwrap();
    conn.close().await.unwrap();
    cluster.stop().await.unwrap();
    (major < 18).then_some(major)
}

#[tokio::test]
async fn a_cluster_moves_to_a_newer_major_with_all_it_had_and_the_old_one_stays() {
    let (Some(bin), folder) = (newer(), folder()) else {
        return;
    };
    let Some(major) = lived(folder.path()).await else {
        return;
    };
    let refused = Cluster::start(new(folder.path(), &bin))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("upgrade-database"), "{refused}");

    let mut moving = Move::begin(new(folder.path(), &bin)).await.unwrap();
    assert_eq!((moving.from(), moving.to()), (major, 18));
    moving.copy(|_| {}).await.unwrap();
    let done = moving.finish().await.unwrap();
    assert_eq!(done.rows.get("Own Ü"), Some(&5000));
    assert!(done.kept.ends_with(format!("data.{major}.bak")));
    let version = std::fs::read_to_string(done.kept.join("PG_VERSION")).unwrap();
    assert_eq!(version.trim(), major.to_string(), "the old folder is whole");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with("upgrade."))
        .collect();
    assert_eq!(left, Vec::<String>::new());

    let cluster = Cluster::start(new(folder.path(), &bin)).await.unwrap();
    assert_eq!(ask(&cluster, "show server_version_num").await[..2], *"18");
    let guest = cluster
        .connect_options("Own Ü")
        .username("guest")
        .password("secret");
    let mut conn = PgConnection::connect_with(&guest).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from core.kept")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let next: i64 = sqlx::query_scalar("select last_value from core.no")
        .fetch_one(
            &mut PgConnection::connect_with(&cluster.connect_options("Own Ü"))
                .await
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(
        (rows, next),
        (5000, 2),
        "by the old password, in the old group"
    );
    let open: bool = sqlx::query_scalar(
        "select has_database_privilege('public', current_database(), 'connect')",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert!(!open, "who was kept out is kept out");
    conn.close().await.unwrap();
    cluster.stop().await.unwrap();
    let again = Move::begin(new(folder.path(), &bin)).await.err().unwrap();
    assert!(
        matches!(again, UpgradeError::NothingNewer { has: 18, .. }),
        "{again}"
    );
}

#[tokio::test]
async fn a_move_that_is_given_up_or_killed_leaves_a_cluster_that_opens() {
    let (Some(bin), folder) = (newer(), folder()) else {
        return;
    };
    let Some(major) = lived(folder.path()).await else {
        return;
    };
    // Given up before the change of places.
    let mut moving = Move::begin(new(folder.path(), &bin)).await.unwrap();
    moving.copy(|_| {}).await.unwrap();
    drop(moving);
    let cluster = Cluster::start(old(folder.path())).await.unwrap();
    assert_eq!(cluster.major(), major);
    let busy = Move::begin(new(folder.path(), &bin)).await.err().unwrap();
    assert!(matches!(busy, UpgradeError::InUse { .. }), "{busy}");
    cluster.stop().await.unwrap();

    // Killed between the two renames: the next start finishes.
    let mut moving = Move::begin(new(folder.path(), &bin)).await.unwrap();
    moving.copy(|_| {}).await.unwrap();
    let done = moving.finish().await.unwrap();
    let fresh = folder.path().join("upgrade.0123456789abcdef");
    std::fs::create_dir(&fresh).unwrap();
    std::fs::rename(folder.path().join("data"), fresh.join("data")).unwrap();
    let kept = done.kept.file_name().unwrap().to_str().unwrap();
    std::fs::write(
        folder.path().join("upgrade.swap"),
        format!("{kept}\nupgrade.0123456789abcdef/data\n"),
    )
    .unwrap();
    let cluster = Cluster::start(new(folder.path(), &bin)).await.unwrap();
    assert_eq!(cluster.major(), 18);
    assert!(!folder.path().join("upgrade.swap").exists());
}
