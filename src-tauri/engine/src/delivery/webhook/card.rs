//! What chat programs show: a message of Slack, Discord or Teams, made from the event that others get as it is.
//!
//! One list says what of an event is worth a line; a field that an event does not have is left out. What stands in an event is text
//! and stays text: it rings nobody, and links and formats nothing.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::money::exponent;

/// What an endpoint is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The event, as Standard Webhooks has it.
    #[default]
    Event,
    Slack,
    Discord,
    Teams,
}

impl Shape {
    pub fn of(word: &str) -> Shape {
        match word {
            "slack" => Shape::Slack,
            "discord" => Shape::Discord,
            "teams" => Shape::Teams,
            _ => Shape::Event,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Shape::Event => "event",
            Shape::Slack => "slack",
            Shape::Discord => "discord",
            Shape::Teams => "teams",
        }
    }

    /// Whose address this is. Programs that imitate Slack's are many, so a stranger is taken for one.
    pub fn by_host(host: &str) -> Shape {
        let within = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        match host {
            _ if within("discord.com") || within("discordapp.com") => Shape::Discord,
            _ if within("webhook.office.com")
                || within("logic.azure.com")
                || within("powerplatform.com") =>
            {
                Shape::Teams
            }
            _ => Shape::Slack,
        }
    }
}

/// A title, lines of a name and a value, and what stands small below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    pub title: String,
    pub text: Option<String>,
    pub facts: Vec<(String, String)>,
    pub foot: String,
}

#[derive(Clone, Copy)]
enum As {
    Text,
    /// `not_told` as “not told”
    Word,
    Money,
    Moment,
    /// A wall clock with its zone.
    Wall,
    Names,
}

/// Of the event, and of what its booking began with.
const LINES: [(&str, &str, As); 25] = [
    ("Booking", "reference", As::Text),
    ("Service", "service_name", As::Text),
    ("When", "start", As::Wall),
    ("With", "resources", As::Names),
    ("Price", "price", As::Money),
    ("Paid by", "payment_mode", As::Word),
    ("Amount", "amount", As::Money),
    ("Received", "amount_received", As::Money),
    ("Set aside", "amount_capturable", As::Money),
    ("To refund", "refund_due", As::Money),
    ("Fee", "fee", As::Money),
    ("By", "cancelled_by", As::Word),
    ("Reason", "reason_code", As::Word),
    ("In their words", "reason", As::Text),
    ("Problem", "error", As::Text),
    ("Problem", "message", As::Text),
    ("Declined", "decline_code", As::Word),
    ("Outcome", "outcome", As::Word),
    ("Evidence due", "evidence_due", As::Moment),
    ("Held until", "expires_at", As::Moment),
    ("To be paid by", "link_expires_at", As::Moment),
    ("Message", "template", As::Word),
    ("Sent by", "channel", As::Word),
    ("Try", "attempt", As::Text),
    ("Calendar", "provider", As::Text),
];
/// Of the booking's beginning, on every card about it.
const OF_BOOKING: [&str; 3] = ["reference", "service_name", "start"];
/// Slack shows ten.
const MOST: usize = 10;
const LONGEST: usize = 300;

impl Card {
    /// `event`: what others are sent. `began`: the data of the first event of its stream.
    pub fn of_event(event: &Value, began: Option<&Value>, test: bool) -> Card {
        let kind = event["type"].as_str().unwrap_or("Event");
        let words = sentence(kind);
        let data = &event["data"];
        let mut facts = vec![];
        for (name, field, how) in LINES {
            let own = data.get(field);
            let theirs = || OF_BOOKING.contains(&field).then(|| began?.get(field));
            let value = own.or_else(|| theirs().flatten());
            if let Some(text) = value.and_then(|value| shown(value, how)) {
                facts.push((name.to_owned(), cut(&text)));
            }
        }
        facts.truncate(MOST);
        let reference = data
            .get("reference")
            .or_else(|| began?.get("reference"))
            .and_then(Value::as_str);
        Card {
            title: match (test, reference) {
                (true, _) => format!("Test: {words}"),
                (false, Some(reference)) => format!("{words}: {reference}"),
                (false, None) => words,
            },
            text: None,
            facts,
            foot: [event["timestamp"].as_str(), event["stream"].as_str()]
                .into_iter()
                .flatten()
                .map(|text| text.get(..text.len().min(60)).unwrap_or_default())
                .collect::<Vec<_>>()
                .join(" · "),
        }
    }

    pub fn written(&self, shape: Shape) -> Bytes {
        let value = match shape {
            Shape::Discord => self.discord(),
            Shape::Teams => self.teams(),
            Shape::Slack | Shape::Event => self.slack(),
        };
        Bytes::from(value.to_string())
    }

    /// `text` is what a notification says.
    fn slack(&self) -> Value {
        let mut blocks = vec![json!({
            "type": "header", "text": { "type": "plain_text", "text": first(&self.title, 150), "emoji": false },
        })];
        if let Some(text) = &self.text {
            blocks.push(
                json!({ "type": "section", "text": { "type": "plain_text", "text": first(text, 2_900), "emoji": false } }),
            );
        }
        if !self.facts.is_empty() {
            let fields: Vec<Value> = self
                .facts
                .iter()
                .map(|(name, value)| json!({ "type": "mrkdwn", "verbatim": true, "text": format!("*{name}*\n{}", slack_text(value)) }))
                .collect();
            blocks.push(json!({ "type": "section", "fields": fields }));
        }
        if !self.foot.is_empty() {
            blocks.push(json!({ "type": "context", "elements": [{ "type": "plain_text", "text": self.foot, "emoji": false }] }));
        }
        json!({ "text": slack_text(&self.title), "blocks": blocks })
    }

    fn discord(&self) -> Value {
        let fields: Vec<Value> = self
            .facts
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": markdown_text(value), "inline": true }))
            .collect();
        let mut embed =
            json!({ "title": first(&markdown_text(&self.title), 250), "fields": fields });
        if let Some(text) = &self.text {
            embed["description"] = json!(first(&markdown_text(text), 4_000));
        }
        if !self.foot.is_empty() {
            embed["footer"] = json!({ "text": self.foot });
        }
        json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
    }

    fn teams(&self) -> Value {
        let mut body = vec![
            json!({ "type": "TextBlock", "text": markdown_text(&self.title), "weight": "Bolder", "size": "Medium", "wrap": true }),
        ];
        if let Some(text) = &self.text {
            body.push(json!({ "type": "TextBlock", "text": markdown_text(text), "wrap": true }));
        }
        if !self.facts.is_empty() {
            let facts: Vec<Value> = self
                .facts
                .iter()
                .map(|(name, value)| json!({ "title": name, "value": markdown_text(value) }))
                .collect();
            body.push(json!({ "type": "FactSet", "facts": facts }));
        }
        if !self.foot.is_empty() {
            body.push(json!({ "type": "TextBlock", "text": self.foot, "isSubtle": true, "size": "Small", "wrap": true }));
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
                },
            }],
        })
    }
}

/// `BookingConfirmed` as “Booking confirmed”.
fn sentence(kind: &str) -> String {
    let mut words = String::with_capacity(kind.len() + 4);
    for (at, sign) in kind.chars().enumerate() {
        if at > 0 && sign.is_ascii_uppercase() {
            words.push(' ');
            words.push(sign.to_ascii_lowercase());
        } else {
            words.push(sign);
        }
    }
    words
}

fn shown(value: &Value, how: As) -> Option<String> {
    let text = match how {
        As::Text => match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        },
        As::Word => value.as_str()?.replace('_', " "),
        As::Money => money(value)?,
        As::Moment => value
            .as_str()?
            .parse::<chrono::DateTime<chrono::Utc>>()
            .ok()?
            .format("%a %-d %b %Y %H:%M UTC")
            .to_string(),
        As::Wall => {
            let wall = value["wall"].as_str()?;
            let at = chrono::NaiveDateTime::parse_from_str(wall, "%Y-%m-%dT%H:%M").ok()?;
            format!(
                "{} {}",
                at.format("%a %-d %b %Y %H:%M"),
                value["tzid"].as_str()?
            )
        }
        As::Names => {
            let named = value.as_array()?.iter().filter_map(|r| r["name"].as_str());
            named.collect::<Vec<_>>().join(", ")
        }
    };
    (!text.trim().is_empty()).then_some(text)
}

fn money(value: &Value) -> Option<String> {
    let (minor, currency) = (value["amount_minor"].as_i64()?, value["currency"].as_str()?);
    let digits = exponent(currency)?;
    let unit = 10_u64.pow(u32::try_from(digits).ok()?);
    let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
    let sign = if minor < 0 { "−" } else { "" };
    Some(match digits {
        0 => format!("{sign}{whole} {currency}"),
        _ => format!("{sign}{whole}.{rest:0width$} {currency}", width = digits),
    })
}

/// A line breaks no card.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    first(&line, LONGEST)
}

fn first(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most - 1).collect();
    cut.push('…');
    cut
}

/// In Slack's marked text three signs begin what is more than text; what formats is broken by a sign without width.
fn slack_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '*' | '_' | '~' | '`' => safe.extend(['\u{200b}', sign]),
            _ => safe.push(sign),
        }
    }
    safe
}

fn markdown_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        if matches!(
            sign,
            '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '>' | '#'
        ) {
            safe.push('\\');
        }
        safe.push(sign);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::webhook::body;
    use crate::domain::event::TYPES;

    const EVIL: &str =
        "<!channel> @everyone *b* [x](https://evil.example) `c` & \n<https://evil.example|pay>";

    fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(all) => all.iter().for_each(|v| strings(v, found)),
            Value::Object(all) => all.values().for_each(|v| strings(v, found)),
            _ => {}
        }
    }

    #[test]
    fn every_type_of_event_makes_a_card_that_all_three_take() {
        for kind in TYPES {
            let event =
                body::render_example(kind.name, uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH)
                    .unwrap();
            let card = Card::of_event(&serde_json::from_str(&event).unwrap(), None, false);
            assert!(
                !card.title.is_empty() && card.facts.len() <= MOST,
                "{card:?}"
            );
            let read = |shape| serde_json::from_slice::<Value>(&card.written(shape)).unwrap();
            let slack = read(Shape::Slack);
            assert_eq!(slack["blocks"][0]["type"], "header");
            assert!(slack["text"].as_str().is_some_and(|t| !t.is_empty()));
            assert!(read(Shape::Discord)["embeds"][0]["title"].is_string());
            let teams = read(Shape::Teams);
            assert_eq!(teams["attachments"][0]["content"]["type"], "AdaptiveCard");
        }
    }

    #[test]
    fn a_card_says_what_happened_to_which_booking_and_when() {
        let event = json!({ "type": "PaymentReceived", "timestamp": "2026-11-24T10:00:00Z", "stream": "booking-1",
            "data": { "amount_received": { "amount_minor": 8000, "currency": "EUR" } } });
        let began = json!({ "reference": "BK-0JR300", "service_name": "Deep tissue 60", "start": { "wall": "2026-11-26T10:00", "tzid": "Europe/Lisbon" },
            "price": { "amount_minor": 1, "currency": "EUR" } });
        let card = Card::of_event(&event, Some(&began), false);
        assert_eq!(card.title, "Payment received: BK-0JR300");
        let facts: Vec<(&str, &str)> = card
            .facts
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            facts,
            [
                ("Booking", "BK-0JR300"),
                ("Service", "Deep tissue 60"),
                ("When", "Thu 26 Nov 2026 10:00 Europe/Lisbon"),
                ("Received", "80.00 EUR"),
            ]
        );
        assert_eq!(
            money(&json!({ "amount_minor": -18000, "currency": "JPY" })).unwrap(),
            "−18000 JPY"
        );
    }

    #[test]
    fn what_stands_in_an_event_rings_nobody_and_hides_no_link() {
        let event = json!({ "type": "BookingCancelled", "data": { "reason": EVIL, "reason_code": "other" } });
        let card = Card::of_event(&event, Some(&json!({ "reference": EVIL })), false);
        let slack: Value = serde_json::from_slice(&card.written(Shape::Slack)).unwrap();
        let mut found = vec![];
        strings(&slack["blocks"][1], &mut found);
        found.push(slack["text"].as_str().unwrap());
        assert!(
            found.iter().all(|t| !t.contains('<') && !t.contains('>')),
            "{found:?}"
        );
        let discord: Value = serde_json::from_slice(&card.written(Shape::Discord)).unwrap();
        assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
        for shape in [Shape::Discord, Shape::Teams] {
            let text = String::from_utf8(card.written(shape).to_vec()).unwrap();
            // A link that was written as such shows its address: it hides behind no other words.
            let escaped = "\\\\](";
            assert!(
                text.contains(escaped) && !text.replace(escaped, "").contains("](http"),
                "{text}"
            );
        }
    }

    #[test]
    fn whose_address_it_is_says_what_is_sent() {
        for (host, shape) in [
            ("hooks.slack.com", Shape::Slack),
            ("chat.example.com", Shape::Slack),
            ("discord.com", Shape::Discord),
            ("notdiscord.com", Shape::Slack),
            ("firm.webhook.office.com", Shape::Teams),
        ] {
            assert_eq!(Shape::by_host(host), shape, "{host}");
        }
    }
}
