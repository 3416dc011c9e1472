//! A network that misbehaves when told to, between a client and its server: it falls silent, is slow, is cut, or loses
//! the one answer that matters.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Pass,
    /// They are taken and go nowhere, in both directions. A connection that lost bytes stays silent for ever, as one does
    /// whose state a router has forgotten; new ones work once the line passes again.
    Swallow,
    /// Each piece arrives this much later.
    Delay(Duration),
    /// Whoever connects is shut out at once. Open connections live on.
    Refuse,
}

/// What the server has seen when [`Proxy::cut_at`] cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: the request is lost.
    BeforeTheServer,
    /// The request, and it has answered: only the answer is lost.
    BeforeTheAnswer,
}

#[derive(Debug, Clone)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Ends when it is dropped, and its connections with it.
pub struct Proxy {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    _running: DropGuard,
}

struct Shared {
    upstream: Upstream,
    line: watch::Sender<Line>,
    /// Cancelled and made anew by each cut.
    cut: Mutex<CancellationToken>,
    trap: Mutex<Option<Trap>>,
    sprung: watch::Sender<u64>,
    carried: watch::Sender<u64>,
    executed: watch::Sender<u64>,
}

struct Trap {
    needle: Vec<u8>,
    cut: Cut,
}

impl Proxy {
    pub async fn to(upstream: Upstream) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = CancellationToken::new();
        let proxy = Proxy {
            addr: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                upstream,
                line: watch::Sender::new(Line::Pass),
                cut: Mutex::new(CancellationToken::new()),
                trap: Mutex::new(None),
                sprung: watch::Sender::new(0),
                carried: watch::Sender::new(0),
                executed: watch::Sender::new(0),
            }),
            _running: running.clone().drop_guard(),
        };
        let shared = proxy.shared.clone();
        tokio::spawn(running.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = locked(&shared.cut).clone();
                let shared = shared.clone();
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    let _ = shared.carry(client).await;
                }));
            }
        }));
        proxy
    }

    /// In front of the database server that these options reach.
    pub async fn to_database(options: &PgConnectOptions) -> Proxy {
        let upstream = match options.get_socket() {
            Some(folder) => Upstream::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => Upstream::Tcp(
                format!("{}:{}", options.get_host(), options.get_port())
                    .parse()
                    .expect("the server has an address, not a name"),
            ),
        };
        Proxy::to(upstream).await
    }

    /// For open connections and for those to come.
    pub fn set(&self, line: Line) {
        self.shared.line.send_replace(line);
    }

    /// Ends every open connection; new ones follow the line.
    pub fn cut(&self) {
        let mut cut = locked(&self.shared.cut);
        std::mem::take(&mut *cut).cancel();
    }

    /// Ends the connection whose client sends `needle` next; an empty one stands for whatever is sent next. Once only.
    pub fn cut_at(&self, needle: impl AsRef<[u8]>, cut: Cut) {
        let needle = needle.as_ref().to_vec();
        *locked(&self.shared.trap) = Some(Trap { needle, cut });
    }

    /// How many pieces have set out, in both directions: a test that needs traffic waits until this moves.
    pub fn carried(&self) -> u64 {
        *self.shared.carried.borrow()
    }

    /// How many statements clients have had executed, where a database is behind it.
    pub fn executed(&self) -> u64 {
        *self.shared.executed.borrow()
    }

    /// How often [`Proxy::cut_at`] has cut.
    pub fn cuts(&self) -> u64 {
        *self.shared.sprung.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    async fn carry(&self, client: TcpStream) -> std::io::Result<()> {
        if *self.line.borrow() == Line::Refuse {
            return Ok(());
        }
        client.set_nodelay(true)?;
        match &self.upstream {
            Upstream::Tcp(addr) => {
                let server = TcpStream::connect(addr).await?;
                server.set_nodelay(true)?;
                self.join(client.into_split(), server.into_split()).await
            }
            Upstream::Unix(path) => {
                let server = UnixStream::connect(path).await?;
                self.join(client.into_split(), server.into_split()).await
            }
        }
    }

    async fn join<CR, CW, SR, SW>(
        &self,
        (mut from_client, mut to_client): (CR, CW),
        (mut from_server, mut to_server): (SR, SW),
    ) -> std::io::Result<()>
    where
        CR: AsyncRead + Unpin,
        CW: AsyncWrite + Unpin,
        SR: AsyncRead + Unpin,
        SW: AsyncWrite + Unpin,
    {
        let deaf = watch::Sender::new(false);
        // Set once the request that was waited for is with the server.
        let answer_is_lost = watch::Sender::new(false);
        let there = async {
            let (mut seen, mut asked) = (Vec::new(), Asked::default());
            let mut piece = vec![0; 64 * 1024];
            loop {
                let length = from_client.read(&mut piece).await?;
                if length == 0 {
                    return std::io::Result::Ok(());
                }
                let statements = asked.hear(&piece[..length]);
                self.executed.send_modify(|n| *n += statements);
                match self.spring(&mut seen, &piece[..length]) {
                    Some(Cut::BeforeTheServer) => return Ok(()),
                    Some(Cut::BeforeTheAnswer) => {
                        answer_is_lost.send_replace(true);
                    }
                    None => {}
                }
                if self.arrives(&deaf).await {
                    to_server.write_all(&piece[..length]).await?;
                }
            }
        };
        let back = async {
            let mut piece = vec![0; 64 * 1024];
            loop {
                let length = from_server.read(&mut piece).await?;
                if length == 0 {
                    return std::io::Result::Ok(());
                }
                if *answer_is_lost.borrow() {
                    return Ok(());
                }
                if self.arrives(&deaf).await {
                    to_client.write_all(&piece[..length]).await?;
                }
            }
        };
        tokio::select! {
            ended = there => ended,
            ended = back => ended,
        }
    }

    /// Whether the next piece gets through, now or later.
    async fn arrives(&self, deaf: &watch::Sender<bool>) -> bool {
        let line = *self.line.borrow();
        self.carried.send_modify(|n| *n += 1);
        match line {
            _ if *deaf.borrow() => false,
            Line::Pass | Line::Refuse => true,
            Line::Swallow => {
                deaf.send_replace(true);
                false
            }
            Line::Delay(by) => {
                tokio::time::sleep(by).await;
                true
            }
        }
    }

    /// Whether what a client sent completes what a trap waits for. `seen`: the end of what it sent before.
    fn spring(&self, seen: &mut Vec<u8>, piece: &[u8]) -> Option<Cut> {
        let mut trap = locked(&self.trap);
        let waiting = trap.as_ref()?;
        let length = waiting.needle.len();
        seen.extend_from_slice(piece);
        let found = length == 0 || seen.windows(length).any(|part| part == waiting.needle);
        if found {
            seen.clear();
            self.sprung.send_modify(|n| *n += 1);
            return trap.take().map(|trap| trap.cut);
        }
        seen.drain(..seen.len().saturating_sub(length));
        None
    }
}

/// What a client asks of PostgreSQL, as far as it is needed to count.
#[derive(Default)]
struct Asked {
    /// The first message has no type.
    begun: bool,
    rest: Vec<u8>,
}

impl Asked {
    /// How many statements this piece has executed: `E`, or `Q` for one as text.
    fn hear(&mut self, piece: &[u8]) -> u64 {
        self.rest.extend_from_slice(piece);
        let mut statements = 0;
        loop {
            let head = usize::from(self.begun);
            let Some(length) = self.rest.get(head..head + 4) else {
                return statements;
            };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + head;
            if self.rest.len() < length {
                return statements;
            }
            statements += u64::from(self.begun && [b'E', b'Q'].contains(&self.rest[0]));
            self.begun = true;
            self.rest.drain(..length);
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|e| e.into_inner())
}
