//! The HTTP door: who gets in, and what is refused before it reaches the engine.

use std::time::Duration;

use reqwest::header::{CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{Served, command, data_folder};

/// A browser that follows nothing and remembers nothing.
fn bare() -> Client {
    let nowhere = reqwest::redirect::Policy::none();
    Client::builder()
        .redirect(nowhere)
        .no_proxy()
        .build()
        .unwrap()
}

async fn cookie(served: &Served) -> String {
    let entered = bare()
        .get(format!("{}/?token={}", served.url, served.token))
        .send()
        .await
        .unwrap();
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        entered.headers()[LOCATION],
        "/",
        "the token leaves the address bar"
    );
    let cookie = entered.headers()[SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    cookie.split(';').next().unwrap().to_owned()
}

fn ask(served: &Served, cookie: &str) -> RequestBuilder {
    let request = bare().post(format!("{}/rpc/host_state", served.url));
    request
        .header(COOKIE, cookie)
        .header("x-bizing-desk", "1")
        .body("{}")
}

async fn refused(request: RequestBuilder, status: StatusCode) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    let body: Value = response.json().await.unwrap();
    assert!(
        body["message"].is_string() && body["correlation_id"].is_string(),
        "{body}"
    );
}

#[tokio::test]
async fn only_the_desks_own_page_gets_in() {
    let data = data_folder();
    let served = Served::start(data.path());
    let cookie = cookie(&served).await;
    assert_eq!(
        ask(&served, &cookie).send().await.unwrap().status(),
        StatusCode::OK
    );

    let url = format!("{}/rpc/host_state", served.url);
    let no_cookie = bare().post(&url).header("x-bizing-desk", "1").body("{}");
    refused(no_cookie, StatusCode::UNAUTHORIZED).await;
    refused(
        ask(&served, "bizing_desk_1=guess"),
        StatusCode::UNAUTHORIZED,
    )
    .await;
    let no_header = bare().post(&url).header(COOKIE, &cookie).body("{}");
    refused(no_header, StatusCode::FORBIDDEN).await;
    refused(
        ask(&served, &cookie).header(HOST, "rebound.example:80"),
        StatusCode::FORBIDDEN,
    )
    .await;
    refused(
        ask(&served, &cookie).header(ORIGIN, "http://127.0.0.1:1"),
        StatusCode::FORBIDDEN,
    )
    .await;
    let large = ask(&served, &cookie).body("x".repeat(1024 * 1024 + 1));
    refused(large, StatusCode::PAYLOAD_TOO_LARGE).await;
    refused(ask(&served, &cookie).body("{"), StatusCode::BAD_REQUEST).await;
    let unknown = bare().post(format!("{}/rpc/drop_everything", served.url));
    refused(
        unknown
            .header(COOKIE, &cookie)
            .header("x-bizing-desk", "1")
            .body("{}"),
        StatusCode::NOT_FOUND,
    )
    .await;
}

#[tokio::test]
async fn a_token_works_once() {
    let data = data_folder();
    let served = Served::start(data.path());
    let cookie = cookie(&served).await;
    let again = || bare().get(format!("{}/?token={}", served.url, served.token));
    assert_eq!(
        again().send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let reloaded = again().header(COOKIE, cookie).send().await.unwrap();
    assert_eq!(
        reloaded.status(),
        StatusCode::SEE_OTHER,
        "who is inside already stays inside"
    );
    let guessed = bare()
        .get(format!("{}/?token=guess", served.url))
        .send()
        .await
        .unwrap();
    assert_eq!(guessed.status(), StatusCode::UNAUTHORIZED);
    assert!(guessed.headers().contains_key(CONTENT_SECURITY_POLICY));
}

#[tokio::test]
async fn a_fixed_token_opens_many_browsers() {
    let data = data_folder();
    let served = Served::with(data.path(), &[("BIZING_TOKEN", "fixed-for-this-test")]);
    assert_eq!(served.token, "fixed-for-this-test");
    assert_eq!(cookie(&served).await, cookie(&served).await);
}

#[tokio::test]
async fn a_listener_hears_a_heartbeat_at_once_and_hints_when_something_changes() {
    let data = data_folder();
    let served = Served::start(data.path());
    let cookie = cookie(&served).await;

    for (cookie, origin, status) in [
        ("", served.url.as_str(), "401"),
        (&cookie, "http://evil.example", "403"),
    ] {
        let (head, _) = listen(&served, cookie, origin).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    }
    let (head, mut socket) = listen(&served, &cookie, &served.url).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(hint(&mut socket).await, json!({ "topics": [] }));
    let choose = bare()
        .post(format!("{}/rpc/choose_start", served.url))
        .header(COOKIE, &cookie)
        .header("x-bizing-desk", "1");
    choose.body(r#"{"choice":"explore"}"#).send().await.unwrap();
    let told = async { while hint(&mut socket).await != json!({ "topics": ["host"] }) {} };
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .unwrap();
}

/// A WebSocket by hand: the handshake, and the answer's head.
async fn listen(served: &Served, cookie: &str, origin: &str) -> (String, TcpStream) {
    let address = served.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /hints HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), socket)
}

/// One short text frame; pings are passed over.
async fn hint(socket: &mut TcpStream) -> Value {
    loop {
        let kind = socket.read_u8().await.unwrap() & 0x0f;
        let length = socket.read_u8().await.unwrap();
        assert!(length < 126, "hints are short");
        let mut text = vec![0; length.into()];
        socket.read_exact(&mut text).await.unwrap();
        if kind == 1 {
            return serde_json::from_slice(&text).unwrap();
        }
    }
}

#[tokio::test]
async fn webhooks_are_bounded_and_wait_for_a_desk() {
    let data = data_folder();
    let served = Served::start(data.path());
    let url = format!("{}/webhooks/stripe", served.url);
    let post = |body: String| bare().post(&url).body(body).send();
    assert_eq!(
        post("{}".into()).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        post("x".repeat(1024 * 1024 + 1)).await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    served.explore().await;
    assert_eq!(
        post("{}".into()).await.unwrap().status(),
        StatusCode::BAD_REQUEST,
        "no signature"
    );
}

#[test]
fn what_cannot_be_understood_ends_with_2_and_a_sentence() {
    let data = data_folder();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(data.path());
        let output = command
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["sevre"], &[]).contains("Usage: bizing-desk"));
    assert!(run(&["serve", "--port", "1"], &[]).contains("--port"));
    assert!(run(&["serve", "--listen", "0.0.0.0:7310"], &[]).contains("this computer only"));
    assert!(run(&["serve"], &[("BIZING_TOKEN", "short")]).contains("at least 16"));
    assert!(run(&["migrate"], &[("DATABASE_URL", "mysql://ana@host/db")]).contains("DATABASE_URL"));
}

#[tokio::test]
async fn figures_are_for_whoever_brings_the_token_and_add_up() {
    let data = data_folder();
    let served = Served::with(data.path(), &[("BIZING_TOKEN", "figures-of-the-desk-0")]);
    served.explore().await;
    let figures = bare().get(format!("{}/metrics", served.url));
    let stranger = figures.try_clone().unwrap().send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let known = figures
        .bearer_auth("figures-of-the-desk-0")
        .send()
        .await
        .unwrap();
    assert_eq!(known.status(), StatusCode::OK);
    let text = known.text().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("bizing_log_safe_position") > 100.0);
    assert_eq!(value("bizing_workers"), 1.0);
    assert!(value("bizing_append_seconds_count") >= 0.0);
    assert!(
        value("bizing_append_seconds_bucket{le=\"+Inf\"}")
            >= value("bizing_append_seconds_bucket{le=\"0.0005\"}")
    );
    assert!(
        text.contains("projection=\"bookings\",generation=\"1\",role=\"live\""),
        "{text}"
    );
}
