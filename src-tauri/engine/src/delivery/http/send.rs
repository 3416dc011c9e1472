//! One POST: sent once, its answer read up to a limit, everything about it measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};

use super::connect::{Connector, Live, Resolve};
use super::guard::{Blocked, Guard, Target};
use super::pool::Pool;

/// Of an answer's body this much is kept; the rest is not even read.
pub const KEPT: usize = 16 * 1024;

/// What is larger is not sent: receivers take no more, and some drop it without a word.
pub const LARGEST: usize = 256 * 1024;

/// Sends on pooled connections. One for all endpoints.
pub struct Client {
    pub(super) connector: Connector,
    pool: Pool,
}

pub struct Post<'a> {
    pub target: &'a Target,
    pub guard: &'a Guard,
    /// Complete but for `host` and `content-length`.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For everything, the answer's body included.
    pub timeout: Duration,
}

/// In milliseconds, each phase by itself. `None`: did not happen, as on a connection that was kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    pub dns_ms: Option<f32>,
    pub connect_ms: Option<f32>,
    pub tls_ms: Option<f32>,
    pub first_byte_ms: Option<f32>,
    pub body_ms: Option<f32>,
    pub total_ms: f32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// There was more of it.
    pub cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    Blocked,
    NoSuchName,
    Dns,
    Connect,
    Tls,
    Certificate,
    Timeout,
    /// The other side hung up before it had answered.
    Closed,
    /// What came back is not HTTP.
    Protocol,
    /// More than is sent at all.
    TooLarge,
}

impl FailureClass {
    pub fn word(self) -> &'static str {
        match self {
            FailureClass::Blocked => "blocked_address",
            FailureClass::NoSuchName => "no_such_name",
            FailureClass::Dns => "dns",
            FailureClass::Connect => "connect",
            FailureClass::Tls => "tls",
            FailureClass::Certificate => "certificate",
            FailureClass::Timeout => "timeout",
            FailureClass::Closed => "closed",
            FailureClass::Protocol => "protocol",
            FailureClass::TooLarge => "too_large",
        }
    }
}

/// Why there is no whole answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    pub class: FailureClass,
    pub text: String,
}

impl Failure {
    pub fn new(class: FailureClass, text: impl Into<String>) -> Failure {
        Failure {
            class,
            text: text.into(),
        }
    }

    pub fn blocked(why: Blocked) -> Failure {
        Failure::new(FailureClass::Blocked, why.to_string())
    }

    pub fn too_large(bytes: usize) -> Failure {
        Failure::new(
            FailureClass::TooLarge,
            format!(
                "the message has {} kB and at most {} kB are sent: its receiver has to ask for the event by its id",
                bytes.div_ceil(1024),
                LARGEST / 1024
            ),
        )
    }

    pub fn blocked_name(name: &str, why: Blocked) -> Failure {
        Failure::new(FailureClass::Blocked, format!("{name}: {why}"))
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Sent {
    pub result: Result<Answer, Failure>,
    /// Of an answer that did not come to its end: what was known of it.
    pub partial: Option<(u16, HeaderMap)>,
    pub timings: Timings,
    pub peer: Option<SocketAddr>,
    /// `TLSv1.3`. `None`: plain, or it did not come to that.
    pub tls: Option<&'static str>,
}

impl Sent {
    /// It was not even tried.
    pub fn nothing(why: Failure) -> Sent {
        Sent {
            result: Err(why),
            partial: None,
            timings: Timings::default(),
            peer: None,
            tls: None,
        }
    }
}

/// What is known while it goes on, for when the time is over in the middle of it.
#[derive(Default)]
struct Progress {
    timings: Timings,
    peer: Option<SocketAddr>,
    tls: Option<&'static str>,
    partial: Option<(u16, HeaderMap)>,
}

impl Client {
    pub fn new(names: Arc<dyn Resolve>) -> Client {
        Client {
            connector: Connector::new(names),
            pool: Pool::default(),
        }
    }

    /// Sends it, once. A kept connection that turns out to be closed before anything was written is not a send.
    pub async fn post(&self, post: Post<'_>) -> Sent {
        let began = Instant::now();
        let mut progress = Progress::default();
        let timeout = post.timeout;
        let result = tokio::time::timeout(timeout, self.steps(post, &mut progress))
            .await
            .unwrap_or_else(|_| Err(out_of_time(timeout, &progress)));
        progress.timings.total_ms = ms(began.elapsed());
        Sent {
            partial: progress.partial.filter(|_| result.is_err()),
            result,
            timings: progress.timings,
            peer: progress.peer,
            tls: progress.tls,
        }
    }

    /// Closes connections that have waited for too long.
    pub fn tidy(&self) {
        self.pool.tidy();
    }

    async fn steps(&self, post: Post<'_>, progress: &mut Progress) -> Result<Answer, Failure> {
        let Post {
            target,
            guard,
            headers,
            body,
            ..
        } = post;
        let mut request = Request::post(target.path.as_str())
            .body(Full::new(body))
            .map_err(|e| Failure::new(FailureClass::Protocol, e.to_string()))?;
        *request.headers_mut() = headers;
        let host = hyper::header::HeaderValue::from_str(&target.authority)
            .map_err(|e| Failure::new(FailureClass::Protocol, e.to_string()))?;
        request.headers_mut().insert(hyper::header::HOST, host);

        while let Some(live) = self.pool.take(target) {
            // What was allowed when it was opened may not be any more.
            if guard.peer(live.peer, &target.host).is_err() {
                continue;
            }
            (progress.peer, progress.tls) = (Some(live.peer), live.tls);
            match self.exchange(live, target, request, progress, true).await {
                Exchange::Done(result) => return result,
                Exchange::NotSent(unsent) => request = *unsent,
            }
        }
        let live = self
            .connector
            .connect(target, guard, &mut progress.timings)
            .await?;
        (progress.peer, progress.tls) = (Some(live.peer), live.tls);
        match self.exchange(live, target, request, progress, false).await {
            Exchange::Done(result) => result,
            Exchange::NotSent(_) => Err(hung_up()),
        }
    }

    async fn exchange(
        &self,
        mut live: Box<Live>,
        target: &Target,
        request: Request<Full<Bytes>>,
        progress: &mut Progress,
        kept: bool,
    ) -> Exchange {
        if kept {
            // The connection first: if the other side has hung up meanwhile, it says so now.
            let usable = tokio::select! {
                biased;
                _ = &mut live.conn => false,
                ready = live.sender.ready() => ready.is_ok(),
            };
            if !usable {
                return Exchange::NotSent(Box::new(request));
            }
        }
        let mut open = true;
        let began = Instant::now();
        let answer = live.sender.try_send_request(request);
        tokio::pin!(answer);
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            _ = &mut live.conn => {
                open = false;
                answer.await
            }
        };
        let response = match answered {
            Ok(response) => response,
            Err(mut error) => {
                return match error.take_message() {
                    Some(unsent) if kept => Exchange::NotSent(Box::new(unsent)),
                    _ => Exchange::Done(Err(no_answer(&error.into_error()))),
                };
            }
        };
        progress.timings.first_byte_ms = Some(ms(began.elapsed()));
        Exchange::Done(self.read(response, live, open, target, progress).await)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        mut live: Box<Live>,
        mut open: bool,
        target: &Target,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let began = Instant::now();
        let (head, mut incoming) = response.into_parts();
        let status = head.status.as_u16();
        progress.partial = Some((status, head.headers.clone()));
        let mut answer = Answer {
            status,
            headers: head.headers,
            body: vec![],
            cut: false,
        };
        loop {
            let frame = tokio::select! {
                biased;
                frame = incoming.frame() => frame,
                _ = &mut live.conn, if open => {
                    open = false;
                    continue;
                }
            };
            match frame {
                None => break,
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        let room = KEPT - answer.body.len();
                        answer
                            .body
                            .extend_from_slice(&piece[..piece.len().min(room)]);
                        if piece.len() > room {
                            answer.cut = true;
                            break;
                        }
                    }
                }
                Some(Err(error)) => {
                    let text = format!("the answer ({status}) broke off: {error}");
                    return Err(Failure::new(FailureClass::Closed, text));
                }
            }
        }
        progress.timings.body_ms = Some(ms(began.elapsed()));
        // What was not read to its end is dropped, and the connection with it.
        if open && !answer.cut {
            self.pool.give_back(target, live);
        }
        Ok(answer)
    }
}

enum Exchange {
    Done(Result<Answer, Failure>),
    /// Nothing of it was written.
    NotSent(Box<Request<Full<Bytes>>>),
}

fn hung_up() -> Failure {
    Failure::new(
        FailureClass::Closed,
        "the other side hung up before it had answered",
    )
}

fn no_answer(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::new(
            FailureClass::Protocol,
            format!("what came back is no HTTP answer: {error}"),
        );
    }
    hung_up()
}

fn out_of_time(timeout: Duration, progress: &Progress) -> Failure {
    let limit = timeout.as_secs_f32();
    let text = match (&progress.partial, progress.peer) {
        (Some((status, _)), _) => {
            format!("the answer ({status}) did not come to its end within {limit} s")
        }
        (None, Some(_)) => format!("no answer within {limit} s"),
        (None, None) => format!("no connection within {limit} s"),
    };
    Failure::new(FailureClass::Timeout, text)
}

pub fn ms(time: Duration) -> f32 {
    time.as_secs_f32() * 1_000.0
}
