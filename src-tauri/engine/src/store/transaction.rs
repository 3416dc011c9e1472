//! Beginning a transaction on a pool's connection, so that a caller who is dropped meanwhile leaves none open.
//!
//! The driver counts a transaction when the answer to its BEGIN has come. A caller who is dropped before that (a request
//! that was given up, the losing branch of a `select!`) gives the connection back to the pool inside a transaction that
//! nobody ends: what the next ones write on it waits for a commit that never comes, and holds its locks until then
//! (sqlx issue 4393, in 0.9.0; `Pool::begin` is refused by the linter for that). Here such a BEGIN is seen through.

use sqlx::pool::{MaybePoolConnection, PoolConnection};
use sqlx::{PgPool, Postgres, SqlSafeStr, Transaction};

use crate::runtime::tasks;

/// Takes a connection and begins a transaction on it. Dropped before its end, it leaves nothing open.
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    begin_on(pool.acquire().await?).await
}

/// As [`begin`], with the isolation that the statement names.
pub async fn begin_with(
    pool: &PgPool,
    statement: &'static str,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    seen_through(pool.acquire().await?, Some(statement)).await
}

/// As [`begin`], on a connection that is the caller's already.
pub async fn begin_on(
    conn: PoolConnection<Postgres>,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    seen_through(conn, None).await
}

/// Once it stands, dropping it rolls it back.
async fn seen_through(
    conn: PoolConnection<Postgres>,
    statement: Option<&'static str>,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    tasks::to_its_end(Transaction::begin(
        MaybePoolConnection::PoolConnection(conn),
        statement.map(SqlSafeStr::into_sql_str),
    ))
    .await
}
