//! A person, as the business knows them. Personal data travels sealed; see `store::seal`.

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
}

impl std::fmt::Debug for Personal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Personal(***)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonalError {
    #[error("a customer needs a name")]
    NoName,
    #[error("the name is longer than 200 signs")]
    LongName,
    #[error("the name has a sign in it that cannot be seen: type it again")]
    UnseenSign,
    #[error(
        "`{0}` is not an e-mail address: it needs one @ and a domain, such as ines@example.com"
    )]
    Email(String),
    #[error(
        "`{0}` is not a phone number: write it with its country code, such as +351 912 345 678"
    )]
    Phone(String),
}

impl PersonalError {
    /// The field of the form that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            PersonalError::NoName | PersonalError::LongName | PersonalError::UnseenSign => {
                "customer.name"
            }
            PersonalError::Email(_) => "customer.email",
            PersonalError::Phone(_) => "customer.phone",
        }
    }
}

impl Personal {
    /// Trims, turns empty into absent, and refuses what could never reach anybody.
    pub fn checked(
        name: &str,
        email: Option<&str>,
        phone: Option<&str>,
    ) -> Result<Personal, PersonalError> {
        // A name pasted over two lines is one name.
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return Err(PersonalError::NoName);
        }
        if name.chars().count() > 200 {
            return Err(PersonalError::LongName);
        }
        if name.chars().any(char::is_control) {
            return Err(PersonalError::UnseenSign);
        }
        let email = present(email).map(checked_email).transpose()?;
        let phone = present(phone).map(checked_phone).transpose()?;
        Ok(Personal { name, email, phone })
    }
}

fn present(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|t| !t.is_empty())
}

/// Enough of it to know it again.
fn begin(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn checked_email(text: &str) -> Result<String, PersonalError> {
    let refused = || PersonalError::Email(begin(text));
    let (local, domain) = text.rsplit_once('@').ok_or_else(refused)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>,;:\"\\()[]".contains(c);
    let whole = !local.is_empty()
        && local.len() <= 64
        && domain.len() <= 253
        && domain
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
        && !local.contains('@')
        && !text.chars().any(odd);
    if whole {
        Ok(text.to_owned())
    } else {
        Err(refused())
    }
}

fn checked_phone(text: &str) -> Result<String, PersonalError> {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let known = text
        .chars()
        .all(|c| c.is_ascii_digit() || "+ -()./".contains(c));
    if known && (6..=15).contains(&digits) {
        Ok(text.to_owned())
    } else {
        Err(PersonalError::Phone(begin(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_reach_anybody_is_refused_at_its_field() {
        let field = |n, e, p| Personal::checked(n, e, p).unwrap_err().field();
        assert_eq!(field("  ", None, None), "customer.name");
        assert_eq!(field("Ana\0", None, None), "customer.name");
        assert_eq!(field("Ana\u{1b}[2J", None, None), "customer.name");
        assert_eq!(field("Ana", Some("ana"), None), "customer.email");
        assert_eq!(field("Ana", Some("ana@x..pt"), None), "customer.email");
        assert_eq!(
            field("Ana", Some("a\r\nBcc: x@y.pt"), None),
            "customer.email"
        );
        assert_eq!(field("Ana", None, Some("call me")), "customer.phone");
    }

    #[test]
    fn a_name_pasted_over_two_lines_is_one_name() {
        let p = Personal::checked("Ana\r\n  Beltrão\t", None, None).unwrap();
        assert_eq!(p.name, "Ana Beltrão");
    }

    #[test]
    fn empty_means_absent_and_names_of_all_scripts_are_fine() {
        let p = Personal::checked(" نور الخطيب ", Some(" "), Some("")).unwrap();
        assert_eq!(
            (p.name.as_str(), p.email, p.phone),
            ("نور الخطيب", None, None)
        );
    }
}
