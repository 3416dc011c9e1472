//! Who gets in, and where things stand: modes, accounts, passwords, paths, the environment.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use bizing_postgres::StartError;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::support::*;

/// An account that every system has.
const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn folder_socket_and_password_are_closed_to_others() {
    let folder = folder();
    let root = folder.path();
    let cluster = start(root).await.unwrap();
    for (name, expected) in [
        ("", 0o700),
        ("run", 0o700),
        ("data", 0o700),
        ("password", 0o600),
        ("postgres.log", 0o600),
    ] {
        assert_eq!(mode(&root.join(name)), expected, "{name}");
    }
    assert_eq!(ask(&cluster, "show listen_addresses").await, "");
    let guess = cluster.connect_options("postgres").password("guess");
    let error = PgConnection::connect_with(&guess).await.unwrap_err();
    assert_eq!(
        error.as_database_error().and_then(|e| e.code()).as_deref(),
        Some("28P01")
    );
    let password = std::fs::read_to_string(root.join("password")).unwrap();
    assert!(!format!("{cluster:?}").contains(&password));
}

#[tokio::test]
async fn a_data_folder_that_was_opened_to_others_is_closed_again() {
    let folder = made();
    let data = folder.path().join("data");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    assert!(cluster.is_alive().await);
}

#[tokio::test]
async fn a_lost_or_wrong_password_is_named_and_the_data_stays() {
    let folder = made();
    let root = folder.path();
    let (password, aside) = (root.join("password"), root.join("aside"));

    std::fs::rename(&password, &aside).unwrap();
    let error = start(root).await.unwrap_err();
    assert!(
        matches!(error, StartError::Password { .. }) && error.to_string().contains("is missing"),
        "{error}"
    );
    assert!(
        !password.exists(),
        "a new password would not open the old cluster"
    );

    std::fs::write(&password, "another").unwrap();
    let error = start(root).await.unwrap_err();
    assert!(error.to_string().contains("does not open it"), "{error}");
    assert!(
        !lock_file(root).exists(),
        "the server that was started for it is stopped again"
    );

    std::fs::rename(&aside, &password).unwrap();
    start(root).await.unwrap();
}

#[tokio::test]
async fn names_with_spaces_quotes_and_other_scripts_work() {
    let folder = folder();
    // Under root the outer folder is not ours to hand over once something stands in it, so open it.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join(r#"a b, "ü" 事 $x %p \'"#);
    let cluster = start(&root).await.unwrap();
    assert_eq!(ask(&cluster, "select 'answers'").await, "answers");
    assert!(root.join("run/.s.PGSQL.5432").exists());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_moves_only_the_socket() {
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join("x".repeat(100));
    let cluster = start(&root).await.unwrap();
    let options = cluster.connect_options("postgres");
    let socket = options.get_socket().unwrap().clone();
    assert!(
        !socket.starts_with(&root) && socket.as_os_str().len() < 90,
        "{}",
        socket.display()
    );
    assert_eq!(mode(&socket), 0o700);
    // Another session may have other folders in its environment and must still find the server.
    let mut app = App::launch_with(
        &root,
        &[("XDG_RUNTIME_DIR", "/var/tmp"), ("TMPDIR", "/var/tmp")],
    );
    assert_eq!(app.started(), (false, cluster.postmaster_pid()));
    app.quit();
    cluster.stop().await.unwrap();
    let _ = std::fs::remove_dir(&socket);
}

#[tokio::test]
async fn the_users_language_and_postgres_variables_change_nothing() {
    let folder = folder();
    let env = [
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "xx_YY.bogus"),
        ("TZ", "Mars/Olympus"),
        ("PGHOST", "nowhere.invalid"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "somebody"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "none"),
        ("PGSSLMODE", "verify-full"),
        ("PGDATA", "/nowhere"),
    ];
    let mut app = App::launch_with(folder.path(), &env);
    assert!(app.started().0);
    let cluster = start(folder.path()).await.unwrap();
    assert_eq!(ask(&cluster, "show timezone").await, "UTC");
    assert_eq!(ask(&cluster, "show lc_messages").await, "C.UTF-8");
    app.quit();
}

#[tokio::test]
async fn under_root_the_server_runs_as_the_owner_of_its_data() {
    if !is_root() {
        return;
    }
    let folder = folder();
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let cluster = start(folder.path()).await.unwrap();
    let server = std::fs::metadata(format!("/proc/{}", cluster.postmaster_pid())).unwrap();
    assert_eq!((server.uid(), server.gid()), (NOBODY, NOBODY));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", cluster.postmaster_pid())).unwrap();
    let groups = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap();
    assert_eq!(groups.trim(), "", "no group of root's is left");
    for name in [
        "start.lock",
        "owner.lock",
        "password",
        "postgres.log",
        "run",
        "data",
    ] {
        assert_eq!(
            std::fs::metadata(folder.path().join(name)).unwrap().uid(),
            NOBODY,
            "{name}"
        );
    }
}

#[tokio::test]
async fn under_root_a_folder_that_the_servers_account_cannot_enter_is_named() {
    if !is_root() {
        return;
    }
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let root = folder.path().join("inside");
    let error = start(&root).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Unreachable { path, .. } if path.ends_with("inside")),
        "{error}"
    );
    assert!(error.to_string().contains("cannot enter"), "{error}");
    assert!(!root.join("data").exists() && !root.join("password").exists());
}

#[tokio::test]
async fn a_data_folder_of_another_account_is_named_with_its_owner() {
    if !is_root() {
        return;
    }
    let folder = made();
    let data = folder.path().join("data");
    let owner = std::fs::metadata(&data).unwrap().uid();
    chown(&data, Some(0), None).unwrap();
    let error = start(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("belongs to root"), "{error}");
    chown(&data, Some(owner), None).unwrap();
    start(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_folder_full_of_other_things_keeps_its_owner_and_its_mode() {
    let folder = folder();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = std::fs::metadata(folder.path()).unwrap();
    let cluster = start(folder.path()).await.unwrap();
    let after = std::fs::metadata(folder.path()).unwrap();
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    assert!(cluster.is_alive().await);
}
