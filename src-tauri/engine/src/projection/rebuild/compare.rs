//! Live against new: counts, a sum of hashes over every row, and the rows that differ.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};

use super::job::Job;
use super::swap::aligned;
use super::{RebuildError, Stopped};
use crate::projection::generation::{self, Generation};
use crate::projection::runner::Tail;

/// Rows that are kept of each kind of difference; all are counted.
const SHOWN: i64 = 1_000;

/// Compares in one snapshot in which both are at the same position, and notes what it found.
pub async fn compare(
    pool: &PgPool,
    job: &Job,
    tail: &Tail,
    built: &mut Generation,
) -> Result<(), Stopped> {
    let (held, same_position) = aligned(pool, job, tail, built).await?;
    let mut tx = crate::store::begin_with(pool, "begin isolation level repeatable read").await?;
    let live: String = sqlx::query_scalar(
        "select core.generation_schema(name, generation) from read.generations where name = $1 and role = 'live'",
    )
    .bind(&job.name)
    .fetch_one(&mut *tx)
    .await?;
    // The snapshot is taken: the live rows may go on.
    held.rollback().await?;

    sqlx::query("delete from read.rebuild_diffs where rebuild_id = $1")
        .bind(job.id)
        .execute(&mut *tx)
        .await?;
    let mut sum = Sum::default();
    for table in generation::table_names(&mut tx, &built.schema()).await? {
        sum.add(one(&mut tx, job, &live, &built.schema(), &table).await?);
    }
    let found = json!({
        "rows": sum.live_rows.max(sum.new_rows), "complete": true, "different": sum.different, "only_live": sum.only_live,
        "only_new": sum.only_new, "live_hash": sum.live_hash, "new_hash": sum.new_hash, "position": built.position,
        // A live view that is parked or paused stands behind: then the differences are also what it has not read.
        "same_position": same_position,
    });
    tx.commit().await?;
    // Not in the snapshot: the beat moves that row all the while.
    let noted = sqlx::query("update read.rebuilds set compare = $3, updated_at = now() where rebuild_id = $1 and fence = $2")
        .bind(job.id)
        .bind(job.fence)
        .bind(found)
        .execute(pool)
        .await?;
    if noted.rows_affected() == 0 {
        return Err(Stopped::Asked);
    }
    Ok(())
}

#[derive(Default)]
struct Sum {
    live_rows: i64,
    new_rows: i64,
    live_hash: String,
    new_hash: String,
    different: i64,
    only_live: i64,
    only_new: i64,
}

impl Sum {
    fn add(&mut self, table: Sum) {
        self.live_rows += table.live_rows;
        self.new_rows += table.new_rows;
        self.live_hash.push_str(&table.live_hash);
        self.new_hash.push_str(&table.new_hash);
        self.different += table.different;
        self.only_live += table.only_live;
        self.only_new += table.only_new;
    }
}

/// All names come from the catalogue, quoted by it.
async fn one(
    conn: &mut PgConnection,
    job: &Job,
    live: &str,
    new: &str,
    table: &str,
) -> Result<Sum, RebuildError> {
    let mine = generation::columns(conn, new, table).await?;
    let theirs = generation::columns(conn, live, table).await?;
    if theirs.is_empty() {
        // A table that only the new shape has.
        let (new_rows, new_hash) = hash(conn, new, table, &mine).await?;
        return Ok(Sum {
            new_rows,
            new_hash,
            only_new: new_rows,
            ..Sum::default()
        });
    }
    let common: Vec<String> = mine.into_iter().filter(|c| theirs.contains(c)).collect();
    let (live_rows, live_hash) = hash(conn, live, table, &common).await?;
    let (new_rows, new_hash) = hash(conn, new, table, &common).await?;
    let mut sum = Sum {
        live_rows,
        new_rows,
        live_hash,
        new_hash,
        ..Sum::default()
    };
    if sum.live_hash == sum.new_hash {
        return Ok(sum);
    }
    let keys = generation::key(conn, new, table).await?;
    let on = keys
        .iter()
        .map(|k| format!("l.{k} = n.{k}"))
        .collect::<Vec<_>>()
        .join(" and ");
    let key = keys
        .iter()
        .map(|k| format!("coalesce(l.{k}, n.{k})::text"))
        .collect::<Vec<_>>()
        .join(" || ' ' || ");
    let some = |side: &str| {
        common
            .iter()
            .map(|c| format!("{side}.{c}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let first = &keys[0];
    let rows = sqlx::query(AssertSqlSafe(format!(
        "with d as (
           select case when n.{first} is null then 'only_live' when l.{first} is null then 'only_new' else 'different' end as kind,
                  {key} as key, case when l.{first} is not null then to_jsonb(l) end as live, case when n.{first} is not null then to_jsonb(n) end as new
             from {live}.{table} l full join {new}.{table} n on {on}
            where n.{first} is null or l.{first} is null or row({l})::text is distinct from row({n})::text
         ), numbered as (
           select kind, key, live, new, row_number() over (partition by kind order by key) as no from d
         ), kept as (
           insert into read.rebuild_diffs (rebuild_id, kind, no, table_name, key, live, new)
           select $1, kind, no + coalesce((select max(x.no) from read.rebuild_diffs x where x.rebuild_id = $1 and x.kind = n.kind), 0), $2, key, live, new
             from numbered n where no <= $3
         )
         select kind, count(*) as n from numbered group by kind",
        l = some("l"),
        n = some("n"),
    )))
    .bind(job.id)
    .bind(table)
    .bind(SHOWN)
    .fetch_all(conn)
    .await?;
    for row in rows {
        let n = row.try_get("n")?;
        match row.try_get("kind")? {
            "only_live" => sum.only_live = n,
            "only_new" => sum.only_new = n,
            _ => sum.different = n,
        }
    }
    Ok(sum)
}

/// The same for the same rows, in whatever order they stand.
async fn hash(
    conn: &mut PgConnection,
    schema: &str,
    table: &str,
    columns: &[String],
) -> Result<(i64, String), RebuildError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "select count(*) as n, to_hex(mod(coalesce(sum(hashtextextended(row({})::text, 0)::numeric), 0), 9223372036854775807)::bigint) as hash from {schema}.{table}",
        columns.join(", ")
    )))
    .fetch_one(conn)
    .await?;
    Ok((row.try_get("n")?, row.try_get("hash")?))
}
