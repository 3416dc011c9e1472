//! Logins of people: made without the server ever seeing a password, changed, switched off, and never by whoever may not.

use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::people::{self, Maker};
use bizing_engine::app::wire::*;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use std::sync::Arc;

use crate::support::db::TestDb;

fn desk(db: &TestDb, people: PgPool, group: Group, maker: bool) -> Desk {
    Desk(Arc::new(DeskParts {
        vault: Default::default(),
        people,
        installation: db.installation.clone(),
        profile: ProfileKind::Server,
        group,
        read_only: None,
        bell: Default::default(),
        hints: Default::default(),
        works_here: None,
        sandbox_url: None,
        connections: Connections {
            stripe_set: false,
            mail_set: false,
        },
        backups: None,
        maker: maker.then(|| Maker::new(db.superuser())),
        examiner: Default::default(),
        log_change: None,
        log_id: None,
        policy: Default::default(),
        silent: Default::default(),
    }))
}

/// Roles belong to the whole server, on which other tests make some too.
fn login(db: &TestDb, name: &str) -> String {
    format!(
        "{name}_{}",
        db.name.replace(|c: char| !c.is_ascii_alphanumeric(), "")
    )
    .chars()
    .take(31)
    .collect()
}

async fn enter(db: &TestDb, login: &str, password: &str) -> sqlx::Result<PgConnection> {
    db.superuser()
        .username(login)
        .password(password)
        .connect()
        .await
}

async fn group_of(conn: &mut PgConnection) -> Option<String> {
    sqlx::query_scalar("select admin.caller_group()")
        .fetch_one(conn)
        .await
        .unwrap()
}

fn add(login: &str, group: Group) -> AddPerson {
    AddPerson {
        login: login.to_owned(),
        name: "Anna Lind".to_owned(),
        group,
    }
}

#[tokio::test]
async fn a_person_gets_a_login_of_their_own_changes_group_and_is_switched_off() {
    let db = TestDb::new().await;
    let admin = desk(&db, db.pool("admin").await, Group::Admin, true);
    let anna = login(&db, "anna");
    let made = people::add(&admin, add(&anna, Group::Staff)).await.unwrap();
    assert!(
        made.address.contains(&anna) && !made.address.contains(&made.password),
        "{}",
        made.address
    );
    assert_eq!(
        (
            made.person.group,
            made.person.active,
            made.person.name.as_deref()
        ),
        (Some(Group::Staff), true, Some("Anna Lind"))
    );
    assert!(!format!("{made:?}").contains(&made.password));

    // Whoever reads the server's own list finds what checks the password, and not the password.
    let root = db.superuser_pool().await;
    let stored: String = sqlx::query_scalar("select rolpassword from pg_authid where rolname = $1")
        .bind(&anna)
        .fetch_one(&root)
        .await
        .unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$") && !stored.contains(&made.password));
    assert!(enter(&db, &anna, "guessed").await.is_err());
    let mut theirs = enter(&db, &anna, &made.password).await.unwrap();
    assert_eq!(group_of(&mut theirs).await.as_deref(), Some("staff"));
    sqlx::query("select api.seen()")
        .execute(&mut theirs)
        .await
        .unwrap();
    let row = |all: People| all.rows.into_iter().find(|p| p.login == anna).unwrap();
    let seen = row(people::list(&admin, Empty {}).await.unwrap());
    assert!(seen.last_seen_at.is_some() && !seen.own);

    let change = |change| ChangePerson {
        login: anna.clone(),
        change,
    };
    assert_eq!(
        people::change(&admin, change(PersonChange::Manager))
            .await
            .unwrap()
            .group,
        Some(Group::Manager)
    );
    assert!(
        theirs.ping().await.is_err(),
        "what was open had the old rights"
    );
    let mut theirs = enter(&db, &anna, &made.password).await.unwrap();
    assert_eq!(group_of(&mut theirs).await.as_deref(), Some("manager"));
    people::change(&admin, change(PersonChange::Viewer))
        .await
        .unwrap();
    let mut viewer = enter(&db, &anna, &made.password).await.unwrap();
    assert_eq!(group_of(&mut viewer).await.as_deref(), Some("viewer"));

    let off = people::change(&admin, change(PersonChange::Disable))
        .await
        .unwrap();
    assert!(!off.active && off.disabled_at.is_some());
    assert!(theirs.ping().await.is_err() && enter(&db, &anna, &made.password).await.is_err());
    assert!(
        people::change(&admin, change(PersonChange::Enable))
            .await
            .unwrap()
            .disabled_at
            .is_none()
    );
    let fresh = people::reset_password(
        &admin,
        ResetPassword {
            login: anna.clone(),
        },
    )
    .await
    .unwrap();
    assert!(
        enter(&db, &anna, &made.password).await.is_err(),
        "the old password is no more"
    );
    enter(&db, &anna, &fresh.password).await.unwrap();

    let changes: Vec<String> =
        sqlx::query_scalar("select what from admin.person_change where login = $1 order by at")
            .bind(&anna)
            .fetch_all(&root)
            .await
            .unwrap();
    assert_eq!(
        changes,
        [
            "added", "staff", "manager", "viewer", "disabled", "enabled", "password"
        ]
    );
    drop(enter(&db, &anna, &fresh.password).await);
    people::change(&admin, change(PersonChange::Disable))
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_may_not_make_logins_is_told_why_and_makes_none() {
    let db = TestDb::new().await;
    let name = login(&db, "bo");
    let manager = desk(&db, db.pool("manager").await, Group::Manager, true);
    let elsewhere = desk(&db, db.pool("admin").await, Group::Admin, false);
    for (desk, why) in [
        (&manager, "Admins look after"),
        (&elsewhere, "bizing-desk people add"),
    ] {
        assert!(
            people::list(desk, Empty {})
                .await
                .unwrap()
                .refused
                .unwrap()
                .contains(why)
        );
        let refused = people::add(desk, add(&name, Group::Admin))
            .await
            .unwrap_err();
        assert!(
            refused.code == Code::Forbidden && refused.message.contains(why),
            "{}",
            refused.message
        );
    }
    assert!(
        people::list(&manager, Empty {})
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    let admin = desk(&db, db.pool("admin").await, Group::Admin, true);
    for bad in [
        "",
        "x",
        "Anna",
        "anna;drop",
        "1a",
        "anna lind",
        "bizing_very_long_name_of_more_than_31",
    ] {
        let refused = people::add(&admin, add(bad, Group::Staff))
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            (Code::Invalid, Some("login")),
            "{bad}"
        );
    }
    let superuser = db.superuser().get_username().to_owned();
    let taken = people::add(&admin, add(&superuser, Group::Staff))
        .await
        .unwrap_err();
    assert!(taken.message.contains("already"), "{}", taken.message);
    // A computer's own login, a login of the server and oneself are nobody's to change here.
    let own: String = sqlx::query_scalar("select session_user::text")
        .fetch_one(&admin.people)
        .await
        .unwrap();
    for other in [superuser.as_str(), own.as_str()] {
        let refused = people::change(
            &admin,
            ChangePerson {
                login: other.to_owned(),
                change: PersonChange::Disable,
            },
        )
        .await
        .unwrap_err();
        assert_eq!(refused.code, Code::NotFound);
    }
    let there: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
        .bind(&name)
        .fetch_one(&admin.people)
        .await
        .unwrap();
    assert!(!there);
}
