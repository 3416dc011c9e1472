//! What a rebuild has to read: its tables, its parts, and the rows that it takes over as they are.

use sqlx::{PgConnection, PgPool, Row};

use super::RebuildError;
use super::job::Job;
use crate::projection::{Projection, Rows, generation};
use crate::store::read;

/// So many events a part: what a kill repeats, and what is held in memory.
const EVENTS_A_PART: i64 = 20_000;

/// Makes the tables and says what to fill them with. Done again after a kill, it does what is missing.
pub async fn prepare(
    pool: &PgPool,
    job: &mut Job,
    projection: &Projection,
) -> Result<(), RebuildError> {
    let generation: i32 = sqlx::query_scalar("select core.prepare_rebuild($1, $2)")
        .bind(job.id)
        .bind(job.fence)
        .fetch_one(pool)
        .await?;
    job.generation = Some(generation);
    let partial = job.from_position > 0 || job.stream.is_some();
    let target = match (projection.rows, partial) {
        (Rows::OfBooking, true) => take_over(pool, job).await?,
        (Rows::OfBooking, false) => everything(pool, job).await?,
        (Rows::OfMany(_), _) => in_order(pool, job).await?,
    };
    job.target = Some(target);
    Ok(())
}

/// All streams of bookings, cut into parts by number: those that were made together lie together in the log.
async fn everything(pool: &PgPool, job: &Job) -> Result<i64, RebuildError> {
    let mut tx = crate::store::begin(pool).await?;
    let target = read::safe_position(&mut tx).await?;
    sqlx::query("delete from read.rebuild_parts where rebuild_id = $1")
        .bind(job.id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into read.rebuild_parts (rebuild_id, part, lo, hi, events)
         select $1, row_number() over (order by min(stream_no)), min(stream_no), max(stream_no) + 1, sum(version)
           from (select stream_no, version, div(sum(version) over (order by stream_no) - version, $3) as part
                   from core.streams where category = 'booking' and first_position <= $2) s
          group by part",
    )
    .bind(job.id)
    .bind(target)
    .bind(EVENTS_A_PART)
    .execute(&mut *tx)
    .await?;
    let target = noted(&mut tx, job, target).await?;
    tx.commit().await?;
    Ok(target)
}

/// The rows gather many streams: read in the order of the log, page by page.
async fn in_order(pool: &PgPool, job: &Job) -> Result<i64, RebuildError> {
    let mut conn = pool.acquire().await?;
    let target = read::safe_position(&mut conn).await?;
    sqlx::query("update read.rebuilds set target = $3, events_total = $3 where rebuild_id = $1 and fence = $2")
        .bind(job.id)
        .bind(job.fence)
        .bind(target)
        .execute(&mut *conn)
        .await?;
    Ok(target)
}

/// Takes over the live rows but those that are to be made anew, as they stand at one moment: the target is the live
/// rows' position in the same snapshot.
async fn take_over(pool: &PgPool, job: &Job) -> Result<i64, RebuildError> {
    let mut tx = crate::store::begin_with(pool, "begin isolation level repeatable read").await?;
    let live = sqlx::query(
        "select core.generation_schema(name, generation) as schema, position from read.generations where name = $1 and role = 'live'",
    )
    .bind(&job.name)
    .fetch_one(&mut *tx)
    .await?;
    let (live, target): (String, i64) = (live.try_get("schema")?, live.try_get("position")?);
    let new: String = sqlx::query_scalar("select core.generation_schema($1, $2)")
        .bind(&job.name)
        .bind(job.generation)
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query("delete from read.rebuild_parts where rebuild_id = $1")
        .bind(job.id)
        .execute(&mut *tx)
        .await?;
    sqlx::query("delete from read.rebuild_streams where rebuild_id = $1")
        .bind(job.id)
        .execute(&mut *tx)
        .await?;
    // Bookings with a later event, or this one; and those whose customer's registration or erasure is later than the position.
    sqlx::query(
        "insert into read.rebuild_streams (rebuild_id, stream_no, booking_id)
         select $1, stream_no, substr(stream_id, 9)::uuid from core.streams
          where category = 'booking' and first_position <= $4 and case when $3::text is null then last_position > $2 else stream_id = $3 end
         union
         select $1, s.stream_no, substr(s.stream_id, 9)::uuid
           from core.events r join core.event_types t on t.type_no = r.type_no and t.name in ('CustomerRegistered', 'CustomerErased')
           join core.events c on c.data->>'customer_id' = r.data->>'customer_id'
            and c.type_no in (select type_no from core.event_types where name = 'BookingCreated')
           join core.streams s on s.stream_no = c.stream_no
          where $3::text is null and r.position > $2 and r.position <= $4 and c.position <= $4",
    )
    .bind(job.id)
    .bind(job.from_position)
    .bind(&job.stream)
    .bind(target)
    .execute(&mut *tx)
    .await?;
    for name in generation::table_names(&mut tx, &live).await? {
        let columns = generation::columns(&mut tx, &new, &name).await?.join(", ");
        // Names from the catalogue, quoted by it.
        for sql in [
            format!("delete from {new}.{name}"),
            format!(
                "insert into {new}.{name} ({columns}) select {columns} from {live}.{name} l
                  where not exists (select 1 from read.rebuild_streams x where x.rebuild_id = '{}' and x.booking_id = l.booking_id)",
                job.id
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await?;
        }
    }
    // What they lack comes with them.
    sqlx::query(
        "update read.generations g set folded_with = l.folded_with, folded_without = l.folded_without from read.generations l
          where g.name = $1 and g.generation = $2 and l.name = $1 and l.role = 'live'",
    )
    .bind(&job.name)
    .bind(job.generation)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into read.rebuild_parts (rebuild_id, part, lo, hi, events)
         select $1, row_number() over (order by min(stream_no)), min(stream_no), max(stream_no) + 1, sum(version)
           from (select x.stream_no, s.version, div(sum(s.version) over (order by x.stream_no) - s.version, $2) as part
                   from read.rebuild_streams x join core.streams s using (stream_no) where x.rebuild_id = $1) s
          group by part",
    )
    .bind(job.id)
    .bind(EVENTS_A_PART)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    // Not in the snapshot: the beat moves that row all the while.
    let mut conn = pool.acquire().await?;
    noted(&mut conn, job, target).await
}

async fn noted(conn: &mut PgConnection, job: &Job, target: i64) -> Result<i64, RebuildError> {
    sqlx::query(
        "update read.rebuilds set target = $3,
                events_total = (select coalesce(sum(events), 0) from read.rebuild_parts where rebuild_id = $1)
          where rebuild_id = $1 and fence = $2",
    )
    .bind(job.id)
    .bind(job.fence)
    .bind(target)
    .execute(conn)
    .await?;
    Ok(target)
}
