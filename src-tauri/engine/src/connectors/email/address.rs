//! Addresses and names as they may appear on an envelope and in a header.

use lettre::Address;

/// Reads an address and writes its domain in ASCII (`anna@bücher.example` becomes
/// `anna@xn--bcher-kva.example`), because every server takes that form and only those with SMTPUTF8
/// take the other. What stands before the `@` has no such form and stays as it is.
pub(super) fn parse_address(text: &str) -> Result<Address, String> {
    let text = text.trim();
    let Some((user, domain)) = text.rsplit_once('@') else {
        return Err(format!("“{}” has no @", one_line(text)));
    };
    let reason = || format!("“{}” is not an e-mail address", one_line(text));
    let domain = match url::Host::parse(domain) {
        Ok(url::Host::Domain(ascii)) => ascii,
        // A literal such as [192.0.2.1] is legal; leave its spelling to the address parser.
        Ok(_) | Err(_) if domain.starts_with('[') => domain.to_owned(),
        Ok(_) | Err(_) => return Err(reason()),
    };
    if text.chars().any(char::is_control) {
        return Err(reason());
    }
    Address::new(user, domain).map_err(|_| reason())
}

/// One line of text that cannot pretend to be anything else: line breaks and control characters
/// become a space, runs of space one space, and the marks that reverse the reading direction of
/// what follows are dropped.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            // U+2028 and U+2029 are line breaks to Unicode but not to `is_control`.
            c if c.is_whitespace() && c != '\u{a0}' || c.is_control() => {
                if !line.is_empty() && !line.ends_with(' ') {
                    line.push(' ');
                }
            }
            c => line.push(c),
        }
    }
    line.truncate(line.trim_end_matches(' ').len());
    line
}
