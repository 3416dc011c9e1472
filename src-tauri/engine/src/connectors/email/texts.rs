//! The words of mails and calendar entries. One language is one file under `texts/`; layout knows
//! no language.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// Every string in here is itself a small template over the facts, so that a language can order
/// them its own way.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Texts {
    pub language: String,
    pub weekdays: [String; 7],
    pub months: [String; 12],
    pub date: String,
    pub short_date: String,
    pub time: String,
    pub same_day: String,
    pub other_day: String,
    pub moment: String,
    pub money: MoneyStyle,
    pub labels: Labels,
    pub zone_note: String,
    pub footer: String,
    pub booking_confirmed: Letter,
    pub booking_cancelled: Letter,
    pub payment_link: Letter,
    pub calendar: CalendarTexts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyStyle {
    pub decimal: String,
    pub group: String,
    /// Whether the currency stands before the number.
    pub unit_first: bool,
    /// Only signs that mean one currency to this language's readers; all others show their code.
    pub symbols: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    pub service: String,
    pub when: String,
    pub r#where: String,
    pub room: String,
    pub staff: String,
    pub price: String,
    pub paid: String,
    pub refunded: String,
    pub due: String,
    pub reason: String,
    pub reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {
    pub subject: String,
    /// The line that mail programs show beside the subject.
    pub preview: String,
    pub title: String,
    pub lead: String,
    #[serde(default)]
    pub button: String,
    /// Those that come out empty are left away.
    pub notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalendarTexts {
    pub summary: String,
    pub description: String,
}

/// A second language is a file and a line here. The first is for everybody else.
static LANGUAGES: LazyLock<Vec<Texts>> = LazyLock::new(|| {
    [include_str!("texts/en.json")]
        .map(|file| serde_json::from_str(file).expect("compiled in, and the tests read it"))
        .into()
});

/// `de-AT` asks for German. A language without a file gets English: a mail in the wrong language
/// beats none.
pub(super) fn texts(locale: &str) -> &'static Texts {
    let language = locale.split(['-', '_']).next().unwrap_or_default();
    let known = LANGUAGES
        .iter()
        .find(|texts| texts.language.eq_ignore_ascii_case(language));
    known.unwrap_or(&LANGUAGES[0])
}
