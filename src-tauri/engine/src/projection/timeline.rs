//! `timeline`: each booking's events as they stand in the log, ready for its page.

use sqlx::PgConnection;

use super::{ApplyError, Load, Projection, Rows};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "timeline",
    version: 1,
    event_types: None,
    reads: Reads::Whole,
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    // As recorded, so the server needs nobody to read the events for it.
    load: Load::Statement(
        "insert into timeline (booking_id, position, event_id, event_name, schema_version, occurred_at, actor, on_behalf_of, correlation_id,
                               causation_id, data)
         select substr(s.stream_id, 9)::uuid, e.position, e.event_id, t.name, t.schema_version, e.occurred_at, e.actor,
                e.metadata->>'on_behalf_of', e.correlation_id, e.causation_id, e.data
           from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no)
          where e.stream_no >= $1 and e.stream_no < $2 and e.position <= $3 and e.position <> all($4) and s.category = 'booking'",
    ),
};

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let mine: Vec<_> = events
        .iter()
        .filter_map(|e| e.stream.booking().map(|booking| (booking.0, e)))
        .collect();
    if mine.is_empty() {
        return Ok(());
    }
    // Kept as recorded: an event that this program cannot read is still a fact to be shown.
    sqlx::query(
        "insert into timeline (booking_id, position, event_id, event_name, schema_version, occurred_at, actor, on_behalf_of,
                                       correlation_id, causation_id, data)
         select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::smallint[], $6::timestamptz[], $7::text[], $8::text[],
                              $9::uuid[], $10::uuid[], $11::text[]::jsonb[])
         on conflict do nothing",
    )
    .bind(mine.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.position).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.event_id).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.name.clone()).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.schema_version).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.occurred_at).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.actor.clone()).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.on_behalf_of()).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.correlation_id).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.causation_id).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, e)| e.data.text()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
