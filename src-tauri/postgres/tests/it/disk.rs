//! Full and read-only disks. A small disk of one's own takes root.

use std::path::Path;
use std::process::{Command, Stdio};

use bizing_postgres::StartError;

use crate::support::*;

/// A file system in memory, unmounted at the end. `None` where we may not mount one.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null());
        mount
            .status()
            .is_ok_and(|status| status.success())
            .then(|| Self(at))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_disk_too_small_for_a_database_is_named_before_anything_is_made() {
    let folder = folder();
    let Some(disk) = Disk::mount(folder.path(), "size=30m") else {
        return;
    };
    let error = start(disk.0).await.unwrap_err();
    assert!(matches!(error, StartError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("Free some space"), "{error}");
    assert!(!disk.0.join("data").exists());
}

#[tokio::test]
async fn a_database_on_a_full_disk_starts_again_once_there_is_room() {
    let folder = folder();
    let Some(disk) = Disk::mount(folder.path(), "size=320m") else {
        return;
    };
    let cluster = start(disk.0).await.unwrap();
    run(
        &cluster,
        "create table kept as select generate_series(1, 1000) as n",
    )
    .await;
    let fill =
        "create table filler as select repeat('x', 1000) as t from generate_series(1, 400000)";
    let error = sqlx::raw_sql(fill)
        .execute(&mut connect(&cluster).await)
        .await
        .unwrap_err();
    assert_eq!(
        error.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("53100"),
        "{error}"
    );
    assert_eq!(
        ask(&cluster, "select count(*)::text from kept").await,
        "1000",
        "the server itself goes on"
    );
    cluster.stop().await.unwrap();
    // To the last byte: not even a lock file has room.
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![1; 320 << 20]).unwrap_err();

    let error = start(disk.0).await.unwrap_err();
    assert!(matches!(error, StartError::DiskFull { .. }), "{error}");
    std::fs::remove_file(&filler).unwrap();
    let cluster = start(disk.0).await.unwrap();
    assert_eq!(
        ask(&cluster, "select count(*)::text from kept").await,
        "1000"
    );
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let folder = folder();
    let Some(disk) = Disk::mount(folder.path(), "size=1m") else {
        return;
    };
    disk.remount("ro");
    let error = start(&disk.0.join("pg")).await.unwrap_err();
    assert!(matches!(error, StartError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_we_may_not_write_is_named() {
    if is_root() {
        return; // root may
    }
    let folder = folder();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o500),
    )
    .unwrap();
    let error = start(&folder.path().join("pg")).await.unwrap_err();
    assert!(matches!(error, StartError::Permission { .. }), "{error}");
}

#[tokio::test]
async fn a_shared_memory_too_small_is_not_taken_for_a_full_disk() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // As a container with a tiny /dev/shm sees it, without changing anybody else's.
    let script = "mount -t tmpfs -o size=1m tmpfs /dev/shm 2>/dev/null || exit 42
                  exec \"$0\" support::app --exact --ignored --nocapture";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap());
    let Ok(output) = command
        .env("BIZING_IT_ROOT", folder.path())
        .stdin(Stdio::null())
        .output()
    else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(42) || text.starts_with("unshare:") {
        return; // not permitted here
    }
    assert!(text.contains("not the disk but /dev/shm"), "{text}");
}
