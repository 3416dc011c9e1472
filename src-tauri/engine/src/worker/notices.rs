//! Telling people of endpoints that need them, at the addresses that an admin named: by e-mail, or in a chat program.
//!
//! At least once: a notice is owed until it is taken. A mail has the same id each time, by which mailboxes know it again.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use sqlx::{FromRow, PgPool};

use super::MailParts;
use crate::connectors::email::{Mail, SendFailure};
use crate::delivery::http::{Client, Post, Resolve, TargetHost};
use crate::delivery::webhook;
use crate::delivery::webhook::card::{Card, Shape};

const AT_ONCE: i32 = 10;
const TIMEOUT: Duration = Duration::from_secs(15);

pub struct Notices {
    pub pool: PgPool,
    pub mail: Option<MailParts>,
    pub client: Client,
    /// The mail's id is unique with it.
    pub installation: String,
}

#[derive(Debug, Clone, FromRow)]
struct Notice {
    change_id: i64,
    entry: String,
    at: DateTime<Utc>,
    what: String,
    reason: String,
    name: Option<String>,
    host: Option<String>,
    facts: Option<Value>,
    off_at: Option<DateTime<Utc>>,
}

/// Why one was not taken. `over`: it will be refused again.
struct Refused {
    why: String,
    over: bool,
}

impl Notices {
    pub fn new(
        pool: PgPool,
        mail: Option<MailParts>,
        names: Arc<dyn Resolve>,
        installation: String,
    ) -> Notices {
        Notices {
            pool,
            mail,
            client: Client::new(names),
            installation,
        }
    }

    pub async fn round(&self) -> sqlx::Result<usize> {
        let due: Vec<Notice> = sqlx::query_as("select * from delivery.claim_notices($1, $2)")
            .bind(AT_ONCE)
            .bind(self.mail.is_some())
            .fetch_all(&self.pool)
            .await?;
        for one in &due {
            let told = match one.entry.contains("://") {
                true => self.post(one).await?,
                false => self.mail(one).await,
            };
            let refused = told.err();
            if let Some(refused) = &refused {
                tracing::warn!(
                    change = one.change_id,
                    problem = refused.why,
                    over = refused.over,
                    "a notice about an endpoint was not taken"
                );
            }
            sqlx::query("select delivery.note_notice($1, $2, $3, $4)")
                .bind(one.change_id)
                .bind(&one.entry)
                .bind(refused.as_ref().map(|r| &r.why))
                .bind(refused.as_ref().is_some_and(|r| r.over))
                .execute(&self.pool)
                .await?;
        }
        Ok(due.len())
    }

    async fn mail(&self, notice: &Notice) -> Result<(), Refused> {
        let Some(mail) = &self.mail else {
            return Err(Refused {
                why: "no mail server is set up on this computer".to_owned(),
                over: false,
            });
        };
        let card = notice.card();
        let domain = mail.from.rsplit('@').next().unwrap_or("localhost");
        let id = format!("notice.{}.{}@{domain}", notice.change_id, self.installation);
        let sent = mail.mailer.send(&letter(&notice.entry, &card), &id).await;
        sent.map(|_| ()).map_err(|failure| Refused {
            over: matches!(
                failure,
                SendFailure::Refused { .. } | SendFailure::Unsendable { .. }
            ),
            why: failure.to_string(),
        })
    }

    /// To a chat program, through the same check of addresses as everything that leaves.
    async fn post(&self, notice: &Notice) -> sqlx::Result<Result<(), Refused>> {
        let ports = [self.pool.connect_options().get_port()];
        let guard = webhook::guard(&self.pool, &ports).await?;
        let target = match guard.url(&notice.entry) {
            Ok(target) => target,
            Err(why) => {
                return Ok(Err(Refused {
                    why: why.to_string(),
                    over: false,
                }));
            }
        };
        let shape = match &target.host {
            TargetHost::Name(name) => Shape::by_host(name),
            TargetHost::Address(_) => Shape::Slack,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let sent = self
            .client
            .post(Post {
                target: &target,
                guard: &guard,
                headers,
                body: notice.card().written(shape),
                timeout: TIMEOUT,
            })
            .await;
        Ok(match sent.result {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(Refused {
                why: format!("answered {}", answer.status),
                over: answer.status == 410,
            }),
            Err(failure) => Err(Refused {
                why: failure.text,
                over: false,
            }),
        })
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%a %-d %b %Y %H:%M UTC").to_string()
}

impl Notice {
    fn card(&self) -> Card {
        let name = self.name.as_deref().unwrap_or("an endpoint");
        let fact = |field: &str| self.facts.as_ref().and_then(|f| f[field].as_str());
        let (title, text) = match (self.what.as_str(), self.reason.as_str()) {
            ("held", _) => (
                format!("Webhooks to {name} wait for a decision"),
                "No computer of this desk sent webhooks for more than a day. What had been due for longer is held: under Deliveries, Endpoints, choose whether all of it is sent, only the newest of each booking, or none.",
            ),
            ("warned", _) => (
                format!("Webhooks to {name} do not arrive"),
                "Nothing has got through since then. If nothing does until the time below, the endpoint turns itself off and events are no longer owed to it.",
            ),
            (_, "gone") => (
                format!("Webhooks to {name} are turned off"),
                "Its receiver answered 410: it wants nothing any more. If that is a mistake, turn it on again under Deliveries, Endpoints; what happened meanwhile can then be sent as well.",
            ),
            _ => (
                format!("Webhooks to {name} are turned off"),
                "Nothing got through for five days, and events are no longer owed to it. Once its receiver works, turn it on again under Deliveries, Endpoints; what happened meanwhile can then be sent as well.",
            ),
        };
        let mut facts = vec![];
        let mut say = |name: &str, value: Option<String>| {
            facts.extend(value.map(|value| (name.to_owned(), value)));
        };
        say(
            "Endpoint",
            self.host.as_ref().map(|host| format!("{name} ({host})")),
        );
        let since = fact("failing_since").or(fact("since"));
        say("Since", since.and_then(|t| t.parse().ok()).map(moment));
        say("Last problem", fact("error").map(str::to_owned));
        let held = self.facts.as_ref().and_then(|f| f["count"].as_i64());
        say("Held", held.map(|n| n.to_string()));
        if self.what == "warned" {
            say("Turns itself off", self.off_at.map(moment));
        }
        Card {
            title,
            text: Some(text.to_owned()),
            facts,
            foot: format!("Bizing Desk, {}", moment(self.at)),
        }
    }
}

fn letter(to: &str, card: &Card) -> Mail {
    let text = card.text.as_deref().unwrap_or_default();
    let mut plain = format!("{text}\n\n");
    let mut rows = String::new();
    for (name, value) in &card.facts {
        plain.push_str(&format!("{name}: {value}\n"));
        rows.push_str(&format!(
            "<tr><td style=\"padding:2px 12px 2px 0;color:#555\">{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        ));
    }
    plain.push_str(&format!("\n{}\n", card.foot));
    let html = format!(
        "<!doctype html><html lang=\"en\"><body style=\"font:15px/1.5 system-ui,sans-serif\"><h1 style=\"font-size:18px\">{}</h1><p>{}</p><table>{rows}</table><p style=\"color:#555;font-size:13px\">{}</p></body></html>",
        escaped(&card.title),
        escaped(text),
        escaped(&card.foot)
    );
    Mail {
        to: to.to_owned(),
        to_name: String::new(),
        subject: card.title.clone(),
        text: plain,
        html,
        calendar: None,
        reply_to: None,
        headers: vec![],
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notice(what: &str, reason: &str, facts: Value) -> Notice {
        Notice {
            change_id: 7,
            entry: "ana@halcyon.example".to_owned(),
            at: "2026-11-26T10:00:00Z".parse().unwrap(),
            what: what.to_owned(),
            reason: reason.to_owned(),
            name: Some("Halcyon <CRM>".to_owned()),
            host: Some("hooks.halcyon.example".to_owned()),
            facts: Some(facts),
            off_at: Some("2026-11-29T09:00:00Z".parse().unwrap()),
        }
    }

    #[test]
    fn a_letter_says_what_is_wrong_since_when_and_what_to_do() {
        let facts = json!({ "failing_since": "2026-11-24T09:00:00+00:00", "error": "answered 500", "percent": 50 });
        let mail = letter(
            "ana@halcyon.example",
            &notice("warned", "failing", facts).card(),
        );
        assert_eq!(mail.subject, "Webhooks to Halcyon <CRM> do not arrive");
        for said in [
            "Since: Tue 24 Nov 2026 09:00 UTC",
            "Last problem: answered 500",
            "Turns itself off: Sun 29 Nov 2026 09:00 UTC",
            "Endpoint: Halcyon <CRM> (hooks.halcyon.example)",
        ] {
            assert!(mail.text.contains(said), "{said}: {}", mail.text);
        }
        assert!(mail.html.contains("Halcyon &lt;CRM&gt;") && !mail.html.contains("<CRM>"));
    }

    #[test]
    fn each_kind_of_trouble_has_words_of_its_own() {
        let off = notice("disabled", "days_of_failures", json!({})).card();
        let gone = notice("disabled", "gone", json!({})).card();
        let held = notice(
            "held",
            "absence",
            json!({ "since": "2026-11-20T09:00:00+00:00", "count": 12 }),
        )
        .card();
        assert_ne!(off.text, gone.text);
        assert!(
            off.title.ends_with("are turned off") && held.title.ends_with("wait for a decision")
        );
        assert!(held.facts.contains(&("Held".to_owned(), "12".to_owned())));
        assert!(!off.facts.iter().any(|(name, _)| name == "Turns itself off"));
    }
}
