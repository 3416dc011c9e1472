//! A plan of the database as the window shows it.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::words;
use crate::app::error::internal;
use crate::app::place::{moment, money};
use crate::app::wire::{AppError, PlannedOp, SagaPlan};

#[derive(Deserialize)]
struct Plan {
    hash: String,
    refused: Option<String>,
    operations: Vec<Op>,
    refund_minor: i64,
    kept_minor: i64,
    currency: Option<String>,
    needs_approval: bool,
    threshold_minor: i64,
    facts: Facts,
    step: Option<String>,
    #[serde(default)]
    choices: Vec<String>,
    whole_minor: Option<i64>,
    keeps_minor: Option<i64>,
}

#[derive(Deserialize)]
struct Facts {
    version: i32,
}

#[derive(Deserialize)]
struct Op {
    step: Option<String>,
    op: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
    claims: Option<u32>,
    percent: Option<u32>,
    from: Option<i32>,
    to: Option<i32>,
    object: Option<String>,
    at: Option<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
}

/// A plan in which no times stand.
pub fn plan(value: Value) -> Result<SagaPlan, AppError> {
    plan_in(value, "UTC")
}

/// With the times of the booking's place.
pub fn plan_in(value: Value, zone: &str) -> Result<SagaPlan, AppError> {
    let plan: Plan = serde_json::from_value(value).map_err(internal)?;
    let currency = plan.currency.unwrap_or_default();
    Ok(SagaPlan {
        hash: plan.hash,
        version: plan.facts.version,
        refused: plan.refused.as_deref().map(words::refusal),
        code: plan.refused,
        operations: plan
            .operations
            .into_iter()
            .map(|op| shown(op, zone))
            .collect::<Result<_, _>>()?,
        refund: (plan.refund_minor > 0).then(|| money(plan.refund_minor, &currency)),
        kept: money(plan.kept_minor, &currency),
        whole: plan.whole_minor.map(|whole| money(whole, &currency)),
        keeps: plan.keeps_minor.map(|keeps| money(keeps, &currency)),
        needs_approval: plan.needs_approval,
        threshold: money(plan.threshold_minor, &currency),
        step: plan.step,
        choices: plan.choices,
    })
}

/// Lines that say where money goes.
const MONEY: [&str; 5] = ["refund", "keep_part", "keep_fee", "record_refund", "void"];

/// What is refused promises nobody any money; what stands against it is still said.
pub fn promises_nothing(plan: &mut SagaPlan) {
    plan.refund = None;
    plan.operations
        .retain(|line| !MONEY.contains(&line.op.as_str()));
}

fn shown(op: Op, zone: &str) -> Result<PlannedOp, AppError> {
    let there = |at: Option<DateTime<Utc>>| at.map(|at| moment(at, zone)).transpose();
    Ok(PlannedOp {
        step: op.step,
        op: op.op,
        amount: op
            .amount_minor
            .filter(|amount| *amount != 0)
            .zip(op.currency)
            .map(|(amount, currency)| money(amount, &currency)),
        count: op.claims,
        percent: op.percent,
        from: op.from,
        to: op.to,
        object: op.object,
        at: there(op.at)?,
        since: there(op.since)?,
    })
}
