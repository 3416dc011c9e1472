//! A provider on a thread of its own that answers each request as it comes in, without deciding anything: what a saga
//! costs is not to hold what a provider costs.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::BenchError;
use super::super::http::head;
use super::PRICE;

pub struct Provider {
    addr: SocketAddr,
    /// As the system counts it.
    pub thread: String,
}

impl Provider {
    pub fn start() -> Result<Provider, BenchError> {
        let (told, ready) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("bench provider".to_owned())
            .spawn(move || {
                if let Err(error) = serve(&told) {
                    tracing::error!(%error, "the provider of the bench ended");
                }
            })?;
        let (addr, thread) = ready.recv()?;
        Ok(Provider { addr, thread })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn serve(told: &std::sync::mpsc::Sender<(SocketAddr, String)>) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let thread = std::fs::read_link("/proc/thread-self")?;
        told.send((listener.local_addr()?, thread.display().to_string()))?;
        let mut next = 1;
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            // Whoever hangs up is done.
            tokio::task::spawn_local(async move {
                let _ = answer(stream, next).await;
            });
            next += 1;
        }
    })
}

async fn answer(mut stream: TcpStream, connection: u64) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut made = 0;
    loop {
        let Some((head, length)) = head(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        made += 1;
        let body = object(
            &buffer[..head],
            &format!("pi_bench{connection:04}{made:08}"),
        )
        .to_string();
        buffer.drain(..head + length);
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(whole.as_bytes()).await?;
    }
}

/// `POST /v1/payment_intents` or `POST /v1/payment_intents/<id>/capture`.
fn object(head: &[u8], fresh: &str) -> Value {
    let path = std::str::from_utf8(head)
        .ok()
        .and_then(|h| h.split(' ').nth(1));
    let captured = path
        .and_then(|p| p.strip_suffix("/capture"))
        .and_then(|p| p.rsplit('/').next());
    let (id, status, capturable, received) = match captured {
        Some(id) => (id, "succeeded", 0, PRICE),
        None => (fresh, "requires_capture", PRICE, 0),
    };
    json!({
        "id": id, "object": "payment_intent", "status": status, "amount": PRICE, "amount_capturable": capturable,
        "amount_received": received, "currency": "eur", "latest_charge": "ch_bench", "metadata": {},
    })
}
