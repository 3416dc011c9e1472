//! A list of sagas for a spreadsheet, a page at a time. Who the customers are is not in it.

use super::list;
use crate::app::csv::field;
use crate::app::desk::Desk;
use crate::app::wire::*;

/// A page of the whole.
const PAGE: u32 = 500;
const READ_ONLY: &str = "begin isolation level repeatable read read only";
const HEAD: &str = "reference,saga_id,state,step,undoing,cause,parked_at,price,captured,kept,currency,starts_at,since,attempts,assigned_to\n";

/// One page, and where the next begins.
pub async fn page(desk: &Desk, request: ListSagas) -> Result<SagaCsv, AppError> {
    let mut conn = desk.people.acquire().await?;
    let request = ListSagas {
        limit: PAGE,
        ..request
    };
    let (rows, next) = list::rows(&mut conn, &request).await?;
    Ok(SagaCsv {
        csv: text(&rows, request.after.is_none()),
        rows: rows.len() as u32,
        next,
    })
}

/// All of it, as it is at one moment, in bounded memory. Returns how many.
pub async fn write(
    desk: &Desk,
    mut request: ListSagas,
    mut put: impl FnMut(&str) -> Result<(), AppError>,
) -> Result<u64, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let mut written = 0;
    request.limit = PAGE;
    loop {
        let (rows, next) = list::rows(&mut tx, &request).await?;
        put(&text(&rows, request.after.is_none()))?;
        written += rows.len() as u64;
        match next {
            Some(_) => request.after = next,
            None => break,
        }
    }
    tx.commit().await?;
    Ok(written)
}

fn text(rows: &[SagaRow], first: bool) -> String {
    let mut text = if first {
        HEAD.to_owned()
    } else {
        String::new()
    };
    for row in rows {
        let booking = &row.booking;
        let cause = row
            .error_class
            .clone()
            .or_else(|| row.parked.as_ref().map(|p| p.code.clone()));
        let state = booking
            .saga_state
            .and_then(|s| serde_json::to_value(s).ok())
            .and_then(|v| v.as_str().map(str::to_owned));
        let fields = [
            booking.reference.clone(),
            row.saga_id.to_string(),
            state.unwrap_or_default(),
            row.step.clone().unwrap_or_default(),
            row.undoing.to_string(),
            cause.unwrap_or_default(),
            row.parked
                .as_ref()
                .map(|p| p.at.to_rfc3339())
                .unwrap_or_default(),
            booking.price.amount_minor.to_string(),
            row.captured.amount_minor.to_string(),
            row.kept.amount_minor.to_string(),
            row.kept.currency.clone(),
            booking.starts.utc.to_rfc3339(),
            row.since.to_rfc3339(),
            row.attempt.to_string(),
            row.assigned_to.clone().unwrap_or_default(),
        ];
        let fields: Vec<String> = fields.iter().map(|f| field(f)).collect();
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}
