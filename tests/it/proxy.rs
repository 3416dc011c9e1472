//! The proxy itself: what other tests conclude from it is only as true as it is.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::support::db::TestDb;
use crate::support::proxy::{Cut, Line, Proxy};

const SHORT: Duration = Duration::from_millis(300);

async fn asked(conn: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("select 1").fetch_one(conn).await
}

#[tokio::test]
async fn a_swallowed_connection_stays_silent_and_a_new_one_works() {
    let db = TestDb::new().await;
    let proxy = Proxy::to_database(&db.superuser()).await;
    let login = db.login_through("staff", &proxy);
    let mut conn = PgConnection::connect_with(&login).await.unwrap();
    assert_eq!(asked(&mut conn).await.unwrap(), 1);

    proxy.set(Line::Swallow);
    assert!(timeout(SHORT, asked(&mut conn)).await.is_err());
    let connecting = timeout(SHORT, PgConnection::connect_with(&login)).await;
    assert!(connecting.is_err(), "neither refused nor answered");

    proxy.set(Line::Pass);
    assert!(timeout(SHORT, conn.ping()).await.is_err());
    let mut new = PgConnection::connect_with(&login).await.unwrap();
    assert_eq!(asked(&mut new).await.unwrap(), 1);

    proxy.set(Line::Delay(SHORT));
    assert!(timeout(SHORT, asked(&mut new)).await.is_err(), "it is late");
    proxy.set(Line::Refuse);
    assert!(PgConnection::connect_with(&login).await.is_err());
}

#[tokio::test]
async fn a_commit_can_be_lost_on_the_way_there_and_on_the_way_back() {
    let db = TestDb::new().await;
    let proxy = Proxy::to_database(&db.superuser()).await;
    let superuser = db.superuser_pool().await;
    sqlx::raw_sql("create table public.told (way text); grant insert on public.told to public; grant usage on schema public to public")
        .execute(&superuser)
        .await
        .unwrap();
    for (cut, stands) in [(Cut::BeforeTheServer, false), (Cut::BeforeTheAnswer, true)] {
        let mut conn = PgConnection::connect_with(&db.login_through("staff", &proxy))
            .await
            .unwrap();
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("insert into public.told values ($1)")
            .bind(format!("{cut:?}"))
            .execute(&mut *tx)
            .await
            .unwrap();
        proxy.cut_at("COMMIT", cut);
        let before = proxy.cuts();
        assert!(tx.commit().await.is_err(), "the client does not know");
        assert_eq!(proxy.cuts(), before + 1);
        let found: i64 = sqlx::query_scalar("select count(*) from public.told where way = $1")
            .bind(format!("{cut:?}"))
            .fetch_one(&superuser)
            .await
            .unwrap();
        assert_eq!(found == 1, stands, "{cut:?}");
    }
}
