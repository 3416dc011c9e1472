//! What a person sees: the customer's checkout page and the overview.

mod checkout;
mod overview;

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{Path, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY},
    },
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;

use crate::{api, model::Session, shared::Shared};

pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(overview))
        .route("/c/{session}", get(checkout_page).post(checkout_action))
        .route(
            "/c/{session}/authenticate",
            get(challenge_page).post(challenge_action),
        )
        .route("/c/{session}/closed", get(closed_page))
}

async fn overview(State(shared): State<Arc<Shared>>) -> Response {
    page("Sandbox", &overview::body(&shared.world(), &shared.faults))
}

async fn checkout_page(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    show(&shared, &id, |session, error| {
        checkout::body(session, error)
    })
}

async fn challenge_page(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    show(&shared, &id, |session, _| checkout::challenge(session))
}

async fn closed_page(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    show(&shared, &id, |session, _| checkout::closed(session))
}

fn show(
    shared: &Shared,
    id: &str,
    body: impl FnOnce(&Session, Option<&str>) -> String,
) -> Response {
    let world = shared.world();
    let Ok(session) = world.find_session(id) else {
        let mut response = page("Not found", &checkout::not_found());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let intent = session.intent.as_ref().and_then(|id| world.intents.get(id));
    let error = intent.and_then(|intent| intent.last_payment_error.as_ref()?["message"].as_str());
    page(&session.product, &body(&session, error))
}

#[derive(Deserialize)]
struct Submitted {
    action: Action,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Pay,
    Decline,
    Authenticate,
    Close,
    Approve,
    Fail,
}

async fn checkout_action(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Form(form): Form<Submitted>,
) -> Response {
    act(&shared, &id, form.action)
}

async fn challenge_action(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Form(form): Form<Submitted>,
) -> Response {
    act(&shared, &id, form.action)
}

fn act(shared: &Shared, id: &str, action: Action) -> Response {
    let faults = shared.faults.meet("pay");
    let done = api::change(shared, &faults, |world| match action {
        Action::Pay | Action::Approve => world.customer_pays(id),
        Action::Decline => world.customer_is_declined(id),
        Action::Authenticate => world.customer_is_challenged(id),
        Action::Fail => world.customer_fails_challenge(id),
        Action::Close => world.find_session(id).map(|_| ()),
    });
    if done.is_err() {
        return StatusCode::NOT_FOUND.into_response();
    }
    Redirect::to(&match action {
        Action::Authenticate => format!("/c/{id}/authenticate"),
        Action::Close => format!("/c/{id}/closed"),
        Action::Pay | Action::Decline | Action::Approve | Action::Fail => format!("/c/{id}"),
    })
    .into_response()
}

fn page(title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{}</style>
</head>
<body>
<p class="banner" role="note">Sandbox: no money moves</p>
{body}
</body>
</html>
"#,
        include_str!("style.css")
    );
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Everything that came from outside passes through here before it is HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// `8000, "eur"` → `€80.00`.
fn money(amount: i64, currency: &str) -> String {
    let decimals = match currency {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "ugx"
        | "vnd" | "vuv" | "xaf" | "xof" | "xpf" => 0,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    };
    let unit = 10_i64.pow(decimals);
    let whole = if decimals == 0 {
        amount.to_string()
    } else {
        format!(
            "{}.{:0width$}",
            amount / unit,
            amount % unit,
            width = decimals as usize
        )
    };
    match currency {
        "eur" => format!("€{whole}"),
        "usd" => format!("${whole}"),
        "gbp" => format!("£{whole}"),
        "jpy" => format!("¥{whole}"),
        other => format!("{whole} {}", other.to_uppercase()),
    }
}

fn moment(at: i64, format: &str) -> String {
    chrono::DateTime::from_timestamp(at, 0)
        .unwrap_or_default()
        .format(format)
        .to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(super::money(8000, "eur"), "€80.00");
        assert_eq!(super::money(5, "usd"), "$0.05");
        assert_eq!(super::money(1200, "jpy"), "¥1200");
        assert_eq!(super::money(12345, "kwd"), "12.345 KWD");
    }
}
