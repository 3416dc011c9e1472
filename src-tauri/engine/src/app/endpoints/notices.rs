//! Who is told when an endpoint needs somebody.

use sqlx::Row;

use super::{admins_only, guard, may_write};
use crate::app::desk::Desk;
use crate::app::wire::*;

const MOST: usize = 20;

pub async fn notice_list(desk: &Desk, _: Empty) -> Result<NoticeList, AppError> {
    let mut conn = desk.people.acquire().await?;
    let row = sqlx::query("select * from read.notice_list_v1 order by version desc limit 1")
        .fetch_one(&mut *conn)
        .await?;
    let open: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
        "select entry, problem from read.notices_v1 where sent_at is null and problem is not null order by change_id desc limit 20",
    )
    .fetch_all(&mut *conn)
    .await?;
    let version: i32 = row.try_get("version")?;
    let entries: Option<Vec<String>> = row.try_get("entries")?;
    let changed_by: String = row.try_get("changed_by")?;
    Ok(NoticeList {
        version,
        count: u32::try_from(row.try_get::<i32, _>("count")?).unwrap_or(0),
        entries: entries.unwrap_or_default(),
        mail_set: desk.connections.mail_set,
        problems: open
            .into_iter()
            .filter_map(|(entry, problem)| Some(format!("{}: {}", entry?, problem?)))
            .collect(),
        changed_by: (version > 0).then_some(changed_by),
        changed_at: row.try_get("changed_at")?,
        reason: row.try_get("reason")?,
        refused: admins_only(desk),
    })
}

pub async fn put_notice_list(desk: &Desk, request: PutNoticeList) -> Result<NoticeList, AppError> {
    may_write(desk)?;
    let mut conn = desk.people.acquire().await?;
    let entries: Vec<&str> = request.entries.iter().map(|e| e.trim()).collect();
    if entries.len() > MOST {
        return Err(AppError::invalid("entries", "Up to 20 addresses are told."));
    }
    let guard = guard(desk, &mut conn).await?;
    for entry in &entries {
        if entry.contains("://") {
            guard.url(entry).map_err(|why| {
                AppError::invalid("entries", format!("`{entry}` cannot be sent to: {why}."))
            })?;
        } else if entry.parse::<lettre::Address>().is_err() {
            return Err(AppError::invalid(
                "entries",
                format!(
                    "`{entry}` is neither an e-mail address nor the address of a chat program (`https://…`)."
                ),
            ));
        }
    }
    let told: String = sqlx::query_scalar("select api.put_notice_list($1, $2, $3)")
        .bind(request.version)
        .bind(&entries)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    match told.as_str() {
        "done" => {}
        "reason" => {
            return Err(AppError::invalid(
                "reason",
                "Say why, in ten letters or more.",
            ));
        }
        "entry" => {
            return Err(AppError::invalid(
                "entries",
                "An address has 3 to 2048 signs, and up to 20 of them are told.",
            ));
        }
        _ => {
            return Err(AppError::new(
                Code::Conflict,
                "Somebody else changed this while you looked. Nothing was changed by you.",
            )
            .hint("Look at it as it is now, then decide again."));
        }
    }
    desk.hints.changed("endpoints");
    drop(conn);
    notice_list(desk, Empty {}).await
}
