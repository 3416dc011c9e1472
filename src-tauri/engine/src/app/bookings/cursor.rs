//! Where a page of the list ended. Opaque to the window; a cursor of another sorting is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::wire::{AppError, BookingSort};

/// The sort key of the last row, in the type of its column. Times in microseconds: Postgres keeps no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    Time(i64),
    Text(String),
    Number(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub sort: BookingSort,
    pub descending: bool,
    pub key: Key,
    /// Breaks ties, so that equal keys come once each.
    pub booking_id: Uuid,
}

impl Cursor {
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub fn parse(text: &str, sort: BookingSort, descending: bool) -> Result<Cursor, AppError> {
        let refused = || {
            AppError::invalid(
                "after",
                "This is not the end of a page of this list: start again at its first page.",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| refused())?;
        let fits = matches!(
            (sort, &cursor.key),
            (BookingSort::Starts | BookingSort::Changed, Key::Time(_))
                | (BookingSort::Customer | BookingSort::Reference, Key::Text(_))
                | (BookingSort::Price, Key::Number(_))
        );
        if fits && cursor.sort == sort && cursor.descending == descending {
            Ok(cursor)
        } else {
            Err(refused())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            sort: BookingSort::Customer,
            descending: true,
            key: Key::Text("Ēriks \"O'Neil\" 李".into()),
            booking_id: Uuid::from_u128(7),
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let c = cursor();
        assert_eq!(
            Cursor::parse(&c.text(), BookingSort::Customer, true).unwrap(),
            c
        );
    }

    #[test]
    fn a_cursor_of_another_sorting_or_by_somebody_else_is_refused_at_its_field() {
        let text = cursor().text();
        let mixed = Cursor {
            key: Key::Number(1),
            ..cursor()
        }
        .text();
        for (text, sort, descending) in [
            (text.as_str(), BookingSort::Price, true),
            (text.as_str(), BookingSort::Customer, false),
            (mixed.as_str(), BookingSort::Customer, true),
            ("rubbish!", BookingSort::Customer, true),
            ("", BookingSort::Customer, true),
        ] {
            let error = Cursor::parse(text, sort, descending).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("after"));
        }
    }
}
