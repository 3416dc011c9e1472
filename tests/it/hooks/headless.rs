//! `bizing-desk endpoints | deliveries | inbox`, under somebody's login.

use serde_json::{Value, json};
use sqlx::ConnectOptions;
use uuid::Uuid;

use super::Hooks;
use crate::served;

async fn run(hooks: &Hooks, group: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let data = tempfile::tempdir().unwrap();
    let mut command = served::command(data.path());
    command
        .env(
            "DATABASE_URL",
            hooks.desk.db.login(group).to_url_lossy().as_str(),
        )
        .args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[tokio::test]
async fn endpoints_and_deliveries_are_looked_after_without_a_window() {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({ "name": "Books" }))
        .await
        .id;
    hooks.append(Uuid::now_v7(), 3).await;
    sqlx::query("update delivery.deliveries set state = 'gave_up', finished_at = now() where destination_id = $1")
        .bind(id)
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();

    let (code, said) = run(&hooks, "viewer", &["endpoints", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    let rows: Value = serde_json::from_str(&said).unwrap();
    let books = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "Books")
        .unwrap();
    assert_eq!(
        (&books["gave_up"], &books["state"]),
        (&json!(3), &json!("works"))
    );

    let pause = ["endpoints", "pause", "Books", "--reason", "they move house"];
    assert_ne!(
        run(&hooks, "staff", &pause).await.0,
        Some(0),
        "not for staff"
    );
    assert_eq!(
        run(&hooks, "manager", &pause).await,
        (Some(0), "Books: paused.\n".to_owned())
    );
    let (code, said) = run(&hooks, "manager", &["endpoints", "test", "Books"]).await;
    assert_eq!(code, Some(0), "{said}");

    // By why the last try failed, as the window's list.
    sqlx::query("update delivery.deliveries set last_class = 'timeout' where delivery_id = (select min(delivery_id::text)::uuid from delivery.deliveries where destination_id = $1 and state = 'gave_up')")
        .bind(id)
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();
    let slow = ["deliveries", "redeliver", "--error", "timeout", "--dry-run"];
    let (code, said) = run(&hooks, "manager", &slow).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 to Books, 0 of them"), "{said}");
    let wrong = ["deliveries", "list", "--error", "bad_luck"];
    let (code, said) = run(&hooks, "manager", &wrong).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("`too_large`"), "names what there is: {said}");

    let which = [
        "deliveries",
        "redeliver",
        "--to",
        "Books",
        "--state",
        "gave_up",
    ];
    let (code, said) = run(&hooks, "manager", &[&which[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("3 to Books, 0 of them") && said.contains("Nothing is sent yet"),
        "{said}"
    );
    let (code, said) = run(
        &hooks,
        "manager",
        &[&which[..], &["--reason", "they are back", "--yes"]].concat(),
    )
    .await;
    assert_eq!(code, Some(0), "{said}");
    let begun: i64 = sqlx::query_scalar("select count(*) from read.redelivery_items_v1")
        .fetch_one(&hooks.desk.people)
        .await
        .unwrap();
    assert_eq!(begun, 3);

    let (code, said) = run(
        &hooks,
        "manager",
        &["inbox", "reprocess", "1", "--reason", "look again"],
    )
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing to process again"), "{said}");

    // All of a kind is only counted until somebody says yes.
    let all = ["inbox", "reprocess", "--status", "quarantined"];
    let (code, said) = run(&hooks, "manager", &[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("Nothing of this can be processed again"),
        "{said}"
    );
    let (code, said) = run(
        &hooks,
        "manager",
        &[&all[..], &["--dry-run", "--yes"]].concat(),
    )
    .await;
    assert_eq!(code, Some(2), "{said}");
}
