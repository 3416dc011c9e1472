//! The facts as the phrases of a language name them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Value, context};

use super::facts::{Amount, BookingFacts};
use super::money;
use super::render::{RenderError, phrase};
use super::texts::Texts;

/// Each ready to be read: times in the place's zone, money in its currency.
pub(super) struct Words {
    pub reference: String,
    pub customer_name: String,
    pub service: String,
    pub staff: String,
    pub room: Option<String>,
    pub business: String,
    pub location: String,
    zone: String,
    start: Moment,
    pub when: String,
    pub price: String,
    pub paid: String,
    pub refunded: String,
    pub due: String,
    pub has_price: bool,
    pub has_paid: bool,
    pub has_refunded: bool,
    pub has_due: bool,
    pub hold_until: Option<String>,
    pub cancel_reason: Option<String>,
}

struct Moment {
    date: String,
    short_date: String,
    time: String,
    zone: String,
}

impl Words {
    pub(super) fn of(facts: &BookingFacts, texts: &Texts) -> Result<Words, RenderError> {
        facts.checked_times()?;
        let facts = facts.cleaned();
        let zone = facts.time_zone()?;
        let currencies =
            [&facts.price, &facts.paid, &facts.refunded].map(|amount| amount.currency.clone());
        if currencies.iter().any(|currency| *currency != currencies[0]) {
            let [price, paid, refunded] = currencies;
            return Err(RenderError::MixedCurrencies(price, paid, refunded));
        }
        // What came back does not become due again: a refund on a kept booking is a kindness, not a
        // debt.
        let due = Amount {
            minor: facts.price.minor.saturating_sub(facts.paid.minor).max(0),
            ..facts.price.clone()
        };
        let amount = |amount: &Amount| {
            money::format(amount, &texts.money)
                .ok_or_else(|| RenderError::UnknownCurrency(amount.currency.clone()))
        };
        let start = Moment::of(facts.starts, &zone, texts)?;
        let end = Moment::of(facts.ends, &zone, texts)?;
        // The short form names one date and one zone for both ends, so both must be the same.
        let pattern = if (&start.date, &start.zone) == (&end.date, &end.zone) {
            &texts.same_day
        } else {
            &texts.other_day
        };
        let when = phrase(
            pattern,
            context! { start => start.value(), end => end.value() },
        )?;
        let hold_until = match facts.hold_until {
            Some(at) => Some(phrase(
                &texts.moment,
                context! { at => Moment::of(at, &zone, texts)?.value() },
            )?),
            None => None,
        };
        Ok(Words {
            when,
            start,
            hold_until,
            zone: zone.iana_name().unwrap_or(&facts.zone).to_owned(),
            price: amount(&facts.price)?,
            paid: amount(&facts.paid)?,
            refunded: amount(&facts.refunded)?,
            due: amount(&due)?,
            has_price: facts.price.minor > 0,
            has_paid: facts.paid.minor > 0,
            has_refunded: facts.refunded.minor > 0,
            has_due: due.minor > 0,
            reference: facts.reference,
            customer_name: facts.customer_name,
            service: facts.service,
            staff: facts.staff,
            room: facts.room,
            business: facts.business,
            location: facts.location,
            cancel_reason: facts.cancel_reason,
        })
    }

    /// Under the names that the language files use.
    pub(super) fn value(&self) -> Value {
        let Words {
            reference,
            customer_name,
            service,
            staff,
            room,
            business,
            location,
            zone,
            when,
            ..
        } = self;
        let Words {
            price,
            paid,
            refunded,
            due,
            has_paid,
            has_refunded,
            has_due,
            hold_until,
            ..
        } = self;
        context! {
            reference, customer_name, service, staff, room, business, location, zone, when,
            price, paid, refunded, due, has_paid, has_refunded, has_due, hold_until,
            start => self.start.value(),
        }
    }
}

impl Moment {
    fn of(at: Timestamp, zone: &TimeZone, texts: &Texts) -> Result<Moment, RenderError> {
        let local = at.to_zoned(zone.clone());
        let day = context! {
            weekday => &texts.weekdays[local.weekday().to_monday_zero_offset() as usize],
            month => &texts.months[local.month() as usize - 1],
            day => local.day(),
            year => local.year(),
        };
        let clock = context! { hour => format!("{:02}", local.hour()), minute => format!("{:02}", local.minute()) };
        let name = zone.to_offset_info(at).abbreviation().to_owned();
        Ok(Moment {
            date: phrase(&texts.date, day.clone())?,
            short_date: phrase(&texts.short_date, day)?,
            time: phrase(&texts.time, clock)?,
            // Zones without a name of their own are called by their offset: “+04” reads like
            // arithmetic.
            zone: if name.starts_with(['+', '-']) {
                format!("UTC{name}")
            } else {
                name
            },
        })
    }

    fn value(&self) -> Value {
        let Moment {
            date,
            short_date,
            time,
            zone,
        } = self;
        context! { date, short_date, time, zone }
    }
}
