//! Events as they were stored by each version ever released. These files are never edited: a new shape gets a new
//! version, a file of its own and an upcaster, and these must go on to be read.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::samples::every_event;
use crate::domain::event::Event;
use crate::store::schema::validate;
use crate::store::upcast::reader;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/domain/fixtures")
}

fn stored() -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

fn version(file: &str) -> i16 {
    let number = file
        .split(".v")
        .nth(1)
        .and_then(|n| n.strip_suffix(".json"));
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{file}: which version?"))
}

#[test]
fn each_stored_event_is_read_and_written_back_as_the_shape_of_today() {
    for (file, json) in stored() {
        let name = json["type"].as_str().unwrap();
        assert!(
            file.starts_with(&format!("{name}.v")),
            "{file} holds {name}"
        );
        let reader = reader(name, version(&file)).unwrap();
        let event = reader
            .read_value(json["data"].clone())
            .unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(event.name(), name, "{file}");
        // Through its steps; with none of them, as it was stored.
        let today = reader.way(&json["data"]).pop();
        let today = today.map_or(json["data"].clone(), |step| step.data);
        assert_eq!(
            serde_json::to_value(&event).unwrap()["data"],
            today,
            "{file}"
        );
        validate(name, event.schema_version(), &today).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}

/// The years before version 2: what they say is kept, and what they did not say is not made up.
#[test]
fn a_cancellation_of_version_1_says_of_itself_only_what_it_knew() {
    let read = |reason: &str| {
        let data = serde_json::json!({ "cancelled_by": "system", "reason_code": reason, "reason": null, "refund_due": null, "sequence": 1 });
        match reader("BookingCancelled", 1).unwrap().read_value(data) {
            Ok(Event::BookingCancelled(e)) => (e.notice_min, e.was_confirmed),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("asked"), (None, None));
    assert_eq!(read("not_told"), (None, Some(true)));
    assert_eq!(read("hold_expired"), (None, Some(true)));
    assert_eq!(read("payment_failed"), (None, Some(false)));
}

#[test]
fn each_event_of_today_has_a_fixture_of_the_version_that_is_written() {
    let files: BTreeSet<String> = stored().into_iter().map(|(file, _)| file).collect();
    for event in every_event() {
        let file = format!("{}.v{}.json", event.name(), event.schema_version());
        if !files.contains(&file) && std::env::var_os("NEW_FIXTURES").is_some() {
            let text = serde_json::to_string_pretty(&event).unwrap();
            std::fs::write(folder().join(&file), text + "\n").unwrap();
        }
        assert!(
            folder().join(&file).exists(),
            "{file} is missing: write it once with NEW_FIXTURES=1, and never again"
        );
    }
}

#[test]
fn the_samples_show_every_type_of_event() {
    let names: BTreeSet<&str> = every_event().iter().map(Event::name).collect();
    // The compiler lists this place when an event is added.
    let known = |e: &Event| match e {
        Event::BookingCreated(_)
        | Event::InventoryHeld(_)
        | Event::HoldExtended(_)
        | Event::PaymentMethodCorrected(_)
        | Event::PaymentRequested(_)
        | Event::PaymentActionRequired(_)
        | Event::PaymentAuthorized(_)
        | Event::PaymentFailed(_)
        | Event::PaymentReceived(_)
        | Event::ProviderFeeCharged(_)
        | Event::PaymentVoided(_)
        | Event::PaymentLinkExpired(_)
        | Event::RefundRequested(_)
        | Event::PaymentRefunded(_)
        | Event::RefundFailed(_)
        | Event::RefundReturned(_)
        | Event::RemainderKept(_)
        | Event::PaymentDisputed(_)
        | Event::DisputeFundsWithdrawn(_)
        | Event::DisputeFundsReinstated(_)
        | Event::DisputeClosed(_)
        | Event::BookingConfirmed(_)
        | Event::NotificationSent(_)
        | Event::NotificationFailed(_)
        | Event::CalendarSynced(_)
        | Event::BookingCancelled(_)
        | Event::BookingExpired(_)
        | Event::NoShowRecorded(_)
        | Event::NoShowWithdrawn(_)
        | Event::InventoryReleased(_)
        | Event::InventoryHoldExpired(_)
        | Event::CustomerRegistered(_)
        | Event::CustomerErased(_) => 33,
    };
    assert!(every_event().iter().all(|e| names.len() == known(e)));
}

/// What the type is called in the JSON is what the store knows it by.
#[test]
fn the_stored_name_and_the_tag_are_one_word() {
    for event in every_event() {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["type"], event.name());
        assert!(json["data"].is_object(), "{}", event.name());
    }
}
