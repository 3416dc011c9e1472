//! Who did what with projections and their rebuilds, and why: each act as the database kept it.

use sqlx::{Postgres, QueryBuilder, Row};

use super::cursor;
use crate::app::desk::Desk;
use crate::app::place::{self, moment, word};
use crate::app::wire::*;

pub async fn list_changes(
    desk: &Desk,
    request: ListProjectionChanges,
) -> Result<ProjectionChanges, AppError> {
    if !(1..=200).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 200 changes."));
    }
    let after = request.after.as_deref().map(cursor::read).transpose()?;
    let mut conn = desk.people.acquire().await?;
    let zone = place::find(&mut conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let mut query = QueryBuilder::<Postgres>::new(
        "select command_id, at, by, name, action, reason,
                (coalesce(before->'skip', before->'parked')->>'position')::bigint as position
           from read.projection_log where true",
    );
    if let Some(name) = &request.projection {
        query.push(" and name = ").push_bind(name);
    }
    if let Some((at, id)) = after {
        query
            .push(" and (at, command_id) < (")
            .push_bind(at)
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    query
        .push(" order by at desc, command_id desc limit ")
        .push_bind(i64::from(request.limit) + 1);
    let found = query.build().fetch_all(&mut *conn).await?;
    let mut rows = found
        .iter()
        .map(|row| {
            Ok(ProjectionChange {
                command_id: row.try_get("command_id")?,
                at: moment(row.try_get("at")?, &zone)?,
                by: row.try_get("by")?,
                projection: row.try_get("name")?,
                what: word(row.try_get("action")?)?,
                position: row.try_get("position")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect::<Result<Vec<_>, AppError>>()?;
    let more = rows.len() > request.limit as usize;
    rows.truncate(request.limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|c| cursor::write(&c.at, c.command_id));
    Ok(ProjectionChanges { rows, next })
}
