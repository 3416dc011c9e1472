//! Facts into words.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::compose::Mail;
use super::facts::BookingFacts;
use super::texts::{Letter, Texts, texts};
use super::words::Words;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Template {
    BookingConfirmed,
    BookingCancelled,
    PaymentLink,
}

/// A mail that is not addressed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl Draft {
    pub fn to(self, address: &str, name: &str) -> Mail {
        Mail {
            to: address.to_owned(),
            to_name: name.to_owned(),
            subject: self.subject,
            text: self.text,
            html: self.html,
            calendar: None,
            reply_to: None,
            headers: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("“{0}” is no time zone. Give a name such as Europe/Berlin.")]
    UnknownZone(String),
    #[error("the booking ends before it starts, or at the same moment")]
    EndsBeforeStart,
    #[error("“{0}” is no currency. Give three capital letters such as EUR.")]
    UnknownCurrency(String),
    #[error("price, payment and refund are in different currencies: {0}, {1} and {2}")]
    MixedCurrencies(String, String, String),
    #[error("a payment link mail needs the link")]
    NoPayUrl,
    #[error("the payment link is no https:// address")]
    UnsafePayUrl,
    #[error("an invitation needs the customer's address")]
    NoCustomerEmail,
    #[error("a text of the mail could not be filled in")]
    Template(#[from] minijinja::Error),
}

/// Text and HTML of one mail. Pure: the same facts give the same bytes.
pub fn render(
    template: Template,
    facts: &BookingFacts,
    locale: &str,
) -> Result<Draft, RenderError> {
    let texts = texts(locale);
    let letter = match template {
        Template::BookingConfirmed => &texts.booking_confirmed,
        Template::BookingCancelled => &texts.booking_cancelled,
        Template::PaymentLink => &texts.payment_link,
    };
    let words = Words::of(facts, texts)?;
    let pay_url = match template {
        Template::PaymentLink => Some(checked_url(
            facts.pay_url.as_deref().ok_or(RenderError::NoPayUrl)?,
        )?),
        _ => None,
    };
    let page = page(template, letter, texts, &words, pay_url)?;
    Ok(Draft {
        subject: phrase(&letter.subject, words.value())?,
        text: LAYOUTS.get_template("layout.txt")?.render(page.clone())?,
        html: LAYOUTS.get_template("layout.html")?.render(page)?,
    })
}

/// Decided by name when a template is added, so the rule is set first: everything but plain text is
/// escaped.
static LAYOUTS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut layouts = strict();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    layouts.set_syntax(syntax.expect("the delimiters are the usual ones"));
    layouts.set_auto_escape_callback(|name| {
        if name.ends_with(".txt") {
            AutoEscape::None
        } else {
            AutoEscape::Html
        }
    });
    for (name, source) in [
        ("layout.txt", include_str!("templates/layout.txt")),
        ("layout.html", include_str!("templates/layout.html")),
    ] {
        layouts
            .add_template(name, source)
            .expect("the file is compiled in, and a test renders it");
    }
    layouts
});

/// For the phrases of a language. Their results are plain text, which the layout then escapes or
/// not.
static PHRASES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut phrases = strict();
    phrases.set_auto_escape_callback(|_| AutoEscape::None);
    phrases
});

fn strict() -> Environment<'static> {
    let mut environment = Environment::new();
    // A misspelt name is an error and not a hole in a customer's mail.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

pub(super) fn phrase(source: &str, values: Value) -> Result<String, RenderError> {
    Ok(PHRASES.render_str(source, values)?)
}

fn page(
    template: Template,
    letter: &Letter,
    texts: &Texts,
    words: &Words,
    pay_url: Option<String>,
) -> Result<Value, RenderError> {
    let say = |source: &str| phrase(source, words.value());
    let mut notes = Vec::new();
    for note in &letter.notes {
        let note = say(note)?;
        if !note.trim().is_empty() {
            notes.push(note);
        }
    }
    Ok(context! {
        language => &texts.language,
        business => &words.business,
        preview => say(&letter.preview)?,
        title => say(&letter.title)?,
        lead => say(&letter.lead)?,
        rows => rows(template, texts, words),
        button => say(&letter.button)?,
        pay_url => pay_url.unwrap_or_default(),
        notes,
        footer => say(&texts.footer)?,
        zone_note => say(&texts.zone_note)?,
    })
}

fn rows(template: Template, texts: &Texts, words: &Words) -> Vec<Value> {
    let labels = &texts.labels;
    let when = |shown: bool, text| if shown { text } else { "" };
    let cancelled = template == Template::BookingCancelled;
    let all = [
        (&labels.service, words.service.as_str()),
        (&labels.when, words.when.as_str()),
        (&labels.r#where, words.location.as_str()),
        (&labels.room, words.room.as_deref().unwrap_or("")),
        (&labels.staff, words.staff.as_str()),
        (
            &labels.reason,
            when(cancelled, words.cancel_reason.as_deref().unwrap_or("")),
        ),
        (&labels.price, when(words.has_price, words.price.as_str())),
        (&labels.paid, when(words.has_paid, words.paid.as_str())),
        (
            &labels.refunded,
            when(words.has_refunded, words.refunded.as_str()),
        ),
        // Nobody pays for what does not take place; what is paid in full needs no line.
        (
            &labels.due,
            when(
                words.has_due && !cancelled && words.has_paid,
                words.due.as_str(),
            ),
        ),
        (&labels.reference, words.reference.as_str()),
    ];
    let shown = || all.iter().filter(|(_, value)| !value.is_empty());
    let widest = shown()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    shown()
        .map(|(label, value)| {
            let (label, value): (&str, &str) = (label, value);
            let strong = label == labels.when;
            context! { label, value, strong, padded => format!("{label:<widest$}") }
        })
        .collect()
}

/// A link that a customer is asked to click and to pay at. Plain http is for a sandbox on this
/// computer.
fn checked_url(text: &str) -> Result<String, RenderError> {
    let url = url::Url::parse(text).map_err(|_| RenderError::UnsafePayUrl)?;
    let local = url.host_str().is_some_and(super::config::is_loopback);
    match url.scheme() {
        "https" => Ok(url.into()),
        "http" if local => Ok(url.into()),
        _ => Err(RenderError::UnsafePayUrl),
    }
}
