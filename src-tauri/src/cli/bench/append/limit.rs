//! The limit: bare PostgreSQL with the same columns, checks and indexes.

use std::sync::atomic::{AtomicI64, Ordering};

use bizing_engine::runtime::ids;
use bizing_engine::store::append::data_of;
use chrono::Utc;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::payload::{LIFE, event};
use crate::cli::bench::BenchError;
use crate::cli::bench::ground::Ground;
use crate::cli::bench::rounds::Writer;

/// A copy of the log's partition, without the trigger and the partitioned parent.
pub async fn make_table(ground: &Ground) -> Result<(), BenchError> {
    let mut conn = PgConnection::connect_with(&ground.superuser()).await?;
    sqlx::raw_sql(
        "create schema bare;
         create sequence bare.position;
         create table bare.events (like core.events_0000 including all);
         grant usage on schema bare to public;
         grant usage on sequence bare.position to public;
         grant insert on bare.events to public;",
    )
    .execute(&mut conn)
    .await?;
    Ok(conn.close().await?)
}

/// One connection that inserts one row a statement, each its own commit.
pub struct Bare {
    conn: PgConnection,
    stream: i64,
    version: i64,
}

impl Bare {
    pub async fn many(ground: &Ground, n: usize) -> Result<Vec<Bare>, BenchError> {
        let mut all = vec![];
        for _ in 0..n {
            all.push(Bare {
                conn: PgConnection::connect_with(&ground.login("worker")).await?,
                stream: new_stream(),
                version: 0,
            });
        }
        Ok(all)
    }
}

/// No two writers of any case share one.
fn new_stream() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Writer for Bare {
    async fn write(&mut self) -> Result<u64, BenchError> {
        self.insert().await
    }
}

impl Bare {
    async fn insert(&mut self) -> Result<u64, BenchError> {
        if self.version == LIFE {
            (self.stream, self.version) = (new_stream(), 0);
        }
        self.version += 1;
        let now = Utc::now();
        sqlx::query(
            "insert into bare.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at,
                                      actor, metadata, data, hash)
             values (nextval('bare.position'), $1, $2, $3, $4, $5, null, $6, $6, 'bench_worker', $7, $8, $9)",
        )
        .bind(self.stream)
        .bind(self.version)
        .bind((self.version % 20) as i32)
        .bind(ids::v7())
        .bind(ids::v7())
        .bind(now)
        .bind(json!({ "app_version": env!("CARGO_PKG_VERSION") }))
        .bind(data_of(&event(self.version)))
        .bind(&[7_u8; 32][..])
        .execute(&mut self.conn)
        .await?;
        Ok(1)
    }
}

/// The same within `begin` and `commit`: two round trips more, which is what a transaction costs whoever has more to do in it.
pub struct InTransaction(Bare);

impl InTransaction {
    pub async fn many(ground: &Ground, n: usize) -> Result<Vec<InTransaction>, BenchError> {
        let all = Bare::many(ground, n).await?;
        Ok(all.into_iter().map(InTransaction).collect())
    }
}

impl Writer for InTransaction {
    async fn write(&mut self) -> Result<u64, BenchError> {
        sqlx::raw_sql("begin").execute(&mut self.0.conn).await?;
        self.0.insert().await?;
        sqlx::raw_sql("commit").execute(&mut self.0.conn).await?;
        Ok(1)
    }
}

/// One connection that copies a hundred rows a statement, each its own commit.
pub struct Copy(Bare);

impl Copy {
    pub async fn many(ground: &Ground, n: usize) -> Result<Vec<Copy>, BenchError> {
        Ok(Bare::many(ground, n).await?.into_iter().map(Copy).collect())
    }
}

impl Writer for Copy {
    async fn write(&mut self) -> Result<u64, BenchError> {
        const ROWS: i64 = 100;
        static POSITION: AtomicI64 = AtomicI64::new(1 << 40);
        let first = POSITION.fetch_add(ROWS, Ordering::Relaxed);
        let (stream, now) = (new_stream(), Utc::now().to_rfc3339());
        let mut rows = String::new();
        for n in 1..=ROWS {
            // Nothing in the payload needs to be escaped for COPY.
            rows.push_str(&format!(
                "{}\t{stream}\t{n}\t{}\t{}\t{}\t\\N\t{now}\t{now}\tbench_worker\t{}\t{}\t\\\\x{}\n",
                first + n,
                n % 20,
                ids::v7(),
                ids::v7(),
                json!({ "app_version": env!("CARGO_PKG_VERSION") }),
                data_of(&event(n)),
                "07".repeat(32)
            ));
        }
        let mut copy = self
            .0
            .conn
            .copy_in_raw(
                "copy bare.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at,
                                   actor, metadata, data, hash) from stdin",
            )
            .await?;
        copy.send(rows.as_bytes()).await?;
        Ok(copy.finish().await?)
    }
}
