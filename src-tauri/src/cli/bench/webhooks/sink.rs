//! A receiver on a thread of its own, so that its share of the processor can be told from ours. It reads a request and
//! answers 200, as little as a receiver can do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::BenchError;
use super::super::http::{field, head};

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Instant>>>>;
type Taken = Arc<Mutex<Vec<Arrival>>>;

/// How a receiver behaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    Answers,
    /// Keeps a list of what it got, too.
    Keeps,
    /// Takes every request and answers none.
    Hangs,
    /// Seven well, seven badly, and so on.
    Flaps,
}

/// A message that came, and where to.
pub struct Arrival {
    pub path: String,
    pub event: Uuid,
    pub at: Instant,
}

pub struct Sink {
    addr: SocketAddr,
    waiting: Waiting,
    taken: Taken,
    arrived: Arc<AtomicU64>,
    /// Of the thread, as the system counts it.
    pub thread: String,
}

impl Sink {
    pub fn start() -> Result<Sink, BenchError> {
        Sink::like(Manner::Answers)
    }

    pub fn like(manner: Manner) -> Result<Sink, BenchError> {
        let (told, ready) = std::sync::mpsc::channel();
        let waiting = Waiting::default();
        let taken = Taken::default();
        let kept = (waiting.clone(), taken.clone());
        let arrived = Arc::new(AtomicU64::new(0));
        let counted = arrived.clone();
        std::thread::Builder::new()
            .name("bench sink".to_owned())
            .spawn(move || {
                let served = serve(manner, &kept, &counted, &told);
                if let Err(error) = served {
                    tracing::error!(%error, "the receiver of the bench ended");
                }
            })?;
        let (addr, thread) = ready.recv()?;
        Ok(Sink {
            addr,
            waiting,
            taken,
            arrived,
            thread,
        })
    }

    /// What came since it began, or since it was asked before.
    pub fn taken(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(|e| e.into_inner()))
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// When the message of this event arrives.
    pub fn expect(&self, event: Uuid) -> oneshot::Receiver<Instant> {
        let (told, waits) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        waiting.insert(format!("msg_{}", event.simple()), told);
        waits
    }
}

fn serve(
    manner: Manner,
    (waiting, taken): &(Waiting, Taken),
    counted: &Arc<AtomicU64>,
    told: &std::sync::mpsc::Sender<(SocketAddr, String)>,
) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        // As many as the desk may open at once: one that finds the queue full tries again after a whole second.
        let listener = socket.listen(1_024)?;
        let thread = std::fs::read_link("/proc/thread-self")?;
        told.send((listener.local_addr()?, thread.display().to_string()))?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (waiting, taken, counted) = (waiting.clone(), taken.clone(), counted.clone());
            tokio::task::spawn_local(async move {
                let _ = stream.set_nodelay(true);
                // Whoever hangs up is done.
                let _ = answer(stream, manner, &waiting, &taken, &counted).await;
            });
        }
    })
}

async fn answer(
    mut stream: TcpStream,
    manner: Manner,
    waiting: &Waiting,
    taken: &Taken,
    counted: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(8 * 1024);
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
        if manner == Manner::Keeps {
            taken
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .extend(arrival(&buffer[..head]));
        }
        let before = counted.fetch_add(1, Ordering::Relaxed);
        arrived(&buffer[..head], waiting);
        buffer.drain(..head + length);
        let answer: &[u8] = match manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Flaps if before / 7 % 2 == 1 => {
                b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nno"
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok",
        };
        stream.write_all(answer).await?;
    }
}

fn arrival(head: &[u8]) -> Option<Arrival> {
    let path = std::str::from_utf8(head).ok()?.split(' ').nth(1)?;
    let event = field(head, "webhook-id")?.strip_prefix("msg_")?;
    Some(Arrival {
        path: path.to_owned(),
        event: event.parse().ok()?,
        at: Instant::now(),
    })
}

fn arrived(head: &[u8], waiting: &Waiting) {
    let mut waiting = waiting.lock().unwrap_or_else(|e| e.into_inner());
    if waiting.is_empty() {
        return;
    }
    if let Some(told) = field(head, "webhook-id").and_then(|id| waiting.remove(id)) {
        let _ = told.send(Instant::now());
    }
}
