//! Webhooks for a window that was asked to take them (`BIZING_WEBHOOK_LISTEN`): that one address, and nothing else of the desk.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use bizing_engine::app::host::Host;
use tokio::net::TcpListener;

use super::webhooks;

/// Binds, and takes them for as long as the future is polled. A tunnel of one's own leads the provider there. Or why not.
#[cfg_attr(
    not(any(feature = "desktop", test)),
    allow(dead_code, reason = "the window's")
)]
pub async fn listen(
    host: Host,
    at: SocketAddr,
) -> Result<(SocketAddr, impl Future<Output = ()>), String> {
    if !at.ip().is_loopback() {
        return Err(format!("{at} is no address of this computer alone"));
    }
    let taken = |error| format!("{at} cannot be used: {error}");
    let listener = TcpListener::bind(at).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let router = Router::new()
        .route("/webhooks/stripe", post(webhooks::to_host))
        .layer(DefaultBodyLimit::max(webhooks::LARGEST_EVENT))
        .with_state(host);
    Ok((address, async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, %address, "webhooks are no longer taken here");
        }
    }))
}

#[cfg(test)]
mod tests {
    use bizing_engine::app::host::HostKind;
    use bizing_engine::runtime::config::Config;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// What is answered to a request whose body has so many bytes.
    async fn status(address: SocketAddr, asked: &str, bytes: usize) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{asked} HTTP/1.1\r\nhost: desk\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // One byte too many is known to be that only once it is read: nobody hangs up before.
        stream.write_all(&vec![b'x'; bytes]).await.unwrap();
        let mut answer = vec![];
        while !answer.windows(2).any(|pair| pair == b"\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "no answer");
        }
        String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    }

    #[tokio::test]
    async fn a_window_takes_webhooks_at_one_address_and_shows_nothing_else_there() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::new(Config::in_folder(folder.path()), HostKind::Window);
        let (address, serving) = listen(host.clone(), "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        host.in_background(serving);
        // No desk is open yet: the provider sends it again.
        assert_eq!(status(address, "POST /webhooks/stripe", 2).await, "503");
        let huge = webhooks::LARGEST_EVENT + 1;
        assert_eq!(status(address, "POST /webhooks/stripe", huge).await, "413");
        for path in ["/", "/rpc/session", "/hints", "/metrics", "/health"] {
            let asked = format!("GET {path}");
            assert_eq!(status(address, &asked, 0).await, "404", "{path}");
        }
        // Taken twice, and shown to the network: neither.
        for at in [address, "0.0.0.0:0".parse().unwrap()] {
            assert!(listen(host.clone(), at).await.is_err(), "{at}");
        }
        host.shut_down().await;
    }
}
