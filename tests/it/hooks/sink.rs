//! A receiver that keeps what it gets and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bizing_engine::delivery::webhook::sign::{self, Rejected, SigningSecret};

#[derive(Debug, Clone)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|v| v.to_str().unwrap())
            .unwrap_or_default()
    }

    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub fn verify(&self, secrets: &[SigningSecret]) -> Result<(), Rejected> {
        sign::verify(
            secrets,
            Some(self.header("webhook-id")),
            Some(self.header("webhook-timestamp")),
            Some(self.header("webhook-signature")),
            &self.body,
            chrono::Utc::now().timestamp(),
        )
    }
}

#[derive(Clone)]
pub enum Say {
    Code(u16),
    With(u16, Vec<(&'static str, String)>, String),
    Never,
}

type Script = Arc<dyn Fn(usize, &Got) -> Say + Send + Sync>;

#[derive(Clone)]
pub struct Sink {
    pub addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Script>>,
}

impl Sink {
    /// Answers 200.
    pub async fn start() -> Sink {
        Sink::saying(|_, _| Say::Code(200)).await
    }

    /// `script`: what it says to the n-th message, from 0.
    pub async fn saying(script: impl Fn(usize, &Got) -> Say + Send + Sync + 'static) -> Sink {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Sink {
            addr: listener.local_addr().unwrap(),
            got: Default::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
        };
        let app = Router::new().fallback(take).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        sink
    }

    pub fn say(&self, script: impl Fn(usize, &Got) -> Say + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub fn ids(&self) -> Vec<String> {
        self.got().iter().map(Got::id).collect()
    }

    pub async fn wait_for(&self, n: usize) -> Vec<Got> {
        super::wait_until(&format!("{n} messages arrive"), super::SOON, async || {
            self.count() >= n
        })
        .await;
        self.got()
    }
}

async fn take(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> Response {
    let got = Got {
        headers,
        body,
        at: Instant::now(),
    };
    let (n, script) = {
        let mut all = sink.got.lock().unwrap();
        all.push(got.clone());
        (all.len() - 1, sink.script.lock().unwrap().clone())
    };
    match script(n, &got) {
        Say::Code(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Say::With(code, headers, body) => {
            let mut response = Response::builder().status(code);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).unwrap()
        }
        Say::Never => std::future::pending().await,
    }
}
