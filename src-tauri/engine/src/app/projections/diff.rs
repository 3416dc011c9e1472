//! What differs between the live rows and the new ones, row by row and column by column.

use serde_json::{Map, Value};
use sqlx::Row;

use crate::app::desk::Desk;
use crate::app::wire::*;

pub async fn diff(desk: &Desk, request: ListDiff) -> Result<DiffPage, AppError> {
    if !(1..=1000).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 1,000 rows."));
    }
    let after: i32 = match &request.after {
        Some(text) => text.parse().map_err(|_| {
            AppError::invalid("after", "This is not the end of a page of differences.")
        })?,
        None => 0,
    };
    let kind = match request.kind {
        DiffKind::Different => "different",
        DiffKind::OnlyLive => "only_live",
        DiffKind::OnlyNew => "only_new",
    };
    let found = sqlx::query(
        "select no, table_name, key, live, new from read.rebuild_diffs where rebuild_id = $1 and kind = $2 and no > $3 order by no limit $4",
    )
    .bind(request.rebuild_id)
    .bind(kind)
    .bind(after)
    .bind(i64::from(request.limit) + 1)
    .fetch_all(&desk.people)
    .await?;
    let more = found.len() > request.limit as usize;
    let shown = &found[..found.len().min(request.limit as usize)];
    let next = match shown.last() {
        Some(last) if more => Some(last.try_get::<i32, _>("no")?.to_string()),
        _ => None,
    };
    let rows = shown
        .iter()
        .map(|row| {
            let (live, new): (Option<Value>, Option<Value>) =
                (row.try_get("live")?, row.try_get("new")?);
            let side = live.as_ref().or(new.as_ref());
            let subject = side
                .and_then(|v| v["reference"].as_str())
                .map(str::to_owned);
            Ok(DiffRow {
                table: row.try_get("table_name")?,
                key: row.try_get("key")?,
                subject,
                cells: cells(live, new),
            })
        })
        .collect::<Result<_, AppError>>()?;
    Ok(DiffPage { rows, next })
}

/// The columns that differ; every one, when the row stands on one side only.
fn cells(live: Option<Value>, new: Option<Value>) -> Vec<DiffCell> {
    let columns = |side: Option<Value>| match side {
        Some(Value::Object(columns)) => columns,
        _ => Map::new(),
    };
    let (mut live, mut new) = (columns(live), columns(new));
    let names: Vec<String> = if live.is_empty() { &new } else { &live }
        .keys()
        .cloned()
        .collect();
    names
        .into_iter()
        .filter_map(|column| {
            let (live, new) = (live.remove(&column), new.remove(&column));
            (live != new).then_some(DiffCell { column, live, new })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_shown_and_a_row_of_one_side_whole() {
        let shown = cells(
            Some(json!({ "a": 1, "b": null, "c": "x" })),
            Some(json!({ "a": 1, "b": 2, "c": "x" })),
        );
        assert_eq!(
            shown,
            [DiffCell {
                column: "b".into(),
                live: Some(Value::Null),
                new: Some(json!(2))
            }]
        );
        assert_eq!(cells(None, Some(json!({ "a": 1, "b": null }))).len(), 2);
    }
}
