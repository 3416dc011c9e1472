//! What is known after a mail was not simply accepted.

use lettre::transport::smtp::Error as SmtpError;

/// Why a mail was not accepted, split by what may be done next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// The server cannot have the message: the conversation ended before the final dot. Safe to try
    /// again.
    #[error("not sent: {cause}")]
    NotSent { cause: String },
    /// The server said “not now” (4xx). It does not have the message. Try again later.
    #[error("the mail server asks to try later ({code}): {message}")]
    Later { code: u16, message: String },
    /// The server said no (5xx). The same mail will be refused again. `permanent_recipient`:
    /// because this address does not exist or takes no mail, so that no other mail should go there
    /// either.
    #[error("the mail server refused it ({code}): {message}")]
    Refused {
        code: u16,
        message: String,
        permanent_recipient: bool,
    },
    /// Our login is wrong, missing or could not be offered safely. Concerns every mail: an
    /// administrator must act.
    #[error("the mail server does not let us in: {message}")]
    Unauthorized { code: Option<u16>, message: String },
    /// This mail cannot be put into a message, or not for this server. Nothing was sent; trying
    /// again cannot help. `recipient`: because of the address it is for.
    #[error("this mail cannot be sent: {cause}")]
    Unsendable { cause: String, recipient: bool },
    /// The connection was lost after the final dot and before the answer: the customer may get this
    /// mail.
    #[error("unknown whether it was sent: {cause}")]
    Unknown { cause: String },
}

impl SendFailure {
    /// Whether the customer may have this mail in spite of the failure.
    pub fn may_have_been_sent(&self) -> bool {
        matches!(self, SendFailure::Unknown { .. })
    }
}

/// How far the conversation had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    /// After DATA, before the final dot.
    Body,
    /// From the moment the final dot was given to the socket.
    Dot,
}

impl Stage {
    fn doing(self) -> &'static str {
        match self {
            Stage::Connect => "while connecting",
            Stage::StartTls => "while turning encryption on",
            Stage::Login => "while logging in",
            Stage::Sender => "while naming the sender",
            Stage::Recipient => "while naming the recipient",
            Stage::Body => "while handing over the message",
            Stage::Dot => "after the message was handed over, before the server confirmed it",
        }
    }
}

/// The server's negative answer, or the loss of the connection, at a given point.
pub(super) fn classify(stage: Stage, error: &SmtpError) -> SendFailure {
    match error.status() {
        Some(code) => answered(stage, u16::from(code), &source_text(error)),
        None => lost(stage, &chain(error)),
    }
}

/// No answer, or none that is SMTP: a garbled answer after the dot tells us as little as silence.
pub(super) fn lost(stage: Stage, why: &str) -> SendFailure {
    let cause = format!("{} {}", tidy(why), stage.doing());
    match stage {
        Stage::Dot => SendFailure::Unknown { cause },
        _ => SendFailure::NotSent { cause },
    }
}

pub(super) fn answered(stage: Stage, code: u16, message: &str) -> SendFailure {
    let message = tidy(message);
    match code {
        400..=499 => SendFailure::Later { code, message },
        // 530 (log in first), 534, 535 and 538 mean the login wherever they come; any no to AUTH
        // does.
        530 | 534 | 535 | 538 => SendFailure::Unauthorized {
            code: Some(code),
            message,
        },
        _ if stage == Stage::Login => SendFailure::Unauthorized {
            code: Some(code),
            message,
        },
        _ => {
            let permanent_recipient = is_dead_address(stage, code, &message);
            SendFailure::Refused {
                code,
                message,
                permanent_recipient,
            }
        }
    }
}

/// Whether a 5xx condemns the address rather than this mail. The enhanced code (RFC 3463) says it
/// precisely; 550 alone also means “your mail looks like spam”, which must never put a customer's
/// address on the list of dead ones. Without an enhanced code, only a no to RCPT TO counts.
fn is_dead_address(stage: Stage, code: u16, message: &str) -> bool {
    if !matches!(stage, Stage::Recipient | Stage::Dot) {
        return false;
    }
    match enhanced_code(message) {
        // No such mailbox, no such domain, bad syntax, moved, null MX; mailbox disabled.
        Some((5, 1, 1 | 2 | 3 | 6 | 10) | (5, 2, 1)) => true,
        Some(_) => false,
        None => stage == Stage::Recipient && matches!(code, 550 | 551 | 553),
    }
}

fn enhanced_code(message: &str) -> Option<(u8, u16, u16)> {
    let mut parts = message.split_whitespace().next()?.splitn(3, '.');
    let class = parts
        .next()?
        .parse()
        .ok()
        .filter(|class| matches!(class, 2 | 4 | 5))?;
    Some((
        class,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    ))
}

/// The reply's own words: the error prints its code as well, which we keep apart.
fn source_text(error: &SmtpError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn chain(error: &SmtpError) -> String {
    let text = error.to_string();
    // The library's words for “the stream ended” and for its own refusals, in ours.
    if text.contains("incomplete response") {
        return "the mail server closed the connection".to_owned();
    }
    match text.split_once(": ") {
        Some((
            "internal client error" | "Connection error" | "network error" | "tls error",
            rest,
        )) => rest.trim_start_matches("Connection error: ").to_owned(),
        _ => text,
    }
}

/// Words from a stranger: one line, and not a novel.
fn tidy(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = super::address::one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
