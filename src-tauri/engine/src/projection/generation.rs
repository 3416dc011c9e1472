//! Generations: the rows of a projection, each set in a schema of its own, one of them live.

use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::{Folded, Known, Projection, among};

/// One set of rows and how far it has followed the log.
#[derive(Debug, Clone)]
pub struct Generation {
    pub name: String,
    pub generation: i32,
    pub version: i32,
    pub role: Role,
    pub position: i64,
    pub parked: bool,
    pub paused: bool,
    /// A person let it pass by some event.
    pub skips: bool,
    /// `None`: nobody has said.
    pub folded_with: Option<Folded>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Filled by a rebuild, read by nobody.
    Building,
    Live,
    /// What was live before, kept up to date so that going back is one step.
    Previous,
}

impl Generation {
    /// Where its tables are.
    pub fn schema(&self) -> String {
        format!("p_{}_g{}", self.name, self.generation)
    }

    /// `None`: rows of a shape that only another program knows how to fill.
    pub fn projection(&self, known: Known) -> Option<&'static Projection> {
        among(known, &self.name, self.version)
    }
}

/// Every generation there is.
pub async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Generation>> {
    let rows = sqlx::query(
        "select g.name, g.generation, g.version, g.role, g.position, g.parked is not null as parked, g.paused_at is not null as paused, g.folded_with,
                exists (select 1 from read.projection_skips s where s.name = g.name) as skips
           from read.generations g order by g.name, g.generation",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Generation {
                name: row.try_get("name")?,
                generation: row.try_get("generation")?,
                version: row.try_get("version")?,
                role: match row.try_get("role")? {
                    "building" => Role::Building,
                    "live" => Role::Live,
                    _ => Role::Previous,
                },
                position: row.try_get("position")?,
                parked: row.try_get("parked")?,
                paused: row.try_get("paused")?,
                skips: row.try_get("skips")?,
                folded_with: row
                    .try_get::<Option<Json<Folded>>, _>("folded_with")?
                    .map(|Json(folded)| folded),
            })
        })
        .collect()
}

/// The tables of a generation, each with its schema, quoted where needed.
pub async fn tables(conn: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and c.relkind = 'r' order by c.relname",
    )
    .bind(schema)
    .fetch_all(conn)
    .await
}

/// Their names without the schema.
pub async fn table_names(conn: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select quote_ident(c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and c.relkind = 'r' order by c.relname",
    )
    .bind(schema)
    .fetch_all(conn)
    .await
}

/// The columns of a table in their order, quoted where needed.
pub async fn columns(
    conn: &mut PgConnection,
    schema: &str,
    table: &str,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select quote_ident(a.attname) from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and quote_ident(c.relname) = $2 and a.attnum > 0 and not a.attisdropped order by a.attnum",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
}

/// The columns of a table's primary key.
pub async fn key(conn: &mut PgConnection, schema: &str, table: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select quote_ident(a.attname) from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
           join unnest(i.indkey::int2[]) with ordinality k(no, nth) on true join pg_attribute a on a.attrelid = c.oid and a.attnum = k.no
          where n.nspname = $1 and quote_ident(c.relname) = $2 and i.indisprimary order by k.nth",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(conn)
    .await
}
