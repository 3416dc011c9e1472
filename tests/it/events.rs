//! What the Events page asks, through the one list of commands, as a viewer and over real bookings.

use bizing_engine::app::desk::Desk;
use bizing_engine::app::events;
use bizing_engine::app::wire::*;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::projection::append_raw;
use crate::reading::{desk, viewer};
use crate::served;
use crate::support::desk::{TestDesk, booking, slot};

fn everything() -> ListEvents {
    ListEvents {
        filter: EventFilter::default(),
        before: None,
        after: None,
        limit: 1000,
    }
}

async fn only(desk: &Desk, filter: EventFilter) -> Vec<EventRow> {
    let asked = ListEvents {
        filter,
        ..everything()
    };
    events::list(desk, asked).await.unwrap().rows
}

fn one_type(name: &str) -> EventFilter {
    EventFilter {
        types: vec![name.to_owned()],
        ..EventFilter::default()
    }
}

async fn first(desk: &Desk, name: &str) -> EventRow {
    only(desk, one_type(name)).await.swap_remove(0)
}

#[tokio::test]
async fn pages_from_both_ends_tell_the_whole_log_once() {
    let (_s, desk) = viewer().await;
    let whole = events::list(&desk, everything()).await.unwrap();
    let positions: Vec<i64> = whole.rows.iter().map(|r| r.position).collect();
    assert!(positions.is_sorted_by(|a, b| a > b) && positions.len() > 300);
    assert!(!whole.total.estimated && whole.matched == Some(whole.total));

    let mut back = vec![];
    let mut before = None;
    loop {
        let asked = ListEvents {
            before,
            limit: 37,
            ..everything()
        };
        let page = events::list(&desk, asked).await.unwrap();
        back.extend(page.rows.iter().map(|r| r.position));
        before = back.last().copied();
        if !page.more {
            break;
        }
    }
    let mut forth: Vec<i64> = vec![];
    let mut after = Some(0);
    loop {
        let asked = ListEvents {
            after,
            limit: 41,
            ..everything()
        };
        let page = events::list(&desk, asked).await.unwrap();
        // Newest first on every page, whichever way was read.
        forth.splice(0..0, page.rows.iter().map(|r| r.position));
        after = forth.first().copied();
        if !page.more {
            break;
        }
    }
    let total = whole.total.count as usize;
    assert_eq!((back.len(), forth.len()), (total, total));
    assert_eq!(back, forth);
    assert_eq!(back[..positions.len()], positions);
}

#[tokio::test]
async fn a_row_says_what_people_call_the_thing() {
    let (_s, desk) = viewer().await;
    let booked = first(&desk, "BookingCreated").await;
    let reference = booked.subject.clone().unwrap();
    assert!(
        reference.starts_with("BK-") && booked.category == "booking",
        "{booked:?}"
    );
    let person = first(&desk, "CustomerRegistered").await;
    assert!(person.subject.is_some_and(|name| name.contains(' ')) && person.category == "customer");
    // The reference finds the stream, also as people type it.
    for typed in [
        reference.clone(),
        reference.to_lowercase(),
        reference[3..].to_owned(),
        booked.stream_id.clone(),
    ] {
        let found = only(
            &desk,
            EventFilter {
                stream: Some(typed.clone()),
                ..EventFilter::default()
            },
        )
        .await;
        assert!(
            found.len() > 2 && found.iter().all(|e| e.stream_id == booked.stream_id),
            "{typed}"
        );
    }
}

#[tokio::test]
async fn each_filter_leaves_what_it_says_and_a_wrong_one_is_refused_at_its_field() {
    let (_s, desk) = viewer().await;
    let booked = first(&desk, "BookingCreated").await;
    let all = EventFilter::default();
    let count = async |filter| only(&desk, filter).await.len();
    let paid = count(EventFilter {
        types: vec!["PaymentReceived".into(), "PaymentRefunded".into()],
        ..all.clone()
    })
    .await;
    assert!(paid > 5);
    assert_eq!(
        count(EventFilter {
            category: Some("customer".into()),
            ..all.clone()
        })
        .await,
        count(one_type("CustomerRegistered")).await
    );
    assert_eq!(
        count(EventFilter {
            actor: Some("nobody".into()),
            ..all.clone()
        })
        .await,
        0
    );
    assert!(
        count(EventFilter {
            correlation_id: Some(booked.correlation_id),
            ..all.clone()
        })
        .await
            > 2
    );
    assert!(
        count(EventFilter {
            causation_id: booked.causation_id.or(Some(booked.event_id)),
            ..all.clone()
        })
        .await
            > 0
    );
    let dear = EventFilter {
        json_path: Some("$.price.amount_minor > 9000".into()),
        ..one_type("BookingCreated")
    };
    let (some, every) = (count(dear).await, count(one_type("BookingCreated")).await);
    assert!(some > 0 && some < every, "{some} of {every}");
    assert_eq!(
        count(EventFilter {
            to: Some("2020-01-01".into()),
            ..all.clone()
        })
        .await,
        0
    );
    assert!(
        count(EventFilter {
            from: Some("2020-01-01T09:30".into()),
            ..all.clone()
        })
        .await
            > 300
    );

    let refused = async |filter| {
        let asked = ListEvents {
            filter,
            ..everything()
        };
        let error = events::list(&desk, asked).await.unwrap_err();
        assert!(
            error.hint.is_some() || error.message.contains("before"),
            "{error:?}"
        );
        error.field.unwrap()
    };
    assert_eq!(
        refused(EventFilter {
            json_path: Some("$.price >".into()),
            ..all.clone()
        })
        .await,
        "filter.json_path"
    );
    assert_eq!(
        refused(EventFilter {
            stream: Some("BK-NOBODY".into()),
            ..all.clone()
        })
        .await,
        "filter.stream"
    );
    assert_eq!(
        refused(EventFilter {
            from: Some("yesterday".into()),
            ..all.clone()
        })
        .await,
        "filter.from"
    );
    assert_eq!(
        refused(EventFilter {
            from: Some("2026-02-01".into()),
            to: Some("2026-01-01".into()),
            ..all
        })
        .await,
        "filter.to"
    );
    for (before, after, limit) in [(Some(5), Some(5), 10), (None, None, 0), (None, None, 1001)] {
        let asked = ListEvents {
            before,
            after,
            limit,
            ..everything()
        };
        assert_eq!(
            events::list(&desk, asked).await.unwrap_err().code,
            Code::Invalid
        );
    }
}

async fn append_v1(worker: &PgPool, stream: &str) -> i64 {
    let v1 = json!({ "cancelled_by": "system", "reason_code": "not_told", "reason": null, "refund_due": null, "sequence": 1 });
    sqlx::query_scalar(
        "select first_position from api.append(array[$1], array[null::bigint], array[null::uuid], array[null::bytea], array[1], array[$2],
                array['BookingCancelled'], array[1::smallint], array[now()], array[$2], array[null::uuid], array['{}'::jsonb], array[$3])",
    )
    .bind(stream)
    .bind(Uuid::now_v7())
    .bind(v1)
    .fetch_one(worker)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_old_event_shows_as_stored_as_read_and_what_each_step_changed() {
    let (s, desk) = viewer().await;
    let booked = first(&desk, "BookingConfirmed").await;
    let position = append_v1(&s.worker, &booked.stream_id).await;
    let detail = events::get(&desk, GetEvent { position }).await.unwrap();
    assert_eq!((detail.row.schema_version, detail.read_version), (1, 2));
    assert!(detail.stored.get("was_confirmed").is_none());
    assert_eq!(detail.read.as_ref().unwrap()["was_confirmed"], json!(true));
    let [step] = &detail.upcast[..] else {
        panic!("{:?}", detail.upcast)
    };
    let changed: Vec<(&str, PayloadChangeKind)> = step
        .changes
        .iter()
        .map(|c| (c.path.as_str(), c.kind))
        .collect();
    assert_eq!(
        changed,
        [
            ("notice_min", PayloadChangeKind::Added),
            ("was_confirmed", PayloadChangeKind::Added)
        ]
    );
    let versions: Vec<(i32, bool)> = detail
        .schemas
        .iter()
        .map(|s| (s.version, s.current))
        .collect();
    assert_eq!(versions, [(1, false), (2, true)]);
    assert!(
        detail
            .schemas
            .iter()
            .all(|s| s.schema.as_ref().is_some_and(|s| s["type"] == "object")
                && s.registered_at.is_some())
    );
    assert!(detail.hash_matches && detail.hash.len() == 64 && detail.hash_before.len() == 64);
    assert_eq!(detail.stream_versions, detail.row.version);
    assert_eq!(detail.unreadable, None);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_shows_as_stored_and_why() {
    let (s, desk) = viewer().await;
    let booked = first(&desk, "BookingConfirmed").await;
    let superuser = s.db.superuser_pool().await;
    sqlx::query(
        "insert into core.event_types (name, schema_version) values ('BookingCancelled', 9)",
    )
    .execute(&superuser)
    .await
    .unwrap();
    let position = append_v1(&s.worker, &booked.stream_id).await;
    let mut conn = superuser.acquire().await.unwrap();
    for statement in [
        "set session_replication_role = replica",
        "update core.events set type_no = (select type_no from core.event_types where schema_version = 9) where position = $1",
    ] {
        let mut query = sqlx::query(statement);
        if statement.contains("$1") {
            query = query.bind(position);
        }
        query.execute(&mut *conn).await.unwrap();
    }
    let detail = events::get(&desk, GetEvent { position }).await.unwrap();
    assert_eq!(detail.read, None);
    assert_eq!(detail.stored["reason_code"], "not_told");
    assert!(
        detail
            .unreadable
            .as_ref()
            .is_some_and(|why| why.contains("later version")),
        "{detail:?}"
    );
    assert!(!detail.hash_matches, "its type was tampered with");
    // A state that needs it is not told; one that does not is.
    let ask = async |at| {
        events::state_as_of(
            &desk,
            StateAsOf {
                stream: booked.stream_id.clone(),
                at,
            },
        )
        .await
    };
    let error = ask(AsOf::Latest).await.unwrap_err();
    assert!(
        error.message.contains(&format!("Event {position}")) && error.hint.is_some(),
        "{error:?}"
    );
    assert!(ask(AsOf::Version { version: 2 }).await.is_ok());
}

#[tokio::test]
async fn what_is_sealed_is_a_word_for_everybody_and_another_once_erased() {
    let (s, desk) = viewer().await;
    let person = first(&desk, "CustomerRegistered").await;
    let customer: Uuid = person.stream_id["customer-".len()..].parse().unwrap();
    let shown = async |word: &str, state| {
        let detail = events::get(
            &desk,
            GetEvent {
                position: person.position,
            },
        )
        .await
        .unwrap();
        assert_eq!(detail.stored["personal"], word);
        assert_eq!(detail.read.unwrap()["personal"], word);
        assert_eq!(
            detail.sealed,
            [SealedField {
                path: "personal".into(),
                state,
                subject_id: customer
            }]
        );
        let copied = events::copy(
            &desk,
            CopyEvents::Event {
                position: person.position,
            },
        )
        .await
        .unwrap();
        let copied: Value = serde_json::from_str(&copied.json).unwrap();
        assert_eq!(
            (&copied["data"]["personal"], &copied["type"]),
            (&json!(word), &json!("CustomerRegistered"))
        );
        let past = events::state_as_of(
            &desk,
            StateAsOf {
                stream: person.stream_id.clone(),
                at: AsOf::Latest,
            },
        )
        .await
        .unwrap();
        let said = past.facts.iter().find(|f| f.name == "personal").unwrap();
        assert_eq!(said.at, Some(json!(word)));
    };
    shown("sealed", SealState::Sealed).await;
    sqlx::query("update core.subject_keys set key = null, erased_at = now() where subject_id = $1")
        .bind(customer)
        .execute(&s.db.superuser_pool().await)
        .await
        .unwrap();
    shown("erased", SealState::Erased).await;
}

#[tokio::test]
async fn a_booking_is_told_as_it_was_at_a_version_a_position_and_a_time() {
    let (_s, desk) = viewer().await;
    let confirmed = first(&desk, "BookingConfirmed").await;
    let ask = async |at| {
        let asked = StateAsOf {
            stream: confirmed.subject.clone().unwrap(),
            at,
        };
        events::state_as_of(&desk, asked).await.unwrap()
    };
    let fact = |state: &StreamState, name: &str| {
        let fact = state.facts.iter().find(|f| f.name == name);
        fact.map(|f| {
            (
                f.before.clone().unwrap_or(Value::Null),
                f.at.clone().unwrap_or(Value::Null),
            )
        })
    };
    let then = ask(AsOf::Position {
        position: confirmed.position,
    })
    .await;
    assert_eq!(then.version, confirmed.version);
    assert_eq!(fact(&then, "state").unwrap().1, json!("confirmed"));
    assert_ne!(fact(&then, "state").unwrap().0, json!("confirmed"));
    assert_eq!(
        ask(AsOf::Version {
            version: confirmed.version
        })
        .await
        .facts,
        then.facts
    );
    let versions: Vec<i64> = then.versions.iter().map(|v| v.version).collect();
    assert_eq!(versions, (1..=versions.len() as i64).collect::<Vec<_>>());
    assert_eq!(then.subject, confirmed.subject);

    let first = ask(AsOf::Version { version: 1 }).await;
    assert_eq!(fact(&first, "state").unwrap(), (Value::Null, json!("held")));
    let nothing = ask(AsOf::Version { version: 0 }).await;
    assert!(
        nothing.version == 0 && nothing.facts.is_empty(),
        "{nothing:?}"
    );
    assert_eq!(
        ask(AsOf::Time {
            wall: "2020-01-01T00:00".into()
        })
        .await
        .version,
        0
    );
    assert_eq!(
        ask(AsOf::Time {
            wall: "2099-01-01T00:00".into()
        })
        .await
        .version,
        versions.len() as i64
    );

    let refused = async |stream: &str, at| {
        let error = events::state_as_of(
            &desk,
            StateAsOf {
                stream: stream.into(),
                at,
            },
        )
        .await
        .unwrap_err();
        (error.code, error.field.unwrap())
    };
    assert_eq!(
        refused("BK-NOBODY", AsOf::Latest).await,
        (Code::NotFound, "stream".into())
    );
    assert_eq!(
        refused(&format!("booking-{}", Uuid::nil()), AsOf::Latest).await,
        (Code::NotFound, "stream".into())
    );
    assert_eq!(
        refused(
            &confirmed.stream_id,
            AsOf::Time {
                wall: "noon".into()
            }
        )
        .await,
        (Code::Invalid, "at".into())
    );
}

#[tokio::test]
async fn a_conversation_shows_what_caused_what_from_the_command_to_the_message() {
    let t = TestDesk::new().await;
    let w = t.work().await;
    let desk = t.desk(Some(w.worker.clone()));
    let booked = t.book(&desk, booking(&slot(3))).await;
    t.wait_for_event(booked.booking_id, "NotificationSent")
        .await;
    let stream = Some(format!("booking-{}", booked.booking_id));
    let rows = only(
        &desk,
        EventFilter {
            stream,
            ..EventFilter::default()
        },
    )
    .await;
    let correlation_id = rows[0].correlation_id;
    let graph = events::causes(&desk, EventCauses { correlation_id })
        .await
        .unwrap();

    let what = |id: &str| {
        graph
            .nodes
            .iter()
            .find(|n| n.id == id)
            .unwrap()
            .what
            .clone()
    };
    let edges: Vec<(String, String)> = graph
        .edges
        .iter()
        .map(|e| (what(&e.from), what(&e.to)))
        .collect();
    for (from, to) in [
        ("create_booking", "BookingCreated"),
        ("BookingCreated", "InventoryHeld"),
        ("payment.forward", "PaymentRequested"),
        ("PaymentRequested", "PaymentAuthorized"),
        ("capture.forward", "PaymentReceived"),
        ("PaymentReceived", "BookingConfirmed"),
        ("BookingConfirmed", "email"),
        ("email", "NotificationSent"),
    ] {
        assert!(
            edges.iter().any(|(a, b)| a == from && b == to),
            "{from} > {to} in {edges:#?}"
        );
    }
    // Everything but the command has a cause, and what it was asked is the first thing there is.
    let caused: Vec<&String> = graph.edges.iter().map(|e| &e.to).collect();
    let roots: Vec<&str> = graph
        .nodes
        .iter()
        .filter(|n| !caused.contains(&&n.id))
        .map(|n| n.what.as_str())
        .collect();
    assert_eq!(roots, ["create_booking"], "{edges:#?}");
    assert_eq!(graph.left_out, 0);

    let copied = events::copy(&desk, CopyEvents::Correlation { correlation_id })
        .await
        .unwrap();
    let objects: Vec<Value> = serde_json::from_str(&copied.json).unwrap();
    assert_eq!((objects.len() as u32, copied.left_out), (copied.events, 0));
    assert!(copied.json.contains("BookingConfirmed") && !copied.json.contains("\"cipher\""));
    let error = events::causes(
        &desk,
        EventCauses {
            correlation_id: Uuid::nil(),
        },
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, Code::NotFound);

    // What was owed stands with the event that owed it.
    let confirmed = rows.iter().find(|r| r.name == "BookingConfirmed").unwrap();
    let detail = events::get(
        &desk,
        GetEvent {
            position: confirmed.position,
        },
    )
    .await
    .unwrap();
    assert!(
        matches!(&detail.deliveries[..], [d] if d.kind == "email" && d.state == DeliveryState::Delivered),
        "{:?}",
        detail.deliveries
    );
    w.tasks.shut_down().await;
}

#[tokio::test]
async fn the_catalogue_names_the_types_with_their_versions_and_who_writes() {
    let (s, desk_) = viewer().await;
    let catalogue = events::catalogue(&desk_, Empty {}).await.unwrap();
    // The demo shows both: what its app wrote before it was updated, and since.
    let shapes = only(&desk_, one_type("BookingCancelled")).await;
    assert!(
        [1, 2]
            .iter()
            .all(|v| shapes.iter().any(|e| e.schema_version == *v))
    );
    let cancelled = catalogue
        .types
        .iter()
        .find(|t| t.name == "BookingCancelled")
        .unwrap();
    assert_eq!(cancelled.versions, [1, 2]);
    assert_eq!(catalogue.categories, ["booking", "customer"]);
    // Who has a login but has not written yet can be chosen as well.
    assert!(!catalogue.actors.is_empty() && !catalogue.actors.contains(&"anna".to_owned()));
    sqlx::query("insert into admin.person (login, display_name, created_by) values ('anna', 'Anna', current_user)")
        .execute(&s.db.superuser_pool().await)
        .await
        .unwrap();
    let catalogue = events::catalogue(&desk_, Empty {}).await.unwrap();
    assert!(catalogue.actors.contains(&"anna".to_owned()));
    // An empty log is no error.
    let empty = crate::support::db::TestDb::new().await;
    let other = desk(&s, empty.pool("viewer").await, Group::Viewer);
    let page = events::list(&other, everything()).await.unwrap();
    assert!(page.rows.is_empty() && page.total.count == 0 && !page.more);
    assert_eq!(
        events::get(&other, GetEvent { position: 1 })
            .await
            .unwrap_err()
            .code,
        Code::NotFound
    );
    assert!(
        events::catalogue(&other, Empty {})
            .await
            .unwrap()
            .actors
            .is_empty()
    );
}

/// Everything that the filter finds, piece by piece, as the window writes it to a file.
async fn exported(desk: &Desk, filter: EventFilter) -> (Vec<Value>, u32) {
    let mut ask = ExportEvents {
        filter,
        after: 0,
        upto: None,
    };
    let (mut lines, mut pieces) = (String::new(), 0);
    loop {
        let piece = events::lines(desk, ask.clone()).await.unwrap();
        assert_eq!(piece.lines.lines().count() as u32, piece.events);
        assert!(piece.after > ask.after || piece.after == piece.upto);
        lines.push_str(&piece.lines);
        pieces += 1;
        if piece.after >= piece.upto {
            break;
        }
        ask.after = piece.after;
        ask.upto = Some(piece.upto);
    }
    let parse = |line| serde_json::from_str(line).unwrap();
    (lines.lines().map(parse).collect(), pieces)
}

#[tokio::test]
async fn an_export_is_what_the_filters_show_each_once_and_nothing_that_came_after_it_began() {
    let (s, desk) = viewer().await;
    let begun = events::lines(
        &desk,
        ExportEvents {
            filter: EventFilter::default(),
            after: 0,
            upto: None,
        },
    )
    .await
    .unwrap();
    let (all, pieces) = exported(&desk, EventFilter::default()).await;
    let log: Vec<i64> = sqlx::query_scalar("select position from read.log_v1 order by position")
        .fetch_all(&s.people)
        .await
        .unwrap();
    let at = |events: &[Value]| -> Vec<i64> {
        let positions = events.iter().map(|e| e["position"].as_i64().unwrap());
        positions.collect()
    };
    assert_eq!(at(&all), log);
    assert!(pieces > 1 && log.len() > 1_000, "{pieces} of {}", log.len());
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.contains("\"sealed\"") && !text.contains("\"cipher\""));
    let one = events::copy(
        &desk,
        CopyEvents::Event {
            position: log[log.len() / 2],
        },
    );
    let one: Value = serde_json::from_str(&one.await.unwrap().json).unwrap();
    assert_eq!(all[log.len() / 2], one);

    for filter in [
        one_type("BookingCancelled"),
        EventFilter {
            json_path: Some("$.price.amount_minor > 1000".to_owned()),
            ..EventFilter::default()
        },
    ] {
        let rows = only(&desk, filter.clone()).await;
        let mut shown: Vec<i64> = rows.iter().map(|r| r.position).collect();
        shown.reverse();
        assert!(!shown.is_empty());
        assert_eq!(at(&exported(&desk, filter).await.0), shown);
    }

    // The file ends where the first piece said, though the log goes on.
    let booking: Uuid = sqlx::query_scalar("select booking_id from read.bookings_v1 limit 1")
        .fetch_one(&s.people)
        .await
        .unwrap();
    append_raw(
        &s.worker,
        &format!("booking-{booking}"),
        "BookingExpired",
        json!({ "expired_at": "2026-11-25T10:00:00Z" }),
    )
    .await;
    let last = events::lines(
        &desk,
        ExportEvents {
            filter: EventFilter::default(),
            after: begun.upto,
            upto: Some(begun.upto),
        },
    );
    let last = last.await.unwrap();
    assert_eq!((last.events, last.after), (0, begun.upto));
}

#[tokio::test]
async fn a_booking_is_told_without_a_window_as_it_stood_at_a_position_a_time_and_a_version() {
    let (s, desk) = viewer().await;
    let confirmed = first(&desk, "BookingConfirmed").await;
    let (stream, reference) = (confirmed.stream_id, confirmed.subject.unwrap());
    let latest = StateAsOf {
        stream,
        at: AsOf::Latest,
    };
    let all = events::state_as_of(&desk, latest).await.unwrap();
    let at = all.versions.iter().find(|v| v.name == "BookingConfirmed");
    let (at, created) = (at.unwrap(), &all.versions[0]);
    let ask = |flags: Vec<String>| {
        let (login, reference) = (s.db.login("viewer"), reference.clone());
        async move {
            let command = ["state", &reference].into_iter();
            let command: Vec<&str> = command.chain(flags.iter().map(String::as_str)).collect();
            served::run(&login, &command).await
        }
    };
    let flag = |name: &str, value: String| vec![format!("--{name}"), value];
    let this = format!("{reference}, version {} of", at.version);
    for flags in [
        flag("position", at.position.to_string()),
        flag("version", at.version.to_string()),
    ] {
        let (code, said) = ask(flags).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains(&this) && said.contains("BookingConfirmed"),
            "{said}"
        );
        let state = said.lines().find(|l| l.trim_start().starts_with("state "));
        let state = state.unwrap();
        assert!(
            state.contains("confirmed") && state.contains("before: "),
            "{said}"
        );
    }
    // Between two events, and before the first.
    let (code, said) = ask(flag("position", (at.position - 1).to_string())).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("{reference}, version {} of", at.version - 1)),
        "{said}"
    );
    let (code, said) = ask(flag("position", (created.position - 1).to_string())).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("did not exist yet"), "{said}");
    let early = created.at.utc - chrono::TimeDelta::days(400);
    let (code, said) = ask(flag("as-of", early.format("%Y-%m-%dT%H:%M").to_string())).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("did not exist yet"), "{said}");
    let (code, said) = ask(flag("as-of", "2099-01-01".to_owned())).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("version {} of", all.version)),
        "{said}"
    );

    let (code, said) = ask(vec!["--json".to_owned()]).await;
    assert_eq!(code, Some(0), "{said}");
    let from = said.find('{').unwrap();
    let mut json = serde_json::Deserializer::from_str(&said[from..]).into_iter::<StreamState>();
    assert_eq!(json.next().unwrap().unwrap(), all);
    let (code, said) = ask(flag("as-of", "yesterday".to_owned())).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2026-11-24T11:00"), "{said}");
}
