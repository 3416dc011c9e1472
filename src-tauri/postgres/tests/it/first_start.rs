//! The first start: races, kills half-way, and folders that hold something else.

use std::path::{Path, PathBuf};

use bizing_postgres::StartError;

use crate::support::*;

fn unfinished(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("data.new."))
        .collect()
}

#[tokio::test]
async fn four_racing_first_starts_make_one_cluster() {
    let folder = folder();
    let mut apps: Vec<App> = (0..4).map(|_| App::launch(folder.path())).collect();
    let started: Vec<(bool, i32)> = apps.iter_mut().map(App::started).collect();
    assert_eq!(
        started.iter().filter(|(owner, _)| *owner).count(),
        1,
        "{started:?}"
    );
    assert!(
        started.iter().all(|(_, pid)| *pid == started[0].1),
        "{started:?}"
    );
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(ask(&cluster, "select count(*)::text from kept").await, "4");
    // The owner last, so that nobody has to start it again.
    let (owner, others): (Vec<_>, Vec<_>) = apps
        .into_iter()
        .zip(started)
        .partition(|(_, (owner, _))| *owner);
    for (app, _) in others.into_iter().chain(owner) {
        app.quit();
    }
    assert!(!cluster.is_alive().await);
}

#[tokio::test]
async fn an_app_killed_while_it_makes_the_cluster_does_not_hinder_the_next_start() {
    let folder = folder();
    let root = folder.path();
    let mut app = App::launch(root);
    wait_until("initdb is at work", || {
        unfinished(root)
            .iter()
            .any(|path| path.join("base").exists())
    })
    .await;
    app.kill();
    assert!(
        !root.join("data").exists(),
        "a half-made cluster never has the real name"
    );
    let cluster = start(root).await.unwrap();
    assert!(cluster.is_owner());
    assert_eq!(unfinished(root), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_half_written_password_without_a_cluster_is_replaced() {
    let folder = folder();
    std::fs::write(folder.path().join("password"), "").unwrap();
    std::fs::write(folder.path().join("start.lock"), "").unwrap();
    assert!(start(folder.path()).await.unwrap().is_owner());
}

#[tokio::test]
async fn data_of_another_major_is_refused_by_name_and_untouched() {
    let folder = made();
    let root = folder.path();
    let version = root.join("data/PG_VERSION");
    let truth = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, "9\n").unwrap();
    let error = start(root).await.unwrap_err();
    assert!(
        matches!(error, StartError::Major { folder: 9, .. }),
        "{error}"
    );
    for part in [
        "PostgreSQL 9",
        &root.display().to_string(),
        truth.trim(),
        "BIZING_PG_BIN",
    ] {
        assert!(
            error.to_string().contains(part),
            "{part} is missing from: {error}"
        );
    }
    std::fs::write(&version, truth).unwrap();
    start(root).await.unwrap();
}

#[tokio::test]
async fn a_data_folder_that_is_not_a_cluster_is_refused_and_untouched() {
    let folder = folder();
    let letter = folder.path().join("data/letter.txt");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(&letter, "dear").unwrap();
    if is_root() {
        std::os::unix::fs::chown(folder.path().join("data"), Some(12_345), None).unwrap();
    }
    let error = start(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("PG_VERSION"), "{error}");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear");
    assert!(!folder.path().join("password").exists());
}

#[tokio::test]
async fn programs_that_are_not_there_are_an_error_even_if_the_system_has_others() {
    let folder = folder();
    let mut options = options(folder.path());
    options.bin = Some("/nowhere/bin".into());
    let error = bizing_postgres::Cluster::start(options).await.unwrap_err();
    assert!(matches!(error, StartError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/bin"), "{error}");
}
