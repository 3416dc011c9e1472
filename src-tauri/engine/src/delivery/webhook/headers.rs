//! Headers: which an endpoint may have of its own, and what of any of them may be shown.

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// Ours, or what the connection itself needs.
const TAKEN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const SECRET: &[&str] = &[
    "auth",
    "cookie",
    "secret",
    "token",
    "password",
    "session",
    "api-key",
    "apikey",
    "credential",
];
/// Nearly all that there is to show.
const PLAIN: &[&str] = &[
    "bizing-attempt",
    "bizing-delivery-id",
    "content-length",
    "content-type",
    "date",
    "server",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];
const SHOWN: usize = 64;
const SHOWN_VALUE: usize = 1_024;
const STARS: &str = "***";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("`{0}` is no name of a header")]
    Name(String),
    #[error("`{0}` is set by the desk itself")]
    Taken(String),
    #[error(
        "the value of `{0}` cannot stand in a header: it has a line break, a control character or over 4096 characters"
    )]
    Value(String),
    #[error("an endpoint has up to 20 headers of its own")]
    TooMany,
}

/// Headers that an admin gives an endpoint.
pub fn check_custom<'a>(
    given: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<(HeaderName, HeaderValue)>, BadHeader> {
    let mut checked = vec![];
    for (name, value) in given {
        let bad = || BadHeader::Name(name.to_owned());
        let known = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
        let text = known.as_str();
        if TAKEN.contains(&text) || text.starts_with("webhook-") || text.starts_with("bizing-") {
            return Err(BadHeader::Taken(text.to_owned()));
        }
        let unusable = || BadHeader::Value(text.to_owned());
        if value.len() > 4_096 {
            return Err(unusable());
        }
        let mut kept = HeaderValue::from_str(value).map_err(|_| unusable())?;
        kept.set_sensitive(true);
        checked.push((known, kept));
    }
    if checked.len() > 20 {
        return Err(BadHeader::TooMany);
    }
    Ok(checked)
}

/// Name and value of each as JSON, for the record of a try. What may be secret is `***`: values that were marked so, and those
/// of headers that are called like secrets.
pub fn masked(headers: &HeaderMap) -> String {
    let shown: Vec<(&str, Cow<'_, str>)> = headers
        .iter()
        .take(SHOWN)
        .map(|(name, value)| {
            let name = name.as_str();
            if value.is_sensitive() || may_be_secret(name) {
                return (name, Cow::Borrowed(STARS));
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            if text.len() <= SHOWN_VALUE {
                return (name, text);
            }
            (name, text.chars().take(SHOWN_VALUE).collect())
        })
        .collect();
    serde_json::to_string(&shown).unwrap_or_default()
}

fn may_be_secret(name: &str) -> bool {
    !PLAIN.contains(&name) && SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_break_a_request_or_imitate_us_are_refused() {
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "1"),
            ("Webhook-Id", "msg_1"),
            ("bizing-test", "1"),
            ("a b", "x"),
            ("", "x"),
            ("x-a", "1\r\nx-b: 2"),
            ("transfer-encoding", "chunked"),
        ] {
            assert!(check_custom([(name, value)]).is_err(), "{name}");
        }
        assert_eq!(
            check_custom([("Authorization", "Bearer x")]).unwrap().len(),
            1
        );
    }

    #[test]
    fn what_may_be_secret_is_never_recorded() {
        let mut headers = HeaderMap::new();
        for (name, value) in check_custom([("X-Shop", "42")]).unwrap() {
            headers.insert(name, value);
        }
        for (name, value) in [
            ("set-cookie", "sid=abc"),
            ("x-api-key", "abc"),
            ("authorization", "abc"),
            ("server", "nginx"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let shown = masked(&headers);
        assert!(!shown.contains("abc") && !shown.contains("42"), "{shown}");
        assert!(shown.contains(r#"["server","nginx"]"#));
    }
}
