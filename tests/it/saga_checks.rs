//! What the saga store refuses by itself, whoever asks: the rules stand in the database, not only in Rust.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::support::db::TestDb;

const SAGA: &str = "00000000-0000-0000-0000-000000000001";

/// A running saga under a lease, and an effect that is intended.
async fn started(db: &TestDb) -> PgConnection {
    let mut conn = PgConnection::connect_with(&db.superuser()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "insert into saga.instance (saga_id, definition, def_version, dedupe_key, amount_minor, currency, correlation_id, started_by, lease_owner, lease_expires_at, fence)
           values ('{SAGA}', 'booking', 1, 'b:1', 8000, 'EUR', gen_random_uuid(), 't', gen_random_uuid(), now() + interval '30 s', 1);
         insert into saga.effect (effect_id, saga_id, step, direction, provider, operation, idempotency_key, request, request_sha256)
           values ('{SAGA}', '{SAGA}', 'payment', 'F', 'stripe', 'create_intent', 'bz1:x', '{{}}', '')"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
    conn
}

/// Runs it, then takes it back. The SQLSTATE of the refusal.
async fn attempt(conn: &mut PgConnection, sql: &str) -> Result<(), String> {
    let mut tx = conn.begin().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await;
    tx.rollback().await.unwrap();
    done.map(|_| ()).map_err(|e| {
        e.as_database_error()
            .and_then(|d| d.code())
            .map_or_else(|| e.to_string(), |c| c.into_owned())
    })
}

async fn refuses(conn: &mut PgConnection, cases: &[(&str, &str)]) {
    for (why, sql) in cases {
        let refused = attempt(conn, sql).await.expect_err(why);
        assert!(
            ["23514", "23505"].contains(&refused.as_str()),
            "{why}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_saga_row_that_contradicts_itself_is_refused() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    refuses(
        &mut conn,
        &[
            (
                "a second saga for the same attempt at a booking",
                "insert into saga.instance (saga_id, definition, def_version, dedupe_key, amount_minor, currency, correlation_id, started_by) values (gen_random_uuid(), 'booking', 1, 'b:1', 8000, 'EUR', gen_random_uuid(), 't')",
            ),
            ("running to compensated in one step", "update saga.instance set state = 'compensated', version = version + 1, by_fence = fence, direction = 'C', finished_at = now(), lease_owner = null, lease_expires_at = null"),
            ("a change of state without a new version", "update saga.instance set state = 'waiting'"),
            ("a version that goes back", "update saga.instance set version = version - 1"),
            ("a version written under an old fence", "update saga.instance set version = version + 1, by_fence = fence - 1"),
            ("a version that names no fence", "update saga.instance set version = version + 1"),
            ("a try under an old fence", "insert into saga.attempt (saga_id, no, step, direction, fence, started_at) select saga_id, 1, 'payment', 'F', fence - 1, now() from saga.instance"),
            ("a reason in a word without being parked", "update saga.instance set park_code = 'x'"),
            ("a fence that goes back", "update saga.instance set fence = 0"),
            ("parked without a reason", "update saga.instance set state = 'parked', version = version + 1, by_fence = fence"),
            ("a reason without being parked", "update saga.instance set park_reason = 'x', parked_at = now()"),
            ("an end that keeps its lease", "update saga.instance set state = 'completed', version = version + 1, by_fence = fence, finished_at = now()"),
            ("an end without a time", "update saga.instance set state = 'completed', version = version + 1, by_fence = fence, lease_owner = null, lease_expires_at = null"),
            ("half a lease", "update saga.instance set lease_expires_at = null"),
            ("running backwards", "update saga.instance set direction = 'C'"),
            ("a direction that does not exist", "update saga.instance set direction = 'X'"),
            ("paused by nobody", "update saga.instance set paused_at = now()"),
            ("a state that does not exist", "update saga.instance set state = 'lost', version = version + 1, by_fence = fence"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_person_resolves_a_parked_saga_only_with_a_reason_and_evidence() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let end = "lease_owner = null, lease_expires_at = null, finished_at = now(), version = version + 1, by_fence = fence, park_reason = null, parked_at = null, state = 'resolved'";
    sqlx::query("update saga.instance set state = 'parked', version = version + 1, by_fence = fence, park_reason = 'x', parked_at = now()").execute(&mut conn).await.unwrap();
    for (why, resolution) in [
        (
            "without evidence",
            "resolved_by = 'ana', resolution = '{\"reason\": \"r\"}'",
        ),
        (
            "without a reason",
            "resolved_by = 'ana', resolution = '{\"evidence\": \"re_1\"}'",
        ),
        (
            "by nobody",
            "resolution = '{\"reason\": \"r\", \"evidence\": \"re_1\"}'",
        ),
        ("with nothing at all", "resolved_by = 'ana'"),
        (
            "with empty words",
            "resolved_by = 'ana', resolution = '{\"reason\": \"\", \"evidence\": \"re_1\"}'",
        ),
        (
            "with words that are null",
            "resolved_by = 'ana', resolution = '{\"reason\": null, \"evidence\": \"re_1\"}'",
        ),
    ] {
        let refused = attempt(
            &mut conn,
            &format!("update saga.instance set {end}, {resolution}"),
        )
        .await;
        assert_eq!(refused, Err("23514".to_owned()), "{why}");
    }
    sqlx::query(AssertSqlSafe(format!("update saga.instance set {end}, resolved_by = 'ana', resolution = '{{\"reason\": \"r\", \"evidence\": \"re_1\"}}'"))).execute(&mut conn).await.unwrap();
    refuses(
        &mut conn,
        &[(
            "what is resolved runs again by itself",
            "update saga.instance set state = 'running', version = version + 1, by_fence = fence, finished_at = null",
        )],
    )
    .await;
}

#[tokio::test]
async fn nobody_approves_what_they_asked_for() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let batch = |reason: &str, by: &str| {
        format!(
            "insert into saga.batch (batch_id, action, filter, reason, requested_by, preview, frozen_count, approved_by) values (gen_random_uuid(), 'compensate', '{{}}', '{reason}', 'ann', '{{}}', 3, {by})"
        )
    };
    let command = |by: &str| {
        format!(
            "insert into saga.command (command_id, saga_id, action, expected_version, reason, requested_by, approved_by) values (gen_random_uuid(), '{SAGA}', 'refund', 1, 'r', 'ann', {by})"
        )
    };
    refuses(
        &mut conn,
        &[
            ("their own batch", &batch("long enough reason", "'ann'")),
            ("their own command", &command("'ann'")),
            ("a batch without a real reason", &batch("because", "null")),
        ],
    )
    .await;
    assert_eq!(
        attempt(&mut conn, &batch("long enough reason", "'bea'")).await,
        Ok(())
    );
    assert_eq!(attempt(&mut conn, &command("'bea'")).await, Ok(()));
}

#[tokio::test]
async fn an_effect_is_asked_once_and_its_outcome_has_a_time_or_is_open() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let again = |key: &str, generation: i32| {
        format!(
            "insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256) values (gen_random_uuid(), '{SAGA}', 'payment', 'F', {generation}, 'stripe', 'create_intent', '{key}', '{{}}', '')"
        )
    };
    refuses(
        &mut conn,
        &[
            ("the same key twice", &again("bz1:x", 1)),
            ("the same generation twice", &again("bz1:y", 0)),
            ("confirmed at no time", "update saga.effect set outcome = 'confirmed'"),
            ("open, and resolved", "update saga.effect set resolved_at = now()"),
            ("unknown, and resolved", "update saga.effect set outcome = 'unknown', resolved_at = now()"),
            ("a word nobody knows", "update saga.effect set outcome = 'perhaps', resolved_at = now()"),
            ("resolved by magic", "update saga.effect set outcome = 'confirmed', resolved_at = now(), resolved_via = 'magic'"),
        ],
    )
    .await;
    assert_eq!(attempt(&mut conn, &again("bz1:y", 1)).await, Ok(()));
}

#[tokio::test]
async fn exactly_the_legal_transitions_are_possible() {
    const STATES: [&str; 7] = [
        "running",
        "waiting",
        "compensating",
        "parked",
        "completed",
        "compensated",
        "resolved",
    ];
    let legal = |from: &str, to: &str| match from {
        "running" => ["waiting", "compensating", "parked", "completed"].contains(&to),
        "waiting" => [
            "running",
            "compensating",
            "parked",
            "completed",
            "compensated",
        ]
        .contains(&to),
        "compensating" => ["waiting", "parked", "compensated"].contains(&to),
        "parked" => ["running", "compensating", "waiting", "resolved"].contains(&to),
        // An end is left only by a person who opens it again.
        _ => to == "parked",
    };
    let columns = |state: &str, keep: bool| {
        let direction = match state {
            "compensating" | "compensated" => "'C'",
            "running" | "completed" => "'F'",
            _ if keep => "direction",
            _ => "'F'",
        };
        let parked = if state == "parked" {
            "'x', parked_at = now()"
        } else {
            "null, parked_at = null"
        };
        let finished = if ["completed", "compensated", "resolved"].contains(&state) {
            "now()"
        } else {
            "null"
        };
        let cursor = match state {
            "completed" => "5",
            "compensated" => "-1",
            _ if keep => "\"cursor\"",
            _ => "1",
        };
        format!(
            "state = '{state}', \"cursor\" = {cursor}, direction = {direction}, park_reason = {parked}, finished_at = {finished}, lease_owner = null, lease_expires_at = null,
             version = version + 1, by_fence = fence, resolved_by = 'ana', resolution = '{{\"reason\": \"r\", \"evidence\": \"e\"}}'"
        )
    };
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    for from in STATES {
        for to in STATES.into_iter().filter(|to| *to != from) {
            let place = format!(
                "set local session_replication_role = replica; update saga.instance set {}; set local session_replication_role = origin;",
                columns(from, false)
            );
            let done = attempt(
                &mut conn,
                &format!("{place} update saga.instance set {}", columns(to, true)),
            )
            .await;
            let expected = if legal(from, to) {
                Ok(())
            } else {
                Err("23514".to_owned())
            };
            assert_eq!(done, expected, "{from} -> {to}");
        }
    }
}

#[tokio::test]
async fn a_saga_moves_only_along_its_own_definition() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let moves = |to: &str| {
        format!("update saga.instance set version = version + 1, by_fence = fence, {to}")
    };
    let given_up = "insert into saga.instance (saga_id, definition, def_version, dedupe_key, amount_minor, currency, correlation_id, started_by, \"cursor\") values (gen_random_uuid(), 'cancellation', 1, 'c:1', 8000, 'EUR', gen_random_uuid(), 't', 1);";
    refuses(
        &mut conn,
        &[
            ("a step that it does not have", &moves("\"cursor\" = 6")),
            ("before its beginning", &moves("\"cursor\" = -2")),
            ("complete in the middle", &moves("state = 'completed', finished_at = now(), lease_owner = null, lease_expires_at = null, \"cursor\" = 3")),
            ("forward that goes back", &format!("{}; {}", moves("\"cursor\" = 2"), moves("\"cursor\" = 1"))),
            ("back that goes up to where no money was taken", &format!("{}; {}", moves("direction = 'C', state = 'compensating'"), moves("\"cursor\" = 3"))),
            ("another kind of saga", &moves("definition = 'booking_free'")),
            ("another version while a call is open", "insert into saga.definition values ('booking', 2, (select spec from saga.definition where name = 'booking')); update saga.instance set def_version = 2, version = version + 1, by_fence = fence"),
            ("an edited definition", "update saga.definition set spec = spec || '{\"x\": 1}'"),
            ("a removed definition", "delete from saga.definition where name = 'cancellation'"),
            ("taking a cancellation back", &format!("{given_up} update saga.instance set state = 'compensating', direction = 'C', version = version + 1, by_fence = fence where definition = 'cancellation'")),
        ],
    )
    .await;
    // What the definitions do have.
    for (why, sql) in [
        ("several steps in one commit", moves("\"cursor\" = 4")),
        (
            "up to the capture, which happened after all",
            format!(
                "{}; {}",
                moves("direction = 'C', state = 'compensating', \"cursor\" = 0"),
                moves("\"cursor\" = 2")
            ),
        ),
        (
            "calling off what has not begun",
            format!(
                "{} update saga.instance set state = 'compensating', direction = 'C', version = version + 1, by_fence = fence where definition = 'cancellation'",
                given_up.replace("'t', 1)", "'t', 0)")
            ),
        ),
    ] {
        assert_eq!(attempt(&mut conn, &sql).await, Ok(()), "{why}");
    }
}

#[tokio::test]
async fn compensation_turns_forward_only_through_a_person() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let turn = "update saga.instance set state = 'compensating', direction = 'C', version = version + 1, by_fence = fence;";
    let wait =
        "update saga.instance set state = 'waiting', version = version + 1, by_fence = fence;";
    let forward = "update saga.instance set state = 'running', direction = 'F', version = version + 1, by_fence = fence, park_reason = null, parked_at = null";
    assert_eq!(
        attempt(&mut conn, &format!("{turn} {wait} {forward}")).await,
        Err("23514".to_owned())
    );
    let park = "update saga.instance set state = 'parked', park_reason = 'x', parked_at = now(), version = version + 1, by_fence = fence;";
    assert_eq!(
        attempt(&mut conn, &format!("{turn} {park} {forward}")).await,
        Ok(())
    );
}

#[tokio::test]
async fn one_open_case_of_attention_a_kind_and_saga() {
    let db = TestDb::new().await;
    let mut conn = started(&db).await;
    let case = format!(
        "insert into saga.attention (case_id, saga_id, kind, severity, fact) values (gen_random_uuid(), '{SAGA}', 'parked', 1, '{{}}');"
    );
    assert_eq!(
        attempt(&mut conn, &format!("{case} {case}")).await,
        Err("23505".to_owned())
    );
    assert_eq!(
        attempt(
            &mut conn,
            &format!("{case} update saga.attention set closed_at = now(); {case}")
        )
        .await,
        Ok(())
    );
}
