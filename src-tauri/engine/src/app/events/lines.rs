//! What the filters find, oldest first, as lines for a file: a piece at a time, so that nothing is held for long and whoever
//! asks may stop between two. What is sealed stays sealed.

use super::READ_ONLY;
use super::copy::object;
use super::list::filter;
use super::rows::zone;
use super::sealed::Erased;
use crate::app::desk::Desk;
use crate::app::wire::*;
use crate::store::browse::{self, Effort, Way};
use crate::store::read;

/// Events in one answer.
const MOST: i64 = 1_000;
/// An answer that is longer ends with the event that makes it so.
const LONGEST_BYTES: usize = 4 << 20;

pub async fn lines(desk: &Desk, request: ExportEvents) -> Result<EventLines, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let zone = zone(&mut tx).await?;
    let filter = filter(&mut tx, &request.filter, &zone).await?;
    let safe = read::safe_position(&mut tx).await?;
    // The first answer says where the file ends: the log may grow faster than it is read.
    let upto = request.upto.map_or(safe, |upto| upto.min(safe));
    let (way, effort) = (Way::After(request.after), Effort::WHILE_WAITING);
    let looked = browse::look(&mut tx, &filter, way, upto, MOST, effort).await?;
    let mut events = looked.events;
    let mut more = events.len() as i64 > MOST;
    events.truncate(MOST as usize);
    let erased = Erased::among(&mut tx, &events).await?;
    tx.commit().await?;

    let (mut lines, mut written, mut after) = (String::new(), 0, request.after);
    for event in &events {
        if lines.len() > LONGEST_BYTES {
            more = true;
            break;
        }
        lines.push_str(&object(event, &erased).to_string());
        lines.push('\n');
        written += 1;
        after = event.position;
    }
    if !more {
        after = looked.stopped.unwrap_or(upto);
    }
    Ok(EventLines {
        lines,
        events: written,
        after,
        upto,
    })
}
