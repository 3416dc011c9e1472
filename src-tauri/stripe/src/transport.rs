//! One request over the app's shared client, one bounded reply, no retry.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT},
};

use crate::{API_VERSION, Config, Encoded, Failure};

/// A page of a hundred events is a few hundred kilobytes. Whatever is longer isn't Stripe's answer.
const LARGEST_REPLY: usize = 16 * 1024 * 1024;

pub(crate) struct Reply {
    pub status: u16,
    pub request_id: Option<String>,
    pub replayed: bool,
    pub retry_after: Option<Duration>,
    pub should_retry: Option<bool>,
    /// Their clock, in Unix seconds.
    pub answered_at: Option<i64>,
    pub body: Vec<u8>,
}

pub(crate) async fn attempt(
    http: &reqwest::Client,
    config: &Config,
    request: &Encoded,
    idempotency_key: Option<&str>,
) -> Result<Reply, Failure> {
    let sending = prepare(http, config, request, idempotency_key)
        .map_err(|cause| Failure::NotSent { cause })?;
    let mut response = http.execute(sending).await.map_err(|error| {
        // Only a failure to connect proves that nothing left. A time-out, a reset or a closed connection may have
        // happened after Stripe had read the whole request.
        if error.is_connect() || error.is_builder() {
            Failure::NotSent {
                cause: explain(error),
            }
        } else {
            Failure::Unknown {
                cause: explain(error),
                status: None,
                request_id: None,
                stored: false,
            }
        }
    })?;

    let headers = response.headers();
    let mut reply = Reply {
        status: response.status().as_u16(),
        request_id: header(headers, "request-id").map(str::to_owned),
        replayed: header(headers, "idempotent-replayed") == Some("true"),
        retry_after: header(headers, RETRY_AFTER.as_str())
            .and_then(|s| s.trim().parse().ok())
            .map(Duration::from_secs),
        should_retry: header(headers, "stripe-should-retry").and_then(|s| s.parse().ok()),
        answered_at: header(headers, DATE.as_str()).and_then(unix_seconds),
        body: Vec::new(),
    };
    let cut = |cause: String, reply: &Reply| Failure::Unknown {
        cause,
        status: Some(reply.status),
        request_id: reply.request_id.clone(),
        stored: false,
    };
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if reply.body.len() + chunk.len() > LARGEST_REPLY => {
                return Err(cut(
                    format!("the answer is longer than {LARGEST_REPLY} bytes"),
                    &reply,
                ));
            }
            Ok(Some(chunk)) => reply.body.extend_from_slice(&chunk),
            Ok(None) => return Ok(reply),
            Err(error) => return Err(cut(explain(error), &reply)),
        }
    }
}

fn prepare(
    http: &reqwest::Client,
    config: &Config,
    request: &Encoded,
    idempotency_key: Option<&str>,
) -> Result<reqwest::Request, String> {
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| "the method is not HTTP".to_owned())?;
    let (path, _query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    // Ids arrive from databases and other people's events. One with a slash or dots in it would be another request.
    if !path.starts_with("/v1/")
        || !path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'/' || b == b'_')
    {
        return Err(format!("{path:?} is not a path of Stripe's API"));
    }
    let url = format!("{}{}", config.base_url.trim_end_matches('/'), request.path);
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", config.secret_key.expose()))
        .map_err(|_| "the API key holds characters that no key has".to_owned())?;
    bearer.set_sensitive(true);

    let mut builder = http
        .request(method, url)
        .timeout(config.timeout)
        .header(AUTHORIZATION, bearer)
        .header(
            USER_AGENT,
            concat!("bizing-desk/", env!("CARGO_PKG_VERSION")),
        )
        .header("stripe-version", API_VERSION);
    if request.method == "POST" {
        let key = idempotency_key.filter(|key| (1..=255).contains(&key.len()));
        let key = key
            .ok_or("a request that moves money needs an idempotency key of 1 to 255 characters")?;
        builder = builder
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(request.body.clone());
    }
    builder.build().map_err(explain)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn unix_seconds(date: &str) -> Option<i64> {
    let at = httpdate::parse_http_date(date).ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The whole chain in one line, without the URL: its query may hold what a person typed.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
