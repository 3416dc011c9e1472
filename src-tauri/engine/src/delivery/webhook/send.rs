//! One try: make the body, sign it, send it, say what came of it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use rand::Rng as _;
use serde_json::Value;
use uuid::Uuid;

use super::body;
use super::card::{Card, Shape};
use super::claim::Claimed;
use super::endpoint::Endpoint;
use super::headers::masked;
use super::schedule::{self, Next, Signals};
use super::sign;
use crate::delivery::http::{Client, Failure, FailureClass, LARGEST, Post, Sent, Timings};

const AGENT: &str = concat!("Bizing-Webhooks/", env!("CARGO_PKG_VERSION"));

/// A try with its end, as it is recorded.
#[derive(Debug)]
pub struct Finished {
    pub delivery_id: Uuid,
    pub destination_id: Uuid,
    pub fence: i64,
    pub no: i32,
    pub trigger: String,
    pub state: &'static str,
    /// Seconds until the next try.
    pub again_in: Option<f64>,
    pub result: &'static str,
    pub class: Option<&'static str>,
    pub error: Option<String>,
    pub url: String,
    pub shape: &'static str,
    pub status: Option<i16>,
    pub timings: Timings,
    pub peer: Option<String>,
    pub tls: Option<&'static str>,
    pub request_headers: String,
    pub response_headers: Option<String>,
    pub body: Option<Vec<u8>>,
    pub body_cut: bool,
    pub started_at: DateTime<Utc>,
    pub signals: Signals,
    /// Whether it says something about the endpoint: what a person sends again does not.
    pub counts: bool,
    pub clean: bool,
}

/// The body of a delivery. `None`: the event is gone, or this program does not know the type of a test.
pub fn body_of(claimed: &Claimed) -> Option<Bytes> {
    if claimed.body.is_none() && claimed.trigger == "test" {
        return body::render_example(&claimed.event_name, claimed.delivery_id, claimed.created_at)
            .map(Bytes::from);
    }
    claimed.body.clone()
}

/// What this endpoint is sent of it. `began`: the data of the first event of its stream.
pub fn shaped(endpoint: &Endpoint, body: Bytes, began: Option<&Value>, test: bool) -> Bytes {
    match endpoint.shape {
        Shape::Event => body,
        shape => match serde_json::from_slice(&body) {
            Ok(event) => Card::of_event(&event, began, test).written(shape),
            // Our own JSON; should it be none, nothing else is made of it.
            Err(_) => body,
        },
    }
}

pub async fn send(client: &Client, endpoint: &Endpoint, claimed: Claimed, body: Bytes) -> Finished {
    let started_at = Utc::now();
    let headers = headers(endpoint, &claimed, &body, started_at);
    let request_headers = masked(&headers);
    let sent = match &endpoint.target {
        _ if body.len() > LARGEST => Sent::nothing(Failure::too_large(body.len())),
        Ok(target) => {
            let post = Post {
                target,
                guard: &endpoint.guard,
                headers,
                body,
                timeout: endpoint.timeout,
            };
            client.post(post).await
        }
        Err(why) => Sent::nothing(Failure::blocked(why.clone())),
    };
    finished(endpoint, claimed, sent, request_headers, started_at)
}

fn finished(
    endpoint: &Endpoint,
    claimed: Claimed,
    sent: Sent,
    request_headers: String,
    started_at: DateTime<Utc>,
) -> Finished {
    let tries = usize::try_from(claimed.tries).unwrap_or(1);
    let dice = rand::rng().random::<f64>();
    let test = claimed.trigger == "test";
    let schedule = match test {
        true => &schedule::OF_A_TEST[..],
        false => &endpoint.schedule,
    };
    let verdict = schedule::judge(
        &sent.result,
        sent.peer.is_some(),
        tries,
        schedule,
        dice,
        Utc::now(),
    );
    let next = match test {
        true => schedule::of_a_test(verdict.next),
        false => verdict.next,
    };
    let (state, again_in) = match next {
        Next::Delivered => ("delivered", None),
        Next::Again(seconds) => ("scheduled", Some(seconds)),
        Next::GaveUp => ("gave_up", None),
    };
    let (status, response_headers, body, body_cut) = match (sent.result, sent.partial) {
        (Ok(answer), _) => (
            Some(answer.status),
            Some(masked(&answer.headers)),
            Some(answer.body),
            answer.cut,
        ),
        (Err(_), Some((status, headers))) => (Some(status), Some(masked(&headers)), None, true),
        (Err(_), None) => (None, None, None, false),
    };
    Finished {
        delivery_id: claimed.delivery_id,
        destination_id: claimed.destination_id,
        fence: claimed.fence,
        no: claimed.no,
        counts: (claimed.trigger == "auto" || claimed.probe)
            && verdict.class != Some(FailureClass::TooLarge.word()),
        trigger: claimed.trigger,
        state,
        again_in,
        result: verdict.result,
        class: verdict.class,
        error: verdict.error,
        url: endpoint.url.clone(),
        shape: endpoint.shape.word(),
        status: status.and_then(|s| i16::try_from(s).ok()),
        timings: sent.timings,
        peer: sent.peer.map(|p| p.to_string()),
        tls: sent.tls,
        request_headers,
        response_headers,
        body: body.filter(|b| !b.is_empty()),
        body_cut,
        started_at,
        signals: verdict.signals,
        clean: claimed.clean,
    }
}

fn headers(endpoint: &Endpoint, claimed: &Claimed, body: &[u8], now: DateTime<Utc>) -> HeaderMap {
    let test = claimed.trigger == "test";
    let id = body::message_id(claimed.event_id, test);
    let timestamp = now.timestamp();
    let signature = sign::header(endpoint.secrets(now), &id, timestamp, body);
    let mut headers = HeaderMap::with_capacity(12 + endpoint.headers.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signature),
        ("bizing-delivery-id", claimed.delivery_id.to_string()),
        ("bizing-attempt", claimed.no.to_string()),
    ] {
        // Letters, digits and signs that a header may hold.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if test {
        headers.insert("bizing-test", HeaderValue::from_static("1"));
    }
    if claimed.trigger == "replay" {
        headers.insert("bizing-replay", HeaderValue::from_static("1"));
    }
    for (name, value) in &endpoint.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers
}
