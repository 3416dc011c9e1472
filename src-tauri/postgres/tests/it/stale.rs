//! Lock files without a server, and servers without a lock file.

use std::os::unix::net::UnixListener;
use std::process::Command;

use bizing_postgres::StartError;

use crate::support::*;

fn write_lock_file(root: &std::path::Path, pid: i32, socket: &std::path::Path) {
    let text = format!(
        "{pid}\n{}/data\n1790000000\n5432\n{}\n\n  5432001         7\nready   \n",
        root.display(),
        socket.display()
    );
    std::fs::write(lock_file(root), text).unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_strangers_process_is_cleared() {
    let folder = made();
    let root = folder.path();
    // A reused number: this very account's, which is what stops a server for ever.
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    write_lock_file(root, stranger.id() as i32, &root.join("run"));
    let cluster = start(root).await.unwrap();
    assert!(cluster.is_owner());
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "the stranger was not touched"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_another_folders_server_is_cleared_and_that_server_lives() {
    let (folder, elsewhere) = (made(), made());
    let other = start(elsewhere.path()).await.unwrap();
    write_lock_file(
        folder.path(),
        other.postmaster_pid(),
        &folder.path().join("run"),
    );
    let cluster = start(folder.path()).await.unwrap();
    assert!(cluster.is_owner() && cluster.postmaster_pid() != other.postmaster_pid());
    assert!(other.is_alive().await);
}

#[tokio::test]
async fn an_empty_pid_file_is_cleared() {
    let folder = made();
    std::fs::write(lock_file(folder.path()), "").unwrap();
    assert!(start(folder.path()).await.unwrap().is_owner());
}

#[tokio::test]
async fn a_pid_file_emptied_under_a_running_server_makes_nobody_start_a_second_one() {
    let folder = made();
    let cluster = start(folder.path()).await.unwrap();
    let text = std::fs::read(lock_file(folder.path())).unwrap();
    std::fs::write(lock_file(folder.path()), "").unwrap();
    let root = folder.path().to_owned();
    let second = tokio::spawn(async move { start(&root).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!second.is_finished(), "it waits");
    std::fs::write(lock_file(folder.path()), text).unwrap();
    assert_eq!(
        second.await.unwrap().unwrap().postmaster_pid(),
        cluster.postmaster_pid()
    );
}

#[tokio::test]
async fn a_server_that_answers_but_cannot_be_seen_is_not_overrun() {
    let folder = made();
    let root = folder.path();
    // As it looks when another container runs the server of a shared folder: no such process here, but a live socket.
    let world = tempfile::tempdir().unwrap();
    let _server = UnixListener::bind(world.path().join(".s.PGSQL.5432")).unwrap();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    write_lock_file(root, ended.id() as i32, world.path());
    let error = start(root).await.unwrap_err();
    assert!(matches!(error, StartError::Occupied { .. }), "{error}");
    assert!(lock_file(root).exists(), "its lock file stays");
}

#[tokio::test]
async fn a_killed_server_is_replaced_and_its_former_owner_does_not_stop_the_new_one() {
    let folder = made();
    let first = start(folder.path()).await.unwrap();
    run(&first, "create table kept as select 7 as n").await;
    // The handle does not wait for it, so it stays a zombie, whose number still answers to signals.
    kill(first.postmaster_pid());
    wait_until("it is dead", || !runs(first.postmaster_pid())).await;
    assert!(!first.is_alive().await);

    let second = start(folder.path()).await.unwrap();
    assert!(second.is_owner());
    assert_eq!(ask(&second, "select n::text from kept").await, "7");
    drop(first);
    let third = start(folder.path()).await.unwrap();
    assert!(
        !third.is_owner(),
        "the new server has an owner, whatever became of the old one's"
    );
    drop(third);
    assert!(second.is_alive().await);
}

#[tokio::test]
async fn work_left_by_a_killed_server_is_waited_for() {
    let folder = made();
    let cluster = start(folder.path()).await.unwrap();
    let mut client = connect(&cluster).await;
    // A backend that is busy does not notice that its server is gone.
    let busy = "do $$ declare t timestamptz := clock_timestamp() + '1.2 s';
                begin while clock_timestamp() < t loop end loop; end $$";
    let work =
        tokio::spawn(async move { sqlx::raw_sql(busy).execute(&mut client).await.map(drop) });
    let active =
        "select count(*)::text from pg_stat_activity where state = 'active' and query like 'do %'";
    while ask(&cluster, active).await != "1" {}
    let visible = std::fs::read_link(format!("/proc/{}/cwd", cluster.postmaster_pid())).is_ok();
    kill(cluster.postmaster_pid());
    let next = start(folder.path()).await.unwrap();
    assert!(next.is_owner());
    let _ = work.await.unwrap();
    // Where we may not look at other accounts' processes, the new server notices and is started again.
    let too_early = log(folder.path()).contains("pre-existing shared memory");
    assert!(
        !too_early || !visible,
        "the new server was started too early"
    );
}
