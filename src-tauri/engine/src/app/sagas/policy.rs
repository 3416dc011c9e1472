//! By which figures a saga asks a person. Each change is a new version with its reason; the newest counts.

use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;

use super::words;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place;
use crate::app::wire::*;
use crate::saga::definition::Policy;
use crate::saga::rules::{self, Rules};

#[derive(Deserialize)]
struct Stored {
    notify_on_exhausted: OnExhausted,
    approval_minor: serde_json::Map<String, Value>,
    blast_sagas: u32,
    blast_minutes: u32,
    late_hours: u32,
    /// Versions of before have no terms: everything goes back.
    #[serde(default)]
    cancel_free_hours: u32,
    #[serde(default)]
    cancel_fee_percent: u32,
    #[serde(default)]
    cancel_late_hours: u32,
    #[serde(default)]
    cancel_late_percent: u32,
}

pub async fn get(desk: &Desk, _: Empty) -> Result<SagaPolicy, AppError> {
    let mut conn = desk.people.acquire().await?;
    let currency = place::find(&mut conn)
        .await?
        .map_or_else(|| "EUR".to_owned(), |p| p.currency);
    let row = sqlx::query("select * from read.saga_policy_v1 order by version desc limit 1")
        .fetch_one(&mut *conn)
        .await?;
    let value: Value = row.try_get("value")?;
    let rules = rules::read(value.clone());
    let stored: Stored = serde_json::from_value(value).map_err(internal)?;
    let minor = |name: &str| stored.approval_minor.get(name).and_then(Value::as_i64);
    Ok(SagaPolicy {
        version: row.try_get("version")?,
        on_exhausted: stored.notify_on_exhausted,
        approval: place::money(
            minor(&currency).or_else(|| minor("*")).unwrap_or(0),
            &currency,
        ),
        blast_sagas: stored.blast_sagas,
        blast_minutes: stored.blast_minutes,
        late_hours: stored.late_hours,
        cancel_free_hours: stored.cancel_free_hours,
        cancel_fee_percent: stored.cancel_fee_percent,
        cancel_late_hours: stored.cancel_late_hours,
        cancel_late_percent: stored.cancel_late_percent,
        steps: steps(&rules, &desk.policy, stored.notify_on_exhausted),
        changed_by: row.try_get("changed_by")?,
        changed_at: row.try_get("changed_at")?,
        reason: row.try_get("reason")?,
        refused: desk
            .read_only
            .clone()
            .or_else(|| (desk.group < Group::Admin).then(|| words::refusal("needs_admin"))),
    })
}

/// As they are in force: what is not set is as this installation was configured.
fn steps(rules: &Rules, configured: &Policy, on_exhausted: OnExhausted) -> StepRules {
    let policy = rules.over(configured);
    let whole = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    StepRules {
        card_declined: match rules.card_declined {
            rules::CardDeclined::Link => CardDeclined::Link,
            rules::CardDeclined::Park => CardDeclined::Park,
        },
        capture_tries: policy.capture_tries.unsigned_abs(),
        undo_tries: policy.undo_tries.unsigned_abs(),
        backoff_base_s: whole(policy.backoff_base.as_secs()).max(1),
        backoff_cap_s: whole(policy.backoff_cap.as_secs()).max(1),
        hold_card_minutes: whole(policy.hold_with_card.as_secs() / 60),
        hold_link_hours: whole(policy.hold_with_link.as_secs() / 3600),
        capture_exhausted: match rules.capture_exhausted {
            rules::CaptureExhausted::Park => CaptureExhausted::Park,
            rules::CaptureExhausted::Undo => CaptureExhausted::Undo,
        },
        message_tries: rules.budget().tries.unsigned_abs(),
        message_minutes: whole(rules.budget().time.as_secs() / 60),
        end_exhausted: match rules.end_exhausted {
            Some(rules::EndExhausted::Continue) => EndExhausted::Continue,
            Some(rules::EndExhausted::Park) => EndExhausted::Park,
            // Until it had a policy of its own it followed that of a booking's message.
            None if on_exhausted == OnExhausted::Continue => EndExhausted::Continue,
            None => EndExhausted::Park,
        },
    }
}

pub async fn put(desk: &Desk, request: PutSagaPolicy) -> Result<SagaPolicy, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let between = |field: &str, value: u32, from: u32, to: u32| {
        if (from..=to).contains(&value) {
            Ok(())
        } else {
            Err(AppError::invalid(
                field,
                format!("Between {from} and {to}."),
            ))
        }
    };
    between("blast_sagas", request.blast_sagas, 2, 1000)?;
    between("blast_minutes", request.blast_minutes, 1, 1440)?;
    between("late_hours", request.late_hours, 0, 720)?;
    between("cancel_free_hours", request.cancel_free_hours, 0, 8760)?;
    between("cancel_fee_percent", request.cancel_fee_percent, 0, 100)?;
    // The closer to the start, the more may stay; never the other way round.
    let free = request.cancel_free_hours;
    between("cancel_late_hours", request.cancel_late_hours, 0, free)?;
    let least = request.cancel_fee_percent;
    between(
        "cancel_late_percent",
        request.cancel_late_percent,
        least,
        100,
    )?;
    let steps = &request.steps;
    between("capture_tries", steps.capture_tries, 1, 200)?;
    between("undo_tries", steps.undo_tries, 1, 100)?;
    between("backoff_base_s", steps.backoff_base_s, 1, 60)?;
    between(
        "backoff_cap_s",
        steps.backoff_cap_s,
        steps.backoff_base_s,
        3600,
    )?;
    between("message_tries", steps.message_tries, 1, 50)?;
    between("message_minutes", steps.message_minutes, 1, 1440)?;
    between("hold_card_minutes", steps.hold_card_minutes, 5, 120)?;
    between("hold_link_hours", steps.hold_link_hours, 1, 168)?;
    if request.approval.amount_minor < 0 {
        return Err(AppError::invalid(
            "approval",
            "A sum from zero on: with zero every refund needs a second person.",
        ));
    }
    let mut conn = desk.people.acquire().await?;
    let value: Value =
        sqlx::query_scalar("select value from read.saga_policy_v1 order by version desc limit 1")
            .fetch_one(&mut *conn)
            .await?;
    // Other currencies keep their own sums.
    let mut approval = value["approval_minor"].clone();
    approval[request.approval.currency.as_str()] = json!(request.approval.amount_minor);
    approval["*"] = json!(request.approval.amount_minor);
    let mut next = json!({
            "notify_on_exhausted": request.on_exhausted, "approval_minor": approval, "blast_sagas": request.blast_sagas,
            "blast_minutes": request.blast_minutes, "late_hours": request.late_hours,
            "cancel_free_hours": request.cancel_free_hours, "cancel_fee_percent": request.cancel_fee_percent,
            "cancel_late_hours": request.cancel_late_hours, "cancel_late_percent": request.cancel_late_percent,
    });
    // One document: what a person sets for steps stands beside the rest.
    if let (Some(all), Value::Object(of_steps)) = (
        next.as_object_mut(),
        serde_json::to_value(&request.steps).map_err(internal)?,
    ) {
        all.extend(of_steps);
    }
    let told: String = sqlx::query_scalar("select api.put_saga_policy($1, $2, $3)")
        .bind(request.version)
        .bind(next)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    match told.as_str() {
        "done" => {}
        "reason" => return Err(words::lacks("reason")),
        _ => {
            return Err(AppError::new(
                Code::Conflict,
                "Somebody else changed the policies while you looked. Nothing was changed by you.",
            )
            .hint("Look at them as they are now, then decide again."));
        }
    }
    drop(conn);
    desk.hints.changed("sagas");
    get(desk, Empty {}).await
}
