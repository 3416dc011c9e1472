//! One message to one person, and its bytes.

use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, Message, MultiPart, SinglePart};

use super::address::{one_line, parse_address};
use super::config::SmtpConfig;
use super::failure::SendFailure;
use super::ics::CalendarMethod;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub to_name: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub calendar: Option<Calendar>,
    pub reply_to: Option<String>,
    /// Only the harmless names that `may_set` lists; `Auto-Submitted: auto-generated` is set unless given.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    pub ics: String,
    pub method: CalendarMethod,
}

/// What the session needs to hand a mail over.
#[derive(Debug)]
pub(super) struct Composed {
    pub to: Address,
    pub bytes: Vec<u8>,
}

/// ```text
/// multipart/mixed
/// ├─ multipart/alternative
/// │  ├─ text/plain
/// │  ├─ text/html
/// │  └─ text/calendar; method=…    what mail programs turn into a calendar entry
/// └─ booking.ics                   the same for programs that only know files
/// ```
pub(super) fn compose(
    config: &SmtpConfig,
    mail: &Mail,
    message_id: &str,
) -> Result<Composed, SendFailure> {
    let to = parse_address(&mail.to).map_err(|cause| SendFailure::Unsendable {
        cause,
        recipient: true,
    })?;
    let mut message = Message::builder()
        .from(mailbox(&config.from_name, config.from.clone()))
        .to(mailbox(&mail.to_name, to.clone()))
        .subject(one_line(&mail.subject))
        .message_id(Some(checked_message_id(message_id)?));
    if let Some(reply_to) = &mail.reply_to {
        let address = parse_address(reply_to)
            .map_err(|cause| unsendable(format!("the reply address {cause}")))?;
        message = message.reply_to(mailbox(&config.from_name, address));
    }
    // Says to holiday replies and ticket systems that nobody reads an answer to this (RFC 3834).
    if !mail
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("auto-submitted"))
    {
        message = message.raw_header(header("Auto-Submitted", "auto-generated")?);
    }
    for (name, value) in &mail.headers {
        message = message.raw_header(header(name, value)?);
    }
    let mut alternative = MultiPart::alternative()
        .singlepart(SinglePart::plain(mail.text.clone()))
        .singlepart(SinglePart::html(mail.html.clone()));
    let parts = match &mail.calendar {
        None => alternative,
        Some(calendar) => {
            let kind = format!(
                "text/calendar; charset=utf-8; method={}",
                calendar.method.as_str()
            );
            alternative = alternative.singlepart(
                SinglePart::builder()
                    .header(content_type(&kind)?)
                    .body(base64(&calendar.ics)?),
            );
            let file = Attachment::new("booking.ics".to_owned())
                .body(base64(&calendar.ics)?, content_type("application/ics")?);
            MultiPart::mixed().multipart(alternative).singlepart(file)
        }
    };
    let message = message
        .multipart(parts)
        .map_err(|error| unsendable(error.to_string()))?;
    Ok(Composed {
        to,
        bytes: message.formatted(),
    })
}

/// An .ics file has its own line lengths and ends. Base64 is the one encoding in which no relay or
/// mail program touches them.
fn base64(ics: &str) -> Result<Body, SendFailure> {
    Body::new_with_encoding(ics.as_bytes().to_vec(), ContentTransferEncoding::Base64)
        .map_err(|_| unsendable("the calendar entry could not be encoded".to_owned()))
}

fn content_type(text: &str) -> Result<ContentType, SendFailure> {
    ContentType::parse(text).map_err(|error| unsendable(format!("{text}: {error}")))
}

fn mailbox(name: &str, address: Address) -> Mailbox {
    let name = one_line(name);
    Mailbox::new((!name.is_empty()).then_some(name), address)
}

/// The caller derives the id from booking, template and revision, so that a mail that had to be
/// repeated after an unknown outcome is recognised as the same one by the mailbox.
fn checked_message_id(id: &str) -> Result<String, SendFailure> {
    let inner = id
        .strip_prefix('<')
        .and_then(|id| id.strip_suffix('>'))
        .unwrap_or(id);
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>()[]:;,\\\"@".contains(&b))
    };
    match inner.split_once('@') {
        // Header lines may be 998 long; a longer id could not be folded, as it has no spaces.
        Some((left, right)) if plain(left) && plain(right) && inner.len() <= 900 => {
            Ok(format!("<{inner}>"))
        }
        _ => Err(unsendable(
            "the Message-ID must look like <booking.template.revision@example.com>".to_owned(),
        )),
    }
}

/// Headers from outside are a list of the harmless ones, not the rest of a list of dangerous ones.
fn may_set(name: &str) -> bool {
    const NAMED: [&str; 6] = [
        "auto-submitted",
        "in-reply-to",
        "references",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "precedence",
    ];
    let name = name.to_ascii_lowercase();
    let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    token && (NAMED.contains(&name.as_str()) || name.len() > 2 && name.starts_with("x-"))
}

/// Unlike a subject, which customers' names flow into and which is therefore cleaned, a header's
/// value is written by programs. A line break in it is a bug or an attack, and both should be seen.
fn header(name: &str, value: &str) -> Result<HeaderValue, SendFailure> {
    if !may_set(name) {
        return Err(unsendable(format!(
            "the header “{}” may not be set",
            one_line(name)
        )));
    }
    if value.chars().any(char::is_control) {
        return Err(unsendable(format!(
            "the header “{name}” holds a line break or control character"
        )));
    }
    let known = HeaderName::new_from_ascii(name.to_owned())
        .map_err(|_| unsendable(format!("the header “{}” has no valid name", one_line(name))))?;
    Ok(HeaderValue::new(known, value.to_owned()))
}

fn unsendable(cause: String) -> SendFailure {
    SendFailure::Unsendable {
        cause,
        recipient: false,
    }
}
