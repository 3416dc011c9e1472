//! Sealed fields: bound to their customer, gone with the key.

use bizing_engine::domain::customer::Personal;
use bizing_engine::domain::ids::CustomerId;
use bizing_engine::store::seal::{SealError, seal, unseal};
use uuid::Uuid;

use crate::support::db::TestDb;

fn ines() -> Personal {
    Personal {
        name: "Inês Carvalho".to_owned(),
        email: Some("ines@example.com".to_owned()),
        phone: None,
    }
}

#[tokio::test]
async fn what_is_sealed_reads_back_and_never_shows_in_the_sealed_text() {
    let db = TestDb::new().await;
    let pool = db.pool("staff").await;
    let mut conn = pool.acquire().await.unwrap();
    let customer = CustomerId(Uuid::now_v7());
    let sealed = seal(&mut conn, customer, &ines()).await.unwrap();
    assert_eq!(
        unseal(&mut conn, customer, &sealed).await.unwrap(),
        Some(ines())
    );
    assert!(!format!("{sealed:?}").contains("example.com"));
    let again = seal(&mut conn, customer, &ines()).await.unwrap();
    assert_ne!(
        (&again.nonce, &again.text),
        (&sealed.nonce, &sealed.text),
        "a nonce is used once"
    );
}

#[tokio::test]
async fn another_customers_key_or_a_moved_or_damaged_text_does_not_open_it() {
    let db = TestDb::new().await;
    let pool = db.pool("staff").await;
    let mut conn = pool.acquire().await.unwrap();
    let (ana, bo) = (CustomerId(Uuid::now_v7()), CustomerId(Uuid::now_v7()));
    let (of_ana, of_bo) = (
        seal(&mut conn, ana, &ines()).await.unwrap(),
        seal(&mut conn, bo, &ines()).await.unwrap(),
    );
    let mixed = bizing_engine::domain::event::Sealed {
        text: of_bo.text.clone(),
        ..of_ana.clone()
    };
    let short = bizing_engine::domain::event::Sealed {
        nonce: "AAAA".to_owned(),
        ..of_ana.clone()
    };
    let no_text = bizing_engine::domain::event::Sealed {
        text: "not base64!".to_owned(),
        ..of_ana.clone()
    };
    let other_cipher = bizing_engine::domain::event::Sealed {
        cipher: "aes".to_owned(),
        ..of_ana.clone()
    };
    for (customer, sealed) in [
        (bo, of_ana),
        (ana, of_bo),
        (ana, mixed),
        (ana, short),
        (ana, no_text),
        (ana, other_cipher),
    ] {
        let refused = unseal(&mut conn, customer, &sealed).await.unwrap_err();
        assert!(matches!(refused, SealError::Damaged), "{refused:?}");
    }
}

#[tokio::test]
async fn an_erased_customer_reads_as_nobody_and_their_name_can_never_come_back() {
    let db = TestDb::new().await;
    let pool = db.pool("staff").await;
    let mut conn = pool.acquire().await.unwrap();
    let customer = CustomerId(Uuid::now_v7());
    let sealed = seal(&mut conn, customer, &ines()).await.unwrap();
    erase(&db, customer).await;
    assert_eq!(unseal(&mut conn, customer, &sealed).await.unwrap(), None);
    // Somebody books for them again: a key made now must not stand in for the one that is gone.
    let after = seal(&mut conn, customer, &ines()).await;
    assert!(after.is_err(), "{after:?}");
    assert_eq!(unseal(&mut conn, customer, &sealed).await.unwrap(), None);
}

#[tokio::test]
async fn a_key_is_made_once_however_many_ask_at_the_same_time() {
    let db = TestDb::new().await;
    let pool = db.pool("staff").await;
    let customer = CustomerId(Uuid::now_v7());
    let ask = || {
        sqlx::query_scalar::<_, Vec<u8>>("select api.subject_key($1, true)")
            .bind(customer.0)
            .fetch_one(&pool)
    };
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let a = a.unwrap();
    assert_eq!((a.len(), &a), (32, &b.unwrap()));
    assert_eq!(a, c.unwrap());
}

/// As an erasure leaves it.
async fn erase(db: &TestDb, customer: CustomerId) {
    let done = sqlx::query(
        "update core.subject_keys set key = null, erased_at = now() where subject_id = $1",
    )
    .bind(customer.0)
    .execute(&db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

#[tokio::test]
async fn what_postgres_could_not_keep_is_mended_when_it_is_read() {
    let db = TestDb::new().await;
    let mut conn = db.pool("staff").await.acquire().await.unwrap();
    let customer = CustomerId(Uuid::now_v7());
    // Written past every check of ours, as another program could.
    let odd = Personal {
        name: "Ana\0".to_owned(),
        email: None,
        phone: None,
    };
    let sealed = seal(&mut conn, customer, &odd).await.unwrap();
    let read = unseal(&mut conn, customer, &sealed).await.unwrap();
    assert_eq!(read.unwrap().name, "Ana\u{fffd}");
}
