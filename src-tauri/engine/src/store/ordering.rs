//! In which order events stand, and how far that order is decided. docs/EVENT-STORE.md holds the proofs.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, Row};

/// A way to give concurrent appends one order that readers can follow without skipping. `api.append` asks the database
/// which one it lives by; readers ask here.
pub trait Ordering: Debug + Send + Sync {
    /// As the database calls it.
    fn name(&self) -> &'static str;

    /// Everything at or below it is decided: visible to any snapshot taken later, or rolled back for good.
    fn safe_position<'a>(&'a self, conn: &'a mut PgConnection) -> BoxFuture<'a, sqlx::Result<i64>>;

    /// Who keeps the safe position from rising, if anybody can.
    fn keeps_readers_waiting<'a>(
        &'a self,
        conn: &'a mut PgConnection,
    ) -> BoxFuture<'a, sqlx::Result<Option<Holder>>>;
}

/// A transaction that others wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// A prepared transaction has none.
    pub pid: Option<i32>,
    pub login: String,
    /// `active`, `idle in transaction`, `prepared`, or `unknown` where this login may not see it.
    pub state: String,
    pub age_seconds: f64,
    pub query: String,
}

/// Appends register a floor below every position they will draw, as a shared lock; nobody waits for anybody.
#[derive(Debug)]
pub struct Registry;

/// Appends take turns at one row until they are committed: for databases without advisory locks. One flush an append,
/// so it lives by the committers, who put hundreds into one.
#[derive(Debug)]
pub struct Counter;

/// The one that this database lives by. It is chosen before the first event and never changes.
pub async fn of(conn: &mut PgConnection) -> sqlx::Result<&'static dyn Ordering> {
    let name: String = sqlx::query_scalar("select api.ordering()")
        .fetch_one(conn)
        .await?;
    match name.as_str() {
        "registry" => Ok(&Registry),
        "counter" => Ok(&Counter),
        _ => Err(sqlx::Error::Protocol(format!(
            "this program does not know the ordering {name}"
        ))),
    }
}

/// Makes an empty log live by it.
pub async fn choose(conn: &mut PgConnection, ordering: &dyn Ordering) -> sqlx::Result<()> {
    sqlx::query("select api.use_ordering($1)")
        .bind(ordering.name())
        .execute(conn)
        .await
        .map(|_| ())
}

impl Ordering for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn safe_position<'a>(&'a self, conn: &'a mut PgConnection) -> BoxFuture<'a, sqlx::Result<i64>> {
        Box::pin(sqlx::query_scalar("select api.safe_position()").fetch_one(conn))
    }

    fn keeps_readers_waiting<'a>(
        &'a self,
        conn: &'a mut PgConnection,
    ) -> BoxFuture<'a, sqlx::Result<Option<Holder>>> {
        Box::pin(async move {
            let row = sqlx::query(
                "select pid, login::text as login, state, age_seconds, query from api.oldest_append()",
            )
            .fetch_optional(conn)
            .await?;
            row.map(|r| {
                Ok(Holder {
                    pid: r.try_get("pid")?,
                    login: r.try_get::<Option<_>, _>("login")?.unwrap_or_default(),
                    state: r
                        .try_get::<Option<String>, _>("state")?
                        .unwrap_or_else(|| "unknown".to_owned()),
                    age_seconds: r
                        .try_get::<Option<f64>, _>("age_seconds")?
                        .unwrap_or_default(),
                    query: r.try_get::<Option<_>, _>("query")?.unwrap_or_default(),
                })
            })
            .transpose()
        })
    }
}

impl Ordering for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    /// What the counter says was committed with it, and so was everything below.
    fn safe_position<'a>(&'a self, conn: &'a mut PgConnection) -> BoxFuture<'a, sqlx::Result<i64>> {
        Box::pin(sqlx::query_scalar("select api.safe_position()").fetch_one(conn))
    }

    /// An open append holds other writers up, and no reader.
    fn keeps_readers_waiting<'a>(
        &'a self,
        _: &'a mut PgConnection,
    ) -> BoxFuture<'a, sqlx::Result<Option<Holder>>> {
        Box::pin(async { Ok(None) })
    }
}
