use super::*;

const SAGA: Uuid = Uuid::from_u128(77);
const COMMAND: Uuid = Uuid::from_u128(88);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn event(n: u128, name: &str, seconds: i64, cause: Option<Uuid>, texts: &[&str]) -> Fact {
    Fact {
        id: Uuid::from_u128(n),
        name: name.to_owned(),
        schema_version: 1,
        position: n as i64,
        at: at(seconds),
        recorded_at: at(seconds),
        actor: "desk".to_owned(),
        subject: None,
        cause,
        texts: texts.iter().map(|t| (*t).to_owned()).collect(),
    }
}

fn step(no: i32, step: &str, seconds: i64, called: bool, result: &str) -> Try {
    Try {
        saga_id: SAGA,
        no,
        step: step.to_owned(),
        undoing: false,
        started_at: at(seconds),
        result: Some(result.to_owned()),
        called,
        provider_object: None,
    }
}

/// A booking by link: asked for, paid on the provider's page, confirmed, told.
fn story() -> Facts {
    let mail = Uuid::from_u128(99);
    Facts {
        events: vec![
            event(1, "BookingCreated", 0, Some(COMMAND), &[]),
            event(2, "InventoryHeld", 0, Some(COMMAND), &[]),
            event(3, "PaymentRequested", 2, Some(SAGA), &["cs_1"]),
            event(4, "PaymentAuthorized", 60, Some(SAGA), &["pi_1"]),
            event(5, "BookingConfirmed", 61, Some(SAGA), &[]),
            event(
                6,
                "NotificationSent",
                63,
                Some(Uuid::from_u128(5)),
                &[&mail.to_string()],
            ),
        ],
        tries: vec![
            step(1, "payment", 1, true, "done"),
            step(2, "payment", 59, true, "done"),
            step(3, "confirm", 61, false, "done"),
        ],
        asked: vec![],
        came: vec![Came {
            external_id: "evt_1".to_owned(),
            kind: "checkout.session.completed".to_owned(),
            object_id: Some("cs_1".to_owned()),
            received_at: at(58),
            result: Some("woke".to_owned()),
        }],
        owed: vec![Owed {
            delivery_id: mail,
            event_id: Uuid::from_u128(5),
            kind: "email".to_owned(),
            template: "booking_confirmed".to_owned(),
            state: "delivered".to_owned(),
            attempt: 1,
            created_at: at(61),
        }],
    }
}

/// `from > to`, `~` for what was matched; nodes by what they are.
fn drawn(facts: &Facts) -> Vec<String> {
    let graph = graph(facts, "Europe/Lisbon").unwrap();
    let what = |id: &str| {
        let node = graph.nodes.iter().find(|n| n.id == id).unwrap();
        node.what.clone()
    };
    let mut edges: Vec<String> = graph
        .edges
        .iter()
        .map(|e| {
            let sign = if e.how == CauseHow::Caused { ">" } else { "~" };
            format!("{} {sign} {}", what(&e.from), what(&e.to))
        })
        .collect();
    edges.sort();
    edges
}

#[test]
fn a_conversation_is_one_story_from_the_command_to_the_message() {
    assert_eq!(
        drawn(&story()),
        [
            "BookingConfirmed > email",
            "BookingCreated > InventoryHeld",
            "InventoryHeld > payment.forward",
            "PaymentAuthorized > BookingConfirmed",
            "PaymentRequested > payment.forward",
            "PaymentRequested ~ checkout.session.completed",
            "checkout.session.completed > payment.forward",
            "create_booking > BookingCreated",
            "email > NotificationSent",
            "payment.forward > PaymentAuthorized",
            "payment.forward > PaymentRequested",
        ]
    );
}

#[test]
fn a_node_stands_once_in_the_order_of_time_and_the_command_before_what_it_asked() {
    let graph = graph(&story(), "UTC").unwrap();
    let order: Vec<&str> = graph.nodes.iter().map(|n| n.what.as_str()).collect();
    assert_eq!(
        order[..3],
        ["create_booking", "BookingCreated", "InventoryHeld"]
    );
    assert!(graph.nodes.is_sorted_by_key(|n| n.at.utc));
    let ids: HashSet<&String> = graph.nodes.iter().map(|n| &n.id).collect();
    assert_eq!(ids.len(), graph.nodes.len());
}

#[test]
fn a_try_that_failed_shows_and_a_cancellation_begins_the_undoing() {
    let mut facts = story();
    facts.tries.push(step(4, "notify", 70, false, "failed"));
    facts.tries.push(Try {
        undoing: true,
        ..step(5, "capture", 91, true, "undone")
    });
    facts.asked.push(Asked {
        command_id: Uuid::from_u128(5000),
        action: "cancel".to_owned(),
        requested_by: "sofia".to_owned(),
        requested_at: at(90),
        status: "applied".to_owned(),
    });
    let edges = drawn(&facts);
    assert!(
        edges.contains(&"cancel_booking > capture.undo".to_owned()),
        "{edges:?}"
    );
    assert!(
        edges.contains(&"NotificationSent > notify.forward".to_owned()),
        "{edges:?}"
    );
}

#[test]
fn a_cause_that_is_not_there_leaves_no_loose_end() {
    let mut facts = story();
    facts.events.remove(4);
    let graph = graph(&facts, "UTC").unwrap();
    let ids: HashSet<&String> = graph.nodes.iter().map(|n| &n.id).collect();
    assert!(
        graph
            .edges
            .iter()
            .all(|e| ids.contains(&e.from) && ids.contains(&e.to))
    );
}
