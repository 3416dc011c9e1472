//! A stream as it was: its versions, and what it said at one of them beside what it had said before.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::list::time;
use super::rows::{Subjects, category, stream_named, zone};
use super::sealed::Erased;
use super::{READ_ONLY, unreadable};
use crate::app::desk::Desk;
use crate::app::place::{moment, money};
use crate::app::wire::*;
use crate::domain::booking::{Booking, Status};
use crate::domain::slot::Fold;
use crate::projection::{payment_word, state_word};
use crate::store::read::{self, AsOf as Moment, Recorded};

pub async fn state_as_of(desk: &Desk, request: StateAsOf) -> Result<StreamState, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let zone = zone(&mut tx).await?;
    let stream = stream_named(&mut tx, &request.stream, "stream").await?;
    let at = match &request.at {
        AsOf::Latest => Moment::Latest,
        AsOf::Version { version } => Moment::Version(*version),
        AsOf::Position { position } => Moment::Position(*position),
        AsOf::Time { wall } => match time("at", Some(wall), &zone, Fold::Second)? {
            Some(at) => Moment::Time(at),
            None => return Err(AppError::invalid("at", "Say when: 2026-11-24T11:00.")),
        },
    };
    let events = read::stream(&mut tx, &stream, 0)
        .await
        .map_err(unreadable)?;
    if events.is_empty() {
        return Err(AppError::new(
            Code::NotFound,
            format!("Nothing ever happened in {}.", stream.0),
        )
        .hint("Check the id; a booking is also found by its reference.")
        .field("stream"));
    }
    let subjects = Subjects::of(&mut tx, [&stream]).await?;
    let erased = Erased::among(&mut tx, &events).await?;
    tx.commit().await?;

    let shown = events
        .iter()
        .position(|e| !at.includes(e))
        .unwrap_or(events.len());
    let facts = match category(&stream) {
        "booking" => booking(&events[..shown], &zone)?,
        _ => last_said(&events[..shown], &erased),
    };
    Ok(StreamState {
        category: category(&stream).to_owned(),
        subject: subjects.get(&stream),
        version: shown.checked_sub(1).map_or(0, |i| events[i].version),
        versions: events
            .iter()
            .map(|e| {
                Ok(StreamVersion {
                    version: e.version,
                    position: e.position,
                    name: e.name.clone(),
                    at: moment(e.occurred_at, &zone)?,
                })
            })
            .collect::<Result<_, AppError>>()?,
        facts,
        stream_id: stream.0,
    })
}

fn booking(events: &[Recorded], zone: &str) -> Result<Vec<StateFact>, AppError> {
    let before = match events {
        [earlier @ .., _] => read::fold(earlier).map_err(unreadable)?,
        [] => Booking::default(),
    };
    let after = read::fold(events).map_err(unreadable)?;
    let (before, after) = (said(&before, zone)?, said(&after, zone)?);
    Ok(after
        .into_iter()
        .zip(before)
        .filter(|(at, before)| at.2.is_some() || before.2.is_some())
        .map(|((name, kind, at), (_, _, before))| StateFact {
            name: name.to_owned(),
            kind,
            before,
            at,
        })
        .collect())
}

type Said = (&'static str, FactKind, Option<Value>);

/// A booking in facts, always the same ones in the same order.
fn said(b: &Booking, zone: &str) -> Result<Vec<Said>, AppError> {
    let created = b.created.as_ref();
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| {
        at.map(|at| moment(at, zone).map(|m| json!(m))).transpose()
    };
    let currency = created.map(|c| c.price.currency.as_str());
    let amount = |minor: i64| {
        currency
            .filter(|_| minor != 0)
            .map(|currency| json!(money(minor, currency)))
    };
    let resources = created.map(|c| {
        let names: Vec<&str> = c.resources.iter().map(|r| r.name.as_str()).collect();
        json!(names.join(", "))
    });
    // A hold that was given up has no limit any more, whatever was last said of it.
    let held = matches!(b.status, Status::Held | Status::AwaitingPayment);
    let limit = b.hold_expires_at.filter(|_| held);
    Ok(vec![
        (
            "state",
            FactKind::BookingState,
            created.map(|_| json!(state_word(b.status))),
        ),
        (
            "payment",
            FactKind::PaymentState,
            created.map(|_| json!(payment_word(b.payment.shown()))),
        ),
        ("hold_expires_at", FactKind::Moment, time(limit)?),
        (
            "slot",
            FactKind::Number,
            created.map(|_| json!(b.claims.len())),
        ),
        (
            "starts",
            FactKind::Moment,
            time(created.map(|c| c.start_utc))?,
        ),
        ("ends", FactKind::Moment, time(created.map(|c| c.end_utc))?),
        (
            "service",
            FactKind::Text,
            created.map(|c| json!(c.service_name)),
        ),
        ("resources", FactKind::Text, resources),
        (
            "price",
            FactKind::Money,
            created.map(|c| json!(money(c.price.amount_minor, c.price.currency.as_str()))),
        ),
        (
            "authorised",
            FactKind::Money,
            amount(b.payment.authorised_minor),
        ),
        (
            "captured",
            FactKind::Money,
            amount(b.payment.captured_minor),
        ),
        (
            "refunded",
            FactKind::Money,
            amount(b.payment.refunded_minor),
        ),
        ("kept", FactKind::Money, amount(b.payment.kept_minor)),
        ("told", FactKind::Other, created.map(|_| json!(b.notified))),
        (
            "reason",
            FactKind::Text,
            b.cancelled
                .as_ref()
                .and_then(|c| c.reason.clone())
                .map(|r| json!(r)),
        ),
        (
            "reference",
            FactKind::Text,
            created.map(|c| json!(c.reference)),
        ),
    ])
}

/// What has no rules of its own is what was last said of each field.
fn last_said(events: &[Recorded], erased: &Erased) -> Vec<StateFact> {
    let fold = |events: &[Recorded]| {
        let mut fields = serde_json::Map::new();
        for event in events {
            let mut data = event.data.value();
            erased.cover(&mut data);
            if let Value::Object(said) = data {
                fields.extend(said);
            }
        }
        fields
    };
    let (before, at) = match events {
        [earlier @ .., _] => (fold(earlier), fold(events)),
        [] => Default::default(),
    };
    let names: BTreeSet<&String> = before.keys().chain(at.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let kind = match at.get(name).or(before.get(name)) {
                Some(Value::String(_)) => FactKind::Text,
                Some(Value::Number(_)) => FactKind::Number,
                _ => FactKind::Other,
            };
            StateFact {
                name: name.clone(),
                kind,
                before: before.get(name).cloned(),
                at: at.get(name).cloned(),
            }
        })
        .collect()
}
