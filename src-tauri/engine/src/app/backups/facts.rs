//! Counting what a database holds, so that a copy can be compared with it.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::manifest::Facts;

/// Reads in the caller's transaction, so that all of it is of one moment.
pub async fn facts(conn: &mut PgConnection) -> sqlx::Result<Facts> {
    let row = sqlx::query(
        "select (select coalesce(max(version), 0) from admin.schema_migrations where success) as schema_version,
                (select coalesce(max(position), 0) from core.events) as last_position,
                (select count(*) from core.events) as events,
                (select count(*) from core.streams) as streams,
                -- A sum has no order, so nothing is sorted and nothing grows with the log.
                (select coalesce(sum(('x' || left(encode(sha256(convert_to(concat_ws(' ', stream_id, version, encode(head, 'hex')), 'UTF8')), 'hex'), 16))::bit(64)::bigint::numeric), 0)::text
                   from core.streams) as chain",
    )
    .fetch_one(&mut *conn)
    .await?;
    Ok(Facts {
        schema_version: row.try_get("schema_version")?,
        last_position: row.try_get("last_position")?,
        events: row.try_get("events")?,
        streams: row.try_get("streams")?,
        chain: row.try_get("chain")?,
        rows: rows(conn).await?,
    })
}

/// The rows of each table of ours.
async fn rows(conn: &mut PgConnection) -> sqlx::Result<BTreeMap<String, i64>> {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "select format('%s.%s', n.nspname, c.relname), format('%I.%I', n.nspname, c.relname)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'public') and n.nspname !~ '^pg_'
            and c.relpersistence = 'p'
          order by 1",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut rows = BTreeMap::new();
    for (name, quoted) in tables {
        // The name was quoted by the database itself.
        let count: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {quoted}")))
                .fetch_one(&mut *conn)
                .await?;
        rows.insert(name, count);
    }
    Ok(rows)
}

/// The first difference, in words.
pub fn difference(backed_up: &Facts, restored: &Facts) -> Option<String> {
    let number = |what: &str, a: i64, b: i64| {
        (a != b).then(|| format!("{what}: {a} were backed up, {b} came back"))
    };
    number("schema", backed_up.schema_version, restored.schema_version)
        .or_else(|| number("events", backed_up.events, restored.events))
        .or_else(|| {
            number(
                "last position",
                backed_up.last_position,
                restored.last_position,
            )
        })
        .or_else(|| number("streams", backed_up.streams, restored.streams))
        .or_else(|| {
            (backed_up.chain != restored.chain)
                .then(|| "the ends of the streams' hash chains are others".to_owned())
        })
        .or_else(|| {
            backed_up.rows.iter().find_map(|(table, n)| {
                let back = restored.rows.get(table).copied().unwrap_or(-1);
                number(&format!("rows of {table}"), *n, back)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_both_counts() {
        let whole = Facts {
            schema_version: 7,
            last_position: 10,
            events: 9,
            streams: 2,
            chain: "1".into(),
            rows: BTreeMap::from([("core.events_0000".into(), 9), ("saga.effect".into(), 3)]),
        };
        assert_eq!(difference(&whole, &whole.clone()), None);
        let mut less = whole.clone();
        less.rows.insert("saga.effect".into(), 2);
        assert_eq!(
            difference(&whole, &less).unwrap(),
            "rows of saga.effect: 3 were backed up, 2 came back"
        );
        less.chain = "2".into();
        assert!(difference(&whole, &less).unwrap().contains("chains"));
    }
}
