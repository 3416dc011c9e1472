//! Apps that are killed, servers that are lost, threads that end.

use std::process::{Command, Stdio};

use crate::support::*;

#[tokio::test]
async fn a_killed_app_takes_the_server_with_it_and_the_next_start_recovers() {
    let folder = made();
    let mut app = App::launch(folder.path());
    let (owner, server) = app.started();
    assert!(owner);
    app.kill();
    // At once, while the old server is still on its way out.
    let cluster = start(folder.path()).await.unwrap();
    assert!(cluster.is_owner() && cluster.postmaster_pid() != server && !runs(server));
    assert_eq!(ask(&cluster, "select count(*)::text from kept").await, "1");
    assert!(
        log(folder.path()).contains("database system is shut down"),
        "it shut down, it did not crash"
    );
}

#[tokio::test]
async fn joiners_that_lose_the_server_start_again_and_one_of_them_owns_it() {
    let folder = made();
    let root = folder.path();
    let mut app = App::launch(root);
    app.started();
    let mut joined = vec![
        start(root).await.unwrap(),
        start(root).await.unwrap(),
        start(root).await.unwrap(),
    ];
    assert!(joined.iter().all(|cluster| !cluster.is_owner()));
    app.kill();
    let lost = joined.remove(0);
    wait_until("the server stops", || !runs(lost.postmaster_pid())).await;
    for cluster in &joined {
        assert!(!cluster.is_alive().await);
    }
    drop(joined);
    let (a, b, c) = tokio::join!(start(root), start(root), start(root));
    let again = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert_eq!(again.iter().filter(|cluster| cluster.is_owner()).count(), 1);
    assert!(
        again
            .iter()
            .all(|cluster| cluster.postmaster_pid() == again[0].postmaster_pid())
    );
    assert_eq!(ask(&again[2], "select count(*)::text from kept").await, "1");
    // The owner goes last: a joiner's handle stops nothing.
    let (owner, others): (Vec<_>, Vec<_>) =
        again.into_iter().partition(|cluster| cluster.is_owner());
    drop(others);
    assert!(owner[0].is_alive().await);
}

#[test]
fn the_server_outlives_the_thread_and_the_runtime_that_started_it() {
    let folder = made();
    let root = folder.path().to_owned();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let cluster = std::thread::spawn(move || runtime().block_on(start(&root)).unwrap())
        .join()
        .unwrap();
    // A death signal would have been sent before the join returned; the answer proves that it was not.
    assert_eq!(
        runtime().block_on(ask(&cluster, "select 'answers'")),
        "answers"
    );
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(runtime().block_on(cluster.is_alive()));
}

#[tokio::test]
async fn ctrl_c_in_the_terminal_does_not_reach_the_server() {
    let folder = made();
    let cluster = start(folder.path()).await.unwrap();
    let pid = cluster.postmaster_pid();
    // SAFETY: one integer, no memory.
    assert_eq!(
        unsafe { libc::getpgid(pid) },
        pid,
        "it leads a group of its own"
    );
}

#[tokio::test]
async fn an_orphan_is_adopted_and_stopped_in_the_end() {
    let folder = made();
    let root = folder.path();
    let first = start(root).await.unwrap();
    let postgres = first.bin().join("postgres");
    first.stop().await.unwrap();

    // A server without a death signal, as on systems that have none, whose app is gone.
    let mut command = Command::new(postgres);
    command
        .arg("-D")
        .arg(root.join("data"))
        .args(["-c", "port=5432", "-c", "listen_addresses="])
        .arg("-k")
        .arg(root.join("run"));
    if is_root() {
        use std::os::unix::fs::MetadataExt;
        use std::os::unix::process::CommandExt;
        let owner = std::fs::metadata(root.join("data")).unwrap();
        command.uid(owner.uid()).gid(owner.gid());
    }
    let mut orphan = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it is ready", || {
        std::fs::read_to_string(lock_file(root)).is_ok_and(|text| text.contains("ready"))
    })
    .await;

    let cluster = start(root).await.unwrap();
    assert!(cluster.is_owner());
    assert_eq!(cluster.postmaster_pid(), orphan.id() as i32);
    let joined = start(root).await.unwrap();
    assert!(!joined.is_owner(), "it has an owner again");
    cluster.stop().await.unwrap();
    assert!(orphan.wait().unwrap().success());
    assert!(!joined.is_alive().await);
}

#[tokio::test]
#[ignore = "takes 15 s: the server is given its time"]
async fn a_server_that_hangs_is_told_to_quit_and_recovers() {
    let folder = made();
    let cluster = start(folder.path()).await.unwrap();
    run(&cluster, "create table kept as select 7 as n").await;
    let mut client = connect(&cluster).await;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut client)
        .await
        .unwrap();
    // It cannot hear the shutdown, and the server waits for it.
    // SAFETY: two integers, no memory.
    assert_eq!(unsafe { libc::kill(backend, libc::SIGSTOP) }, 0);
    cluster.stop().await.unwrap();
    assert!(log(folder.path()).contains("received immediate shutdown request"));
    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(ask(&cluster, "select n::text from kept").await, "7");
}
