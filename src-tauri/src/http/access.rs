//! Who gets in: a token that can be used once buys a cookie for the life of the process.

use std::sync::Mutex;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use bizing_engine::runtime::ids;
use subtle::ConstantTimeEq;

pub struct Access {
    /// Cookies do not know ports: two desks on one computer need two names.
    cookie: String,
    session: String,
    token: String,
    /// A token that somebody fixed may be used again: tests open many browsers.
    once: bool,
    used: Mutex<bool>,
}

/// `BIZING_TOKEN`, for tests and for people who script their browser.
pub fn fixed_token() -> Result<Option<String>, String> {
    let Some(token) = std::env::var_os("BIZING_TOKEN").filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    match token.into_string() {
        Ok(token)
            if token.len() >= 16
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') =>
        {
            Ok(Some(token))
        }
        _ => Err(
            "The environment variable BIZING_TOKEN cannot be used: it lets anybody in who knows it, so it needs at least 16 letters, \
             digits, `-` or `_`. Leave it out to get a random one."
                .to_owned(),
        ),
    }
}

impl Access {
    pub fn new(port: u16, fixed: Option<String>) -> Access {
        Access {
            cookie: format!("bizing_desk_{port}"),
            session: ids::password(),
            once: fixed.is_none(),
            token: fixed.unwrap_or_else(ids::password),
            used: Mutex::new(false),
        }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The cookie for a right token. `None`: wrong, or used before.
    pub fn exchange(&self, token: &str) -> Option<String> {
        if !same(token, &self.token) {
            return None;
        }
        let mut used = self.used.lock().unwrap_or_else(|e| e.into_inner());
        if self.once && *used {
            return None;
        }
        *used = true;
        Some(format!(
            "{}={}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie, self.session
        ))
    }

    /// By the cookie, or by a token that somebody fixed: a program that watches has no browser to keep a cookie in.
    pub fn is_inside(&self, headers: &HeaderMap) -> bool {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !self.once && bearer.is_some_and(|token| same(token, &self.token)) {
            return true;
        }
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == self.cookie && same(value, &self.session))
    }
}

/// In a time that does not tell how much of it was right.
fn same(given: &str, wanted: &str) -> bool {
    given.as_bytes().ct_eq(wanted.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_works_once_and_its_cookie_as_long_as_the_process() {
        let access = Access::new(7310, None);
        let token = access.token().to_owned();
        assert_eq!(access.exchange("wrong"), None);
        let cookie = access.exchange(&token).unwrap();
        assert_eq!(access.exchange(&token), None);
        let pair = cookie.split(';').next().unwrap();
        assert!(access.is_inside(&with_cookie(&format!("a=b; {pair}; c=d"))));
        assert!(!access.is_inside(&with_cookie("bizing_desk_7310=")));
        assert!(!access.is_inside(&HeaderMap::new()));
        assert!(!Access::new(7311, None).is_inside(&with_cookie(pair)));
    }

    #[test]
    fn a_fixed_token_works_again() {
        let access = Access::new(1, Some("0123456789abcdef".into()));
        assert!(access.exchange("0123456789abcdef").is_some());
        assert!(access.exchange("0123456789abcdef").is_some());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer 0123456789abcdef".parse().unwrap());
        assert!(access.is_inside(&headers));
        headers.insert(AUTHORIZATION, "Bearer 0123456789abcdee".parse().unwrap());
        assert!(!access.is_inside(&headers));
    }
}
