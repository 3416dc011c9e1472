//! All that a filter finds, processed again by one decision: what it would do, and its begin. How far it is and its end are those of
//! every decision for many.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, QueryBuilder};

use super::list::{MOST_CONTAINING, push_filter};
use super::{managers_only, told, writable};
use crate::app::deliveries::bulk;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::word;
use crate::app::wire::*;

/// The set as it is now, in the order in which it came.
struct Set {
    ids: Vec<i64>,
    shares: Vec<(InboxResult, i64)>,
    left_out: Vec<(String, i64)>,
    /// Why it is not all that was asked for.
    partial: Option<String>,
}

#[derive(FromRow)]
struct Found {
    inbox_id: i64,
    result: String,
}

pub async fn preview(desk: &Desk, request: PreviewReprocess) -> Result<ReprocessPlan, AppError> {
    let set = set(&mut *desk.people.acquire().await?, &request.filter).await?;
    let count = i64::try_from(set.ids.len()).unwrap_or(i64::MAX);
    let hash = set.hash();
    let refused = managers_only(desk).or(set.partial).or_else(|| match count {
        0 => Some("Nothing of this can be processed again.".to_owned()),
        _ if count > bulk::MOST => {
            Some("One decision is for up to 100,000 events: ask for fewer.".to_owned())
        }
        _ => None,
    });
    Ok(ReprocessPlan {
        count,
        shares: set.shares,
        left_out: set.left_out,
        hash,
        refused,
    })
}

pub async fn start(desk: &Desk, request: StartReprocess) -> Result<Redelivery, AppError> {
    writable(desk)?;
    bulk::pace(request.per_second)?;
    let mut conn = desk.people.acquire().await?;
    if let Some(there) = bulk::all(&mut conn, Some(request.bulk_id)).await?.pop() {
        // The dialog was sent twice.
        return Ok(there);
    }
    let set = set(&mut conn, &request.filter).await?;
    bulk::unchanged(&set.hash(), &request.hash)?;
    if let Some(why) = set.partial {
        return Err(AppError::new(Code::Refused, why));
    }
    let done: String = sqlx::query_scalar("select api.start_reprocess($1, $2, $3, $4, $5, $6)")
        .bind(request.bulk_id)
        .bind(serde_json::to_value(&request.filter).map_err(internal)?)
        .bind(&request.hash)
        .bind(&set.ids)
        .bind(i32::try_from(request.per_second).unwrap_or(1))
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    bulk::begun(&done)?;
    told(desk);
    desk.hints.changed("deliveries");
    bulk::one(&mut conn, request.bulk_id).await
}

impl Set {
    fn hash(&self) -> String {
        bulk::digest(
            BulkAction::Reprocess,
            self.ids.iter().map(|id| id.to_be_bytes()),
        )
    }
}

async fn set(conn: &mut PgConnection, filter: &InboxFilter) -> Result<Set, AppError> {
    let mut query = QueryBuilder::new(
        "select i.inbox_id, i.result from read.inbox_v1 i
          where i.inbox_id in (select a.inbox_id from read.arrivals_v1 a where a.inbox_id is not null",
    );
    push_filter(&mut query, filter)?;
    query
        .push(") order by i.inbox_id limit ")
        .push_bind(bulk::MOST + 1);
    let found: Vec<Found> = query.build_query_as().fetch_all(&mut *conn).await?;
    let mut set = Set {
        ids: vec![],
        shares: vec![],
        left_out: vec![],
        partial: partial(conn, filter.payload.as_ref()).await?,
    };
    let mut waiting = 0;
    for Found { inbox_id, result } in found {
        let result = word(&result)?;
        if result == InboxResult::Waiting {
            waiting += 1;
            continue;
        }
        set.ids.push(inbox_id);
        match set.shares.iter_mut().find(|(known, _)| *known == result) {
            Some((_, n)) => *n += 1,
            None => set.shares.push((result, 1)),
        }
    }
    for (why, n) in [
        ("They wait to be processed already.", waiting),
        (
            "They were not taken in, so nothing of them is kept.",
            not_taken(conn, filter).await?,
        ),
    ] {
        if n > 0 {
            set.left_out.push((why.to_owned(), n));
        }
    }
    Ok(set)
}

async fn not_taken(conn: &mut PgConnection, filter: &InboxFilter) -> Result<i64, AppError> {
    let mut query =
        QueryBuilder::new("select count(*) from read.arrivals_v1 a where a.inbox_id is null");
    push_filter(&mut query, filter)?;
    Ok(query.build_query_scalar().fetch_one(conn).await?)
}

/// A search in what stands in events ends somewhere, and a decision is for all that was asked for.
async fn partial(
    conn: &mut PgConnection,
    payload: Option<&Value>,
) -> Result<Option<String>, AppError> {
    let Some(part) = payload else { return Ok(None) };
    let found: i64 = sqlx::query_scalar("select count(*) from api.inbox_containing($1, $2)")
        .bind(part)
        .bind(MOST_CONTAINING)
        .fetch_one(conn)
        .await?;
    Ok((found >= i64::from(MOST_CONTAINING)).then(|| {
        "A search in payloads finds the newest 10,000 events: ask for a shorter time or one type instead."
            .to_owned()
    }))
}
