//! An endpoint whose certificate must not be trusted: every try fails in plain words, and nobody gets the message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bizing_engine::app::deliveries;
use bizing_engine::app::wire::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::{Hooks, SOON, wait_until};

/// Speaks TLS with a certificate that nobody but itself has signed, and counts what it can read of what is sent to it.
struct Stranger {
    url: String,
    greeted: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

impl Stranger {
    async fn start(params: CertificateParams) -> Stranger {
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stranger = Stranger {
            url: format!("https://{}/in", listener.local_addr().unwrap()),
            greeted: Arc::default(),
            read: Arc::default(),
        };
        let (greeted, read) = (stranger.greeted.clone(), stranger.read.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                greeted.fetch_add(1, Ordering::SeqCst);
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut buffer = [0; 1024];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        read.fetch_add(n, Ordering::SeqCst);
                    }
                }
            }
        });
        stranger
    }
}

fn for_this_computer() -> CertificateParams {
    CertificateParams::new(["127.0.0.1".to_owned()]).unwrap()
}

#[tokio::test]
async fn an_endpoint_with_a_bad_certificate_gets_nothing_and_each_try_says_what_is_wrong() {
    let hooks = Hooks::new().await;
    let mut expired = for_this_computer();
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 3, 4);
    let mut early = for_this_computer();
    early.not_before = date_time_ymd(2190, 1, 1);
    let (desk, worker) = (hooks.desk.desk(None), hooks.desk.work().await);
    for (params, why) in [
        (
            for_this_computer(),
            "nobody whom this computer trusts has signed it",
        ),
        (expired, "it ran out on 2021-03-04"),
        (early, "it is not valid before 2190-01-01"),
    ] {
        let stranger = Stranger::start(params).await;
        let made = hooks.endpoint(&stranger.url, json!({})).await;
        hooks.append(Uuid::now_v7(), 1).await;
        wait_until("the first try is recorded", SOON, async || {
            hooks.tries(made.id).await.len() == 1
        })
        .await;
        let told = format!("the certificate of 127.0.0.1 is not accepted: {why}");

        // As operators see it: it failed and is tried again, why, and no answer, since nothing was asked.
        let tries = hooks.tries(made.id).await;
        assert_eq!(
            (tries[0].result.as_deref(), tries[0].error_class.as_deref()),
            (Some("not_sent"), Some("certificate"))
        );
        let delivery_id: Uuid = sqlx::query_scalar(
            "select delivery_id from read.deliveries_v2 where destination_id = $1",
        )
        .bind(made.id)
        .fetch_one(&hooks.desk.people)
        .await
        .unwrap();
        let page = deliveries::get(&desk, GetDelivery { delivery_id })
            .await
            .unwrap();
        assert_eq!(page.row.state, DeliveryState::Retrying, "{why}");
        let one = &page.tries[0];
        assert_eq!(
            (one.error.as_deref(), one.code, one.response_body.as_deref()),
            (Some(told.as_str()), None, None)
        );
        // It comes again when somebody may have mended it, and no sooner.
        let minutes: f64 = sqlx::query_scalar("select extract(epoch from next_at - now())::float8 / 60 from read.deliveries_v2 where destination_id = $1")
            .bind(made.id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        assert!((20.0..40.0).contains(&minutes), "{minutes}");
        assert_eq!(hooks.health(made.id).await["last_error"], json!(told));

        assert!(stranger.greeted.load(Ordering::SeqCst) > 0, "{why}");
        assert_eq!(stranger.read.load(Ordering::SeqCst), 0, "{why}");
        hooks.change(made.id, "disable").await;
    }
    worker.close().await;
}
