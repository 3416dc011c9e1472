//! Our signatures are what the packages of other languages take, and theirs are what we take.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bizing_engine::delivery::webhook::sign::{self, SigningSecret};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Hooks;
use super::sink::{Got, Sink};

struct Peer {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn python() -> Peer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".cache/peers/bin/python");
        assert!(
            python.exists(),
            "this test needs the peers: `make test-rust` installs them"
        );
        Peer::start(Command::new(python).arg(root.join("tests/peers/webhooks.py")))
    }

    fn node() -> Peer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/webhooks");
        assert!(
            folder.join("node_modules").exists(),
            "this test needs the peers: `make test-rust` installs them"
        );
        Peer::start(Command::new("node").arg(folder.join("peers.mjs")))
    }

    fn start(command: &mut Command) -> Peer {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Peer {
            asks: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.asks, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the peer said {line:?} to {question}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PACKAGES: [&str; 2] = ["standardwebhooks", "svix"];

fn headers(got: &Got) -> BTreeMap<String, String> {
    ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), got.header(name).to_owned()))
        .into()
}

#[tokio::test]
async fn what_we_send_is_taken_by_four_foreign_packages_and_what_was_changed_by_none() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 1).await;
    let got = sink.wait_for(1).await.remove(0);
    worker.close().await;

    let body = String::from_utf8(got.body.to_vec()).unwrap();
    let (secret, other) = (made.secret.reveal(), SigningSecret::random().reveal());
    let with = |name: &str, value: &str| {
        let mut headers = headers(&got);
        headers.insert(name.to_owned(), value.to_owned());
        headers
    };
    let without = |name: &str| {
        let mut headers = headers(&got);
        headers.remove(name);
        headers
    };
    let now: i64 = got.header("webhook-timestamp").parse().unwrap();
    let good = got.header("webhook-signature").to_owned();
    for (name, mut peer) in [("PyPI", Peer::python()), ("npm", Peer::node())] {
        for package in PACKAGES {
            let mut verify = |secret: &str, headers: BTreeMap<String, String>, body: &str| {
                let answer = peer.ask(&json!({ "with": package, "do": "verify", "secret": secret, "headers": headers, "body": body }));
                answer["ok"].as_bool().unwrap()
            };
            let who = format!("{package} of {name}");
            assert!(verify(&secret, headers(&got), &body), "{who}");
            assert!(
                verify(
                    &secret,
                    with("webhook-signature", &format!("v1,AAAA v2,xx {good}")),
                    &body
                ),
                "{who}"
            );
            for (what, accepted) in [
                ("another secret", verify(&other, headers(&got), &body)),
                (
                    "a space more",
                    verify(&secret, headers(&got), &format!("{body} ")),
                ),
                (
                    "another id",
                    verify(&secret, with("webhook-id", "msg_other"), &body),
                ),
                ("no id", verify(&secret, without("webhook-id"), &body)),
                (
                    "no time",
                    verify(&secret, without("webhook-timestamp"), &body),
                ),
                (
                    "no signature",
                    verify(&secret, without("webhook-signature"), &body),
                ),
                (
                    "a time that is none",
                    verify(&secret, with("webhook-timestamp", "hello"), &body),
                ),
                (
                    "six minutes old",
                    verify(
                        &secret,
                        with("webhook-timestamp", &(now - 360).to_string()),
                        &body,
                    ),
                ),
                (
                    "half a signature",
                    verify(&secret, with("webhook-signature", &good[..20]), &body),
                ),
                (
                    "an empty signature",
                    verify(&secret, with("webhook-signature", "v1,"), &body),
                ),
            ] {
                assert!(!accepted, "{who} took {what}");
            }
        }
    }
}

#[test]
fn what_foreign_packages_sign_is_taken_by_us_and_is_byte_for_byte_what_we_sign() {
    let secret = SigningSecret::random();
    let now = chrono::Utc::now().timestamp();
    for (name, mut peer) in [("PyPI", Peer::python()), ("npm", Peer::node())] {
        for (n, body) in [
            r#"{"test": 2432232314}"#,
            "{}",
            r#"{"name":"Inês ✓ 漢字 😀"}"#,
            "",
        ]
        .iter()
        .enumerate()
        {
            let id = format!("msg_{n}");
            for package in PACKAGES {
                let ask = json!({ "with": package, "do": "sign", "secret": secret.reveal(), "id": id, "at": now, "body": body });
                let signed = peer.ask(&ask)["signature"].as_str().unwrap().to_owned();
                let who = format!("{package} of {name}, {body}");
                assert_eq!(
                    signed,
                    sign::header([&secret], &id, now, body.as_bytes()),
                    "{who}"
                );
                let at = now.to_string();
                let check = |secrets: &[SigningSecret]| {
                    sign::verify(
                        secrets,
                        Some(&id),
                        Some(&at),
                        Some(&signed),
                        body.as_bytes(),
                        now,
                    )
                };
                assert_eq!(
                    check(&[SigningSecret::random(), secret.clone()]),
                    Ok(()),
                    "{who}"
                );
                assert!(check(&[SigningSecret::random()]).is_err(), "{who}");
            }
        }
    }
}
