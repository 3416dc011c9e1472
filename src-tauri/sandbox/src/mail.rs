//! What arrived by mail, taken apart.

use chrono::{DateTime, SecondsFormat};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use serde_json::{Value, json};

use crate::{model::Message, world::World};

/// The text alternatives are kept, attachments are named only: a catch-all for people to read, not an archive.
const HEADERS_KEPT: usize = 100;
const HEADER_LENGTH: usize = 2_000;

impl World {
    pub fn receive_mail(&mut self, from: String, to: Vec<String>, raw: &[u8]) -> String {
        let mut message = Message {
            id: self.new_id("msg_"),
            created: self.now(),
            from,
            to,
            subject: String::new(),
            text: None,
            html: None,
            ics: None,
            headers: Vec::new(),
            size: raw.len(),
        };
        if let Some(parsed) = MessageParser::default().parse(raw) {
            message.subject = parsed.subject().unwrap_or_default().to_owned();
            message.headers = parsed
                .headers_raw()
                .take(HEADERS_KEPT)
                .map(|(name, value)| {
                    (
                        name.to_owned(),
                        value.trim().chars().take(HEADER_LENGTH).collect(),
                    )
                })
                .collect();
            for part in &parsed.parts {
                let kind = part.content_type();
                let calendar = kind.is_some_and(|kind| {
                    kind.subtype()
                        .is_some_and(|s| s.eq_ignore_ascii_case("calendar"))
                });
                match &part.body {
                    PartType::Text(text) if calendar => {
                        message.ics.get_or_insert_with(|| text.to_string())
                    }
                    PartType::Text(text) => message.text.get_or_insert_with(|| text.to_string()),
                    PartType::Html(html) => message.html.get_or_insert_with(|| html.to_string()),
                    _ => continue,
                };
            }
        }
        let id = message.id.clone();
        self.messages.put(message);
        id
    }
}

pub fn json(message: &Message) -> Value {
    let at = DateTime::from_timestamp(message.created, 0).unwrap_or_default();
    json!({
        "id": message.id,
        "at": at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "from": message.from,
        "to": message.to,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "ics": message.ics,
        "headers": message.headers,
        "size": message.size,
    })
}
