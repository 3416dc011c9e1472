//! Which sagas a list or a file is of.

use bizing_engine::app::wire::{PriceRange, SagaFilter, SagaOrder, SagaTab, SagaWho};
use bizing_engine::domain::money::exponent;

use crate::Failed;

#[derive(clap::Args)]
pub struct Filter {
    /// Whose turn it is.
    #[arg(long, value_enum, default_value = "needs-person")]
    tab: Tab,
    /// Only what this finds, whoever's turn it is: a reference, an e-mail, pi_…, evt_….
    #[arg(long)]
    search: Option<String>,
    /// Only those that you, or nobody, looks after.
    #[arg(long, value_enum)]
    who: Option<Who>,
    /// Only of this definition: booking, booking_free, cancellation.
    #[arg(long)]
    definition: Option<String>,
    /// Only what is as it is for longer than so many hours.
    #[arg(long, value_name = "HOURS")]
    older_than: Option<u32>,
    /// Only bookings whose price is in this currency.
    #[arg(long)]
    currency: Option<String>,
    /// Only bookings of this price or more: 95 or 95.00.
    #[arg(long, value_name = "PRICE", requires = "currency")]
    from: Option<String>,
    /// Only bookings of this price or less.
    #[arg(long, value_name = "PRICE", requires = "currency")]
    to: Option<String>,
    /// The dearest first, each currency by itself.
    #[arg(long)]
    by_price: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Who {
    Me,
    Nobody,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Tab {
    NeedsPerson,
    Snoozed,
    AtRisk,
    WaitingForCustomer,
    WaitingForProvider,
    Running,
    Done,
}

impl Tab {
    fn tab(self) -> SagaTab {
        match self {
            Tab::NeedsPerson => SagaTab::NeedsPerson,
            Tab::Snoozed => SagaTab::Snoozed,
            Tab::AtRisk => SagaTab::AtRisk,
            Tab::WaitingForCustomer => SagaTab::WaitingForCustomer,
            Tab::WaitingForProvider => SagaTab::WaitingForProvider,
            Tab::Running => SagaTab::Running,
            Tab::Done => SagaTab::Done,
        }
    }
}

impl Filter {
    pub fn asked(self) -> Result<SagaFilter, Failed> {
        let price = match self.currency {
            Some(currency) => {
                let currency = currency.to_uppercase();
                let minor =
                    |text: Option<String>| text.map(|text| minor(&text, &currency)).transpose();
                Some(PriceRange {
                    from_minor: minor(self.from)?,
                    to_minor: minor(self.to)?,
                    currency: currency.clone(),
                })
            }
            None => None,
        };
        Ok(SagaFilter {
            tab: self.tab.tab(),
            group: None,
            who: self.who.map(|who| match who {
                Who::Me => SagaWho::Me,
                Who::Nobody => SagaWho::Nobody,
            }),
            search: self.search,
            definition: self.definition,
            older_than_h: self.older_than,
            price,
            order: if self.by_price {
                SagaOrder::Price
            } else {
                SagaOrder::Time
            },
        })
    }
}

/// `95.5` of a currency with two decimals is 9550.
fn minor(text: &str, currency: &str) -> Result<i64, Failed> {
    let decimals = exponent(currency).unwrap_or(2) as usize;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = !whole.is_empty() && digits(whole) && digits(rest) && rest.len() <= decimals;
    fits.then(|| format!("{whole}{rest:0<decimals$}").parse().ok())
        .flatten()
        .ok_or_else(|| Failed::Usage(format!("{text} is no price in {currency}: write 95 or 95.50, with as many decimals as the currency has.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_with_its_currencys_decimals() {
        for (text, currency, wanted) in [
            ("95", "EUR", Some(9_500)),
            ("95.5", "EUR", Some(9_550)),
            ("95.05", "EUR", Some(9_505)),
            ("18000", "JPY", Some(18_000)),
            ("1.234", "KWD", Some(1_234)),
            ("95.055", "EUR", None),
            ("1.5", "JPY", None),
            ("-5", "EUR", None),
            ("", "EUR", None),
            ("1,5", "EUR", None),
            ("99999999999999999999", "EUR", None),
        ] {
            assert_eq!(minor(text, currency).ok(), wanted, "{text} {currency}");
        }
    }
}
