//! Amounts as people read them.

use super::facts::Amount;
use super::texts::MoneyStyle;
use crate::domain::money::exponent;

/// `€1,234.50`, `CHF 80.00`, `¥8,000`, `KWD 1.250`.
pub(super) fn format(amount: &Amount, style: &MoneyStyle) -> Option<String> {
    let digits = exponent(&amount.currency)?;
    let sign = if amount.minor < 0 { "−" } else { "" };
    // Zeros in front, so that there is always at least one digit before the mark.
    let plain = format!(
        "{:0width$}",
        amount.minor.unsigned_abs(),
        width = digits + 1
    );
    let (whole, fraction) = plain.split_at(plain.len() - digits);
    let mut number = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            number.push_str(&style.group);
        }
        number.push(digit);
    }
    if digits > 0 {
        number.push_str(&style.decimal);
        number.push_str(fraction);
    }
    let unit = match style.symbols.get(&amount.currency) {
        Some(symbol) => symbol.clone(),
        // The space does not break, so that the number never stands alone at the start of a line.
        None => format!("{}\u{a0}", amount.currency),
    };
    Some(if style.unit_first {
        format!("{sign}{unit}{number}")
    } else {
        format!("{sign}{number}\u{a0}{}", unit.trim_end())
    })
}
