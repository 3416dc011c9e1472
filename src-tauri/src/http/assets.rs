//! The window's own files, carried in the binary, and the page where the token is exchanged.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::Door;

/// Name and bytes of each file in `ui/dist`; empty when the window was not built.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/window_files.rs"));

#[derive(Deserialize)]
pub struct Asked {
    token: Option<String>,
}

pub async fn page(
    State(door): State<Arc<Door>>,
    Query(asked): Query<Asked>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match (uri.path(), asked.token) {
        ("/", Some(token)) => enter(&door, &token, &headers),
        (path, _) => file(path.trim_start_matches('/')),
    }
}

/// The token leaves the address bar at once, and with it the history.
fn enter(door: &Door, token: &str, headers: &HeaderMap) -> Response {
    if let Some(cookie) = door.access.exchange(token) {
        return (
            StatusCode::SEE_OTHER,
            [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)],
        )
            .into_response();
    }
    if door.access.is_inside(headers) {
        return (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response();
    }
    let text = "<p>This link has been used already, or belongs to a desk that has ended. Stop \
                <code>bizing-desk serve</code>, start it again and open the address that it prints.</p>";
    (StatusCode::UNAUTHORIZED, said(text)).into_response()
}

fn file(path: &str) -> Response {
    if FILES.is_empty() {
        let text = "<p>This build carries no window. Build it with <code>npm --prefix ui ci</code> and \
                    <code>npm --prefix ui run build</code>, then build the program again.</p>";
        return (StatusCode::NOT_FOUND, said(text)).into_response();
    }
    if let Some(content) = find(path) {
        return sent(path, content);
    }
    // An address inside the window is the window's to read; a file that is not there is not there.
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    match find("index.html") {
        Some(content) if !is_file => sent("index.html", content),
        _ => (StatusCode::NOT_FOUND, "There is no such file.").into_response(),
    }
}

fn find(path: &str) -> Option<&'static [u8]> {
    let at = FILES.binary_search_by(|(name, _)| (*name).cmp(path)).ok()?;
    Some(FILES[at].1)
}

fn sent(path: &str, content: &'static [u8]) -> Response {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let kind = match kind.type_() == mime_guess::mime::TEXT {
        true => format!("{kind}; charset=utf-8"),
        false => kind.to_string(),
    };
    // Files below `assets` carry a hash of their content in their name.
    let cache = match path.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-store",
    };
    (
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, cache.to_owned())],
        content,
    )
        .into_response()
}

fn said(text: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Bizing Desk</title><h1>Bizing Desk</h1>{text}</html>"
    ))
}
