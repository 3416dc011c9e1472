//! Comma-separated values for a spreadsheet.

/// Quoted where it must be; and what a spreadsheet would take for a formula is text.
pub fn field(text: &str) -> String {
    let text = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') if text.parse::<f64>().is_err() => {
            format!("'{text}")
        }
        _ => text.to_owned(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_no_formula_and_breaks_no_line() {
        assert_eq!(field("BK-7Q4M2K"), "BK-7Q4M2K");
        assert_eq!(field("-500"), "-500");
        assert_eq!(field("=cmd()"), "'=cmd()");
        assert_eq!(field("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
    }
}
