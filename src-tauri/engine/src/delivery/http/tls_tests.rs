//! Certificates that must not be accepted: nothing of the message leaves, and what is recorded says what is wrong with them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Resolve;
use super::guard::{AllowList, Guard};
use super::send::{Client, FailureClass, Post, Sent};

const NAME: &str = "hooks.example.com";

struct Only(SocketAddr);

impl Resolve for Only {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}

/// An authority that the client trusts, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Authority {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    fn sign(&self, params: CertificateParams) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.der().clone(), key)
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

/// A server with this certificate; what it has read beneath the TLS.
async fn server(cert: CertificateDer<'static>, key: &KeyPair) -> (SocketAddr, Arc<AtomicUsize>) {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, read) = (
        listener.local_addr().unwrap(),
        Arc::new(AtomicUsize::new(0)),
    );
    let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), read.clone());
    crate::runtime::tasks::Tasks::default().once(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 8192];
            let n = stream.read(&mut head).await.unwrap_or(0);
            seen.fetch_add(n, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            let _ = stream.flush().await;
        }
    });
    (address, read)
}

async fn post(address: SocketAddr, root: &CertificateDer<'static>) -> Sent {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = Client::new(Arc::new(Only(address)));
    client.connector.tls = Ok(TlsConnector::from(Arc::new(config)));
    let guard = Guard::new(AllowList::parse([NAME, "127.0.0.1"]).unwrap(), vec![]);
    let url = format!("https://{NAME}:{}/in", address.port());
    let target = guard.url(&url).unwrap();
    client
        .post(Post {
            target: &target,
            guard: &guard,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            timeout: Duration::from_secs(10),
        })
        .await
}

#[tokio::test]
async fn a_certificate_that_fits_is_accepted() {
    let authority = Authority::new("trusted");
    let (cert, key) = authority.sign(named(NAME));
    let (address, read) = server(cert, &key).await;
    let sent = post(address, &authority.root).await;
    assert_eq!(sent.result.unwrap().status, 204);
    let t = sent.timings;
    let phases = [t.dns_ms, t.connect_ms, t.tls_ms, t.first_byte_ms, t.body_ms];
    assert!(t.tls_ms.is_some() && t.first_byte_ms.is_some());
    assert!(
        phases.into_iter().flatten().sum::<f32>() <= t.total_ms,
        "each phase by itself, in {t:?}"
    );
    assert!(read.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn one_that_does_not_is_refused_before_anything_is_sent_and_the_record_says_why() {
    let authority = Authority::new("trusted");
    let mut expired = named(NAME);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 3, 4);
    let mut early = named(NAME);
    early.not_before = date_time_ymd(2190, 1, 1);
    let own_key = KeyPair::generate().unwrap();
    let own = named(NAME).self_signed(&own_key).unwrap().der().clone();
    let cases = [
        (authority.sign(expired), "it ran out on 2021-03-04"),
        (authority.sign(early), "it is not valid before 2190-01-01"),
        (
            authority.sign(named("other.example.org")),
            "it is for another name",
        ),
        (
            (own, own_key),
            "nobody whom this computer trusts has signed it",
        ),
        (
            Authority::new("another").sign(named(NAME)),
            "nobody whom this computer trusts has signed it",
        ),
    ];
    for ((cert, key), why) in cases {
        let (address, read) = server(cert, &key).await;
        let sent = post(address, &authority.root).await;
        let failure = sent.result.unwrap_err();
        assert_eq!(failure.class, FailureClass::Certificate, "{why}: {failure}");
        assert!(
            failure.text.contains(why) && failure.text.contains(NAME),
            "{why}: {failure}"
        );
        // It was connected to, and TLS never stood.
        assert!(sent.timings.connect_ms.is_some() && sent.timings.tls_ms.is_none());
        assert_eq!(read.load(Ordering::SeqCst), 0, "{why}");
    }
}
