//! Secrets: who sees them, and how one is replaced.

use bizing_engine::app::endpoints;
use bizing_engine::app::wire::*;

use super::super::Hooks;
use super::super::sink::Sink;
use super::{made, put};

#[tokio::test]
async fn secrets_are_shown_to_admins_with_an_entry_in_the_log_and_replaced_with_an_overlap() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let sink = Sink::start().await;
    let (endpoint, secret) = made(&desk, &sink.url()).await;
    let id = endpoint.row.destination_id;
    let reveal = RevealSecret {
        destination_id: id,
        secret_id: endpoint.secrets[0].secret_id,
    };
    assert_eq!(
        endpoints::reveal_secret(&desk, reveal.clone())
            .await
            .unwrap()
            .secret,
        secret.reveal()
    );
    let rotated = endpoints::rotate_secret(
        &desk,
        RotateSecret {
            destination_id: id,
            overlap_hours: 24,
            reason: "yearly".to_owned(),
        },
    )
    .await
    .unwrap();
    assert_ne!(rotated.secret.as_deref(), Some(secret.reveal().as_str()));
    let ends: Vec<bool> = rotated
        .endpoint
        .secrets
        .iter()
        .map(|s| s.expires_at.is_some())
        .collect();
    assert_eq!(ends, [false, true]);
    let what: Vec<_> = rotated
        .endpoint
        .changes
        .iter()
        .map(|c| c.what.as_str())
        .collect();
    assert_eq!(what, ["secret_rotated", "secret_shown", "created"]);

    // A manager may pause, and neither look at a secret nor change where it leads.
    let people = hooks.desk.db.pool("manager").await;
    let refused = sqlx::query("select * from api.reveal_secret($1, $2)")
        .bind(id)
        .bind(reveal.secret_id)
        .execute(&people)
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("permission denied")
    );
    let disable = sqlx::query("select api.change_endpoint($1, $2, 'disable', null, '')")
        .bind(id)
        .bind(rotated.endpoint.row.version)
        .execute(&people)
        .await;
    assert!(
        disable
            .unwrap_err()
            .to_string()
            .contains("an admin decides that")
    );
    // Another computer that holds another key is told so, and seals nothing with it.
    let mut other = hooks.desk;
    other.vault = Default::default();
    let error = endpoints::put(&other.desk(None), put("https://hooks.example.com/"))
        .await
        .unwrap_err();
    assert!(error.message.contains("key"), "{error:?}");
}
