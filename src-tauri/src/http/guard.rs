//! What a request must bring, and what every answer carries.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bizing_engine::app::wire::{AppError, Code};

use super::Door;

/// A form or an image of another page cannot send it.
pub const OURS: HeaderName = HeaderName::from_static("x-bizing-desk");

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; connect-src 'self' ws://127.0.0.1:* ws://localhost:*; img-src 'self' data:; \
     style-src 'self' 'unsafe-inline'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// Refuses names that are not this computer's: a page whose name was pointed here (DNS rebinding) sends its own.
pub async fn this_computer(request: Request, next: Next) -> Response {
    let host = header(request.headers(), &HOST).unwrap_or_default();
    if !is_this_computer(host) {
        return refused(
            StatusCode::FORBIDDEN,
            "This desk answers only under the address that `bizing-desk serve` printed.",
        );
    }
    // Sent by browsers with every request that could do harm. The port counts here: other programs have pages too.
    if let Some(origin) = header(request.headers(), &ORIGIN)
        && origin.strip_prefix("http://") != Some(host)
    {
        return refused(StatusCode::FORBIDDEN, "Another page may not use this desk.");
    }
    next.run(request).await
}

/// Lets in who has the cookie; a request that could change something must also be the window's own.
pub async fn session(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if !door.access.is_inside(request.headers()) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "This browser has not shown the token of this desk: open the address that `bizing-desk serve` printed.",
        );
    }
    let is_post = request.method() == axum::http::Method::POST;
    if is_post && header(request.headers(), &OURS) != Some("1") {
        return refused(
            StatusCode::FORBIDDEN,
            "The header `x-bizing-desk: 1` is missing: only the desk's own window may ask.",
        );
    }
    next.run(request).await
}

pub async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        // The first address holds the token.
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ] {
        headers.insert(name, value);
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refusals of the door itself have the shape of every other error.
pub fn refused(status: StatusCode, why: &str) -> Response {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Forbidden,
        _ => Code::Invalid,
    };
    (status, Json(AppError::new(code, why))).into_response()
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Any port: a development server in front of this one has another, and a foreign name is refused all the same.
fn is_this_computer(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::is_this_computer;

    #[test]
    fn only_names_of_this_computer_pass() {
        for host in ["127.0.0.1:7310", "localhost:80", "localhost", "[::1]:7310"] {
            assert!(is_this_computer(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:7310",
            "localhost:",
            "::1",
            "10.0.0.1:7310",
        ] {
            assert!(!is_this_computer(host), "{host}");
        }
    }
}
