//! From a target to a connection that is pinned to an address which was checked.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::guard::{Guard, Target, TargetHost};
use super::send::{Failure, FailureClass, Timings, ms};

/// For name, connection and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// For one of several addresses.
const ONE_OF_SEVERAL: Duration = Duration::from_millis(1_500);
/// More than anybody's answer needs: headers that do not end fill this and no more.
const BUFFER: usize = 64 * 1024;

/// Who knows names. Tests put their own in place of the computer's.
pub trait Resolve: Send + Sync {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// The computer's own resolver: it honours hosts files and what a VPN says.
pub struct Names;

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

type Io = TokioIo<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// A connection and the handle that sends on it. Both live in one task: the connection moves when its answer is waited for.
pub struct Live {
    pub conn: http1::Connection<Io, Full<Bytes>>,
    pub sender: http1::SendRequest<Full<Bytes>>,
    pub peer: SocketAddr,
    /// `TLSv1.3`. `None`: plain.
    pub tls: Option<&'static str>,
}

pub struct Connector {
    pub names: Arc<dyn Resolve>,
    /// Or why there is no TLS on this computer.
    pub(super) tls: Result<TlsConnector, String>,
}

impl Connector {
    pub fn new(names: Arc<dyn Resolve>) -> Connector {
        Connector { names, tls: tls() }
    }

    pub async fn connect(
        &self,
        target: &Target,
        guard: &Guard,
        timings: &mut Timings,
    ) -> Result<Box<Live>, Failure> {
        let work = self.steps(target, guard, timings);
        tokio::time::timeout(CONNECT, work)
            .await
            .unwrap_or_else(|_| {
                Err(Failure::new(
                    FailureClass::Timeout,
                    format!("no connection to {} within 5 s", target.host),
                ))
            })
    }

    async fn steps(
        &self,
        target: &Target,
        guard: &Guard,
        timings: &mut Timings,
    ) -> Result<Box<Live>, Failure> {
        let addresses = self.addresses(target, guard, timings).await?;
        let began = Instant::now();
        let stream = tcp(&addresses, target).await?;
        timings.connect_ms = Some(ms(began.elapsed()));
        let peer = stream
            .peer_addr()
            .map_err(|e| Failure::new(FailureClass::Connect, e.to_string()))?;
        guard.peer(peer, &target.host).map_err(Failure::blocked)?;
        let _ = stream.set_nodelay(true);

        let mut tls = None;
        let io = if target.https {
            let began = Instant::now();
            let stream = self.secure(stream, target).await?;
            timings.tls_ms = Some(ms(began.elapsed()));
            tls = stream
                .get_ref()
                .1
                .protocol_version()
                .and_then(|v| v.as_str());
            Either::Right(Box::new(stream))
        } else {
            Either::Left(stream)
        };
        let (sender, conn) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| Failure::new(FailureClass::Protocol, e.to_string()))?;
        Ok(Box::new(Live {
            conn,
            sender,
            peer,
            tls,
        }))
    }

    /// What the target's name resolves to now. One private address among them refuses all of them: such a name is either
    /// set up wrongly or an attempt.
    async fn addresses(
        &self,
        target: &Target,
        guard: &Guard,
        timings: &mut Timings,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let name = match &target.host {
            TargetHost::Address(ip) => {
                guard.address(*ip, None).map_err(Failure::blocked)?;
                return Ok(vec![SocketAddr::new(*ip, target.port)]);
            }
            TargetHost::Name(name) => name,
        };
        let began = Instant::now();
        let found = self.names.resolve(name, target.port).await;
        timings.dns_ms = Some(ms(began.elapsed()));
        let found = found.map_err(|e| unresolved(name, &e))?;
        if found.is_empty() {
            return Err(Failure::new(
                FailureClass::NoSuchName,
                format!("{name} has no address"),
            ));
        }
        for address in &found {
            guard
                .address(address.ip(), Some(name))
                .map_err(|e| Failure::blocked_name(name, e))?;
        }
        Ok(found
            .into_iter()
            .map(|a| SocketAddr::new(a.ip(), target.port))
            .collect())
    }

    async fn secure(
        &self,
        stream: TcpStream,
        target: &Target,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let tls = self
            .tls
            .as_ref()
            .map_err(|why| Failure::new(FailureClass::Tls, why.clone()))?;
        let name = match &target.host {
            TargetHost::Name(name) => ServerName::try_from(name.clone())
                .map_err(|e| Failure::new(FailureClass::Tls, e.to_string()))?,
            TargetHost::Address(ip) => ServerName::IpAddress(match *ip {
                IpAddr::V4(ip) => rustls::pki_types::IpAddr::V4(ip.into()),
                IpAddr::V6(ip) => rustls::pki_types::IpAddr::V6(ip.into()),
            }),
        };
        tls.connect(name, stream).await.map_err(|error| {
            let inner = error
                .get_ref()
                .and_then(|e| e.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => Failure::new(
                    FailureClass::Certificate,
                    format!(
                        "the certificate of {} is not accepted: {}",
                        target.host,
                        in_words(why)
                    ),
                ),
                _ => Failure::new(FailureClass::Tls, format!("no TLS connection: {error}")),
            }
        })
    }
}

/// Why a certificate is not accepted, for whoever runs the other side.
fn in_words(why: &CertificateError) -> String {
    let day = |time: &rustls::pki_types::UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|s| DateTime::from_timestamp(s, 0))
            .map_or_else(
                || "another time".to_owned(),
                |t| t.format("%Y-%m-%d").to_string(),
            )
    };
    match why {
        CertificateError::Expired => "it has run out".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it ran out on {}", day(not_after))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is not valid before {}", day(not_before))
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("it is for another name ({})", presented.join(", "))
        }
        CertificateError::UnknownIssuer => {
            "nobody whom this computer trusts has signed it".to_owned()
        }
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        CertificateError::Revoked => "who signed it has called it back".to_owned(),
        other => format!("{other:?}"),
    }
}

async fn tcp(addresses: &[SocketAddr], target: &Target) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in addresses {
        let connecting = TcpStream::connect(address);
        let connected = if addresses.len() > 1 {
            tokio::time::timeout(ONE_OF_SEVERAL, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            connecting.await
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        Some((address, error)) => Failure::new(
            FailureClass::Connect,
            format!("{} does not take the connection: {error}", address),
        ),
        None => Failure::new(
            FailureClass::NoSuchName,
            format!("{} has no address", target.host),
        ),
    })
}

fn unresolved(name: &str, error: &io::Error) -> Failure {
    let text = error.to_string();
    let unknown = ["not known", "No address", "nodename nor servname"]
        .iter()
        .any(|t| text.contains(t));
    let class = if unknown {
        FailureClass::NoSuchName
    } else {
        FailureClass::Dns
    };
    Failure::new(class, format!("{name} could not be looked up: {text}"))
}

/// The roots that this computer trusts.
fn tls() -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_platform_verifier())
        .map_err(|e| format!("TLS cannot be used on this computer: {e}"))?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
