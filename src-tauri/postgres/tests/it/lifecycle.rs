//! Start, join, stop.

use std::future::Future;

use crate::support::*;

#[tokio::test]
async fn a_first_start_makes_a_cluster_and_a_later_one_finds_its_data() {
    let folder = folder();
    let cluster = start(folder.path()).await.unwrap();
    assert!(cluster.is_owner() && cluster.is_alive().await);
    assert_eq!(ask(&cluster, "show data_checksums").await, "on");
    assert_eq!(ask(&cluster, "show max_connections").await, "60");
    assert_eq!(ask(&cluster, "show server_encoding").await, "UTF8");
    assert_eq!(ask(&cluster, "show cluster_name").await, "bizing-desk");
    run(
        &cluster,
        "create extension btree_gist; create extension pg_trgm; create table kept as select 7 as n",
    )
    .await;
    cluster.stop().await.unwrap();

    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(ask(&cluster, "select n::text from kept").await, "7");
}

/// The only test that flushes to the disk.
#[tokio::test]
async fn unless_told_otherwise_the_server_is_durable() {
    let folder = folder();
    let cluster = bizing_postgres::Cluster::start(bizing_postgres::Options::new(folder.path()))
        .await
        .unwrap();
    for setting in [
        "show fsync",
        "show synchronous_commit",
        "show full_page_writes",
    ] {
        assert_eq!(ask(&cluster, setting).await, "on", "{setting}");
    }
    if cfg!(target_os = "linux") {
        assert_eq!(
            ask(&cluster, "show recovery_init_sync_method").await,
            "syncfs"
        );
    }
}

#[tokio::test]
async fn a_second_start_joins_and_leaves_the_server_running() {
    let folder = made();
    let owner = start(folder.path()).await.unwrap();
    let joined = start(folder.path()).await.unwrap();
    assert!(!joined.is_owner());
    assert_eq!(joined.postmaster_pid(), owner.postmaster_pid());
    joined.stop().await.unwrap();
    drop(start(folder.path()).await.unwrap());
    assert!(owner.is_alive().await);
    assert_eq!(ask(&owner, "select 'answers'").await, "answers");
}

#[tokio::test]
async fn dropping_the_owner_stops_the_server_cleanly_even_with_clients() {
    let folder = made();
    let owner = start(folder.path()).await.unwrap();
    let joined = start(folder.path()).await.unwrap();
    let client = connect(&joined).await;
    drop(owner);
    assert!(!lock_file(folder.path()).exists());
    assert!(!joined.is_alive().await && !runs(joined.postmaster_pid()));
    let log = log(folder.path());
    assert!(
        log.contains("database system is shut down") && !log.contains("immediate shutdown"),
        "{log}"
    );
    drop(client);
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_server() {
    let folder = made();
    // Given up at many different moments of a warm start.
    for step in 0..12 {
        let moment = std::time::Duration::from_millis(step * 8);
        let given_up = tokio::time::timeout(moment, start(folder.path())).await;
        drop(given_up);
    }
    wait_until("no server is left", || !lock_file(folder.path()).exists()).await;
    let cluster = start(folder.path()).await.unwrap();
    assert!(cluster.is_owner());
}

#[tokio::test]
async fn old_settings_are_brought_up_to_date() {
    let folder = made();
    std::fs::write(folder.path().join("data/bizing.conf"), "work_mem = 1MB\n").unwrap();
    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(ask(&cluster, "show work_mem").await, "8MB");
}

#[test]
fn a_start_may_move_between_threads() {
    fn check<T: Send>(_: impl Future<Output = T> + Send) {}
    check(start(std::path::Path::new("/nowhere")));
}
