//! Sagas and plans as the terminal shows them.

use bizing_engine::app::wire::{
    Moment, Money, PlannedOp, SagaCommand, SagaFigures, SagaPage, SagaPlan, SagaRow,
};
use bizing_engine::domain::money::exponent;

pub fn row(row: &SagaRow) -> String {
    let state = match (&row.parked, &row.step) {
        (Some(parked), step) => format!("{}: {}", step.as_deref().unwrap_or("-"), parked.code),
        (None, Some(step)) if row.undoing => format!("{step}, undoing"),
        (None, Some(step)) => step.clone(),
        (None, None) => "over".to_owned(),
    };
    let error = row.error.as_deref().unwrap_or_default();
    format!(
        "{:<11} {}  {:<26} {:>14}  {error}",
        row.booking.reference,
        row.saga_id,
        state,
        money(&row.kept)
    )
}

pub fn page(page: &SagaPage) {
    let row = &page.row;
    println!("{}", self::row(row));
    println!(
        "  {}, version {}; captured {}, given back {}, kept {}",
        page.saga.definition,
        row.version,
        money(&page.money.captured),
        money(&page.money.refunded),
        money(&page.money.kept)
    );
    if page.money.kept_by_decision.amount_minor > 0 {
        println!(
            "  Of that {} stays by decision.",
            money(&page.money.kept_by_decision)
        );
    }
    if let Some(parked) = &row.parked {
        println!(
            "  It waits for a person since {}: {}",
            parked.at.format("%Y-%m-%d %H:%M UTC"),
            parked.reason
        );
    }
    for offer in &page.offers {
        let name = offer.action.replace('_', "-");
        match &offer.refused {
            Some(why) => println!("  - {name:<14} {why}"),
            None if offer.needs_approval => {
                println!("  + {name:<14} a second person says yes first")
            }
            None => println!("  + {name}"),
        }
    }
}

/// What would be done, in its order, and what stands against it.
pub fn plan(plan: &SagaPlan) {
    for op in &plan.operations {
        println!("  {}", operation(op));
    }
    if plan.operations.is_empty() {
        println!("  Nothing else changes.");
    }
    if plan.needs_approval {
        println!(
            "  A second person has to say yes first (from {} on).",
            money(&plan.threshold)
        );
    }
}

fn operation(op: &PlannedOp) -> String {
    let sum = op.amount.as_ref().map(money).unwrap_or_default();
    let step = op.step.as_deref().unwrap_or("step");
    match op.op.as_str() {
        "nothing" => format!("{step}: nothing to undo"),
        "passed" => format!("{step}: taken back already, passed over"),
        "undo_open" => format!("{step}: NOT taken back yet"),
        "refund" => format!("{sum} goes back to the customer; a refund cannot be taken back"),
        "void" => "the authorisation is let go".to_owned(),
        "cancel_booking" => {
            "the booking is cancelled, and the customer gets a message where there is an address"
                .to_owned()
        }
        "release" => format!(
            "the slot is free again ({} resources)",
            op.count.unwrap_or(1)
        ),
        "keep_fee" => format!("{sum} stays as the fee ({} %)", op.percent.unwrap_or(0)),
        "look_first" => {
            "the provider is looked at first: what became of the last call is not known".to_owned()
        }
        "books_stay" => "the books stay as they are: they never had it".to_owned(),
        "extend" => format!("the slot is held longer{}", until(op)),
        "hold_again" => format!(
            "the slot is held again{}; it has been free since {}",
            until(op),
            op.since.as_ref().map(wall).unwrap_or_default()
        ),
        "slot_taken" => format!(
            "{} has the slot",
            op.object.as_deref().unwrap_or("something else")
        ),
        "keep_part" => format!("{sum} stays here by decision"),
        "keep_money" => format!("{sum} stays here"),
        "migrate" => format!(
            "it goes on by version {} instead of {}",
            op.to.unwrap_or(0),
            op.from.unwrap_or(0)
        ),
        other => [&other.replace('_', " "), sum.as_str()]
            .join(" ")
            .trim()
            .to_owned(),
    }
}

fn until(op: &PlannedOp) -> String {
    let at = op.at.as_ref().map(wall);
    at.map(|at| format!(" until {at}")).unwrap_or_default()
}

fn wall(at: &Moment) -> String {
    let minutes = at.wall.get(..16).unwrap_or(&at.wall);
    format!("{} {}", minutes.replace('T', " "), at.abbreviation)
}

pub fn command(command: &SagaCommand) -> String {
    let sum = command.refund.as_ref().map(money).unwrap_or_default();
    format!(
        "{}  {:<11} {} by {} at {} {sum}  {}",
        command.command_id,
        command
            .reference
            .as_deref()
            .or(command.object.as_deref())
            .unwrap_or("?"),
        command.action.replace('_', " "),
        command.by,
        command.at.format("%Y-%m-%d %H:%M UTC"),
        command.reason
    )
}

pub fn figures(told: &SagaFigures) {
    let time = |s: Option<f64>| s.map_or("-".to_owned(), |s| format!("{s:.1} s"));
    println!("Since {}", told.since.format("%Y-%m-%d %H:%M UTC"));
    for k in &told.kinds {
        println!(
            "  {:<13} {} over: {} done, {} with a warning, {} taken back, {} ended by hand; p50 {}, p95 {}",
            k.definition,
            k.over,
            k.completed,
            k.warned,
            k.compensated,
            k.resolved,
            time(k.p50_s),
            time(k.p95_s)
        );
    }
    for sum in &told.given_back {
        println!("  given back    {}", money(sum));
    }
    let p = &told.parked;
    println!(
        "  waited for a person: {} decided after p50 {}, p95 {}; {} open",
        p.decided,
        time(p.p50_s),
        time(p.p95_s),
        p.open
    );
    for f in &told.failures {
        let undo = if f.undoing { " undone" } else { "" };
        println!(
            "  failed: {}{undo}, {}: {} tries of {} sagas, last {}",
            f.step,
            f.cause,
            f.tries,
            f.sagas,
            f.last_at.format("%Y-%m-%d %H:%M UTC")
        );
    }
    for a in &told.acts {
        println!(
            "  asked: {}: {} done, {} refused; by a second person {} yes, {} no",
            a.action.replace('_', " "),
            a.applied,
            a.refused,
            a.approved,
            a.rejected
        );
    }
}

/// Without a locale: the amount in the currency's own decimals.
pub fn money(money: &Money) -> String {
    let decimals = exponent(&money.currency).unwrap_or(2) as u32;
    let unit = 10_i64.pow(decimals);
    let (whole, rest) = (
        money.amount_minor.abs() / unit,
        money.amount_minor.abs() % unit,
    );
    let sign = if money.amount_minor < 0 { "-" } else { "" };
    match decimals {
        0 => format!("{sign}{whole} {}", money.currency),
        _ => format!(
            "{sign}{whole}.{rest:0width$} {}",
            money.currency,
            width = decimals as usize
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_its_currencys_decimals() {
        let of = |amount_minor, currency: &str| {
            money(&Money {
                amount_minor,
                currency: currency.to_owned(),
            })
        };
        assert_eq!(of(9_505, "EUR"), "95.05 EUR");
        assert_eq!(of(-50, "EUR"), "-0.50 EUR");
        assert_eq!(of(18_000, "JPY"), "18000 JPY");
        assert_eq!(of(1_234, "KWD"), "1.234 KWD");
    }
}
