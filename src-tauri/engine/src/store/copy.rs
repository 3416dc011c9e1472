//! PostgreSQL's binary COPY, out of the log and into read models. Rows go by without a row object for each.

use chrono::{DateTime, Utc};
use uuid::Uuid;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// 1 January 2000 in microseconds: where the server's time begins.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

#[derive(Debug, thiserror::Error)]
#[error("the server's COPY is not what it should be: {0}")]
pub struct Damaged(pub(super) &'static str);

/// Rows on their way in.
#[derive(Default)]
pub struct Rows {
    buffer: Vec<u8>,
}

impl Rows {
    pub fn new() -> Rows {
        let mut buffer = Vec::with_capacity(1 << 20);
        buffer.extend_from_slice(SIGNATURE);
        buffer.extend_from_slice(&[0; 8]);
        Rows { buffer }
    }

    /// Begins a row of that many columns.
    pub fn row(&mut self, columns: i16) {
        self.buffer.extend_from_slice(&columns.to_be_bytes());
    }

    pub fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.field(value.as_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    pub fn bigint(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    pub fn int(&mut self, value: i32) {
        self.field(&value.to_be_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.field(value);
    }

    pub fn time(&mut self, value: DateTime<Utc>) {
        self.bigint(value.timestamp_micros() - EPOCH_MICROS);
    }

    /// JSON as text, for a `jsonb` column.
    pub fn json(&mut self, value: &str) {
        self.length(value.len() + 1);
        self.buffer.push(1);
        self.buffer.extend_from_slice(value.as_bytes());
    }

    pub fn or_null<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Rows, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.null(),
        }
    }

    /// The rows so far, once they are that many bytes: for whoever sends them while the next are made.
    pub fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.buffer.len() < bytes {
            return None;
        }
        let next = Vec::with_capacity(bytes + bytes / 8);
        Some(std::mem::replace(&mut self.buffer, next))
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        self.buffer
    }

    fn field(&mut self, value: &[u8]) {
        self.length(value.len());
        self.buffer.extend_from_slice(value);
    }

    fn length(&mut self, bytes: usize) {
        // A field is at most a gigabyte to the server.
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&bytes.to_be_bytes());
    }
}

/// Takes rows out of what the server sends, wherever it cuts them.
#[derive(Default)]
pub struct Reader {
    left: Vec<u8>,
    begun: bool,
}

impl Reader {
    /// Gives each whole row in `chunk` (and what was left before) to `each`.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Fields<'_>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        // The server sends a row a message, so mostly nothing is left and nothing is copied.
        let mut joined = std::mem::take(&mut self.left);
        let mut rest = if joined.is_empty() {
            chunk
        } else {
            joined.extend_from_slice(chunk);
            &joined[..]
        };
        if !self.begun {
            let Some((head, rows)) = rest.split_at_checked(19) else {
                self.left = rest.to_vec();
                return Ok(());
            };
            if &head[..11] != SIGNATURE {
                return Err(Damaged("it has no signature"));
            }
            rest = rows;
            self.begun = true;
        }
        loop {
            match whole_row(rest) {
                Some(0) => return Ok(()),
                Some(length) => {
                    each(Fields(&rest[2..length]))?;
                    rest = &rest[length..];
                }
                None => {
                    self.left = rest.to_vec();
                    return Ok(());
                }
            }
        }
    }
}

/// Bytes of the first row, if it is there whole. 0: the end.
fn whole_row(bytes: &[u8]) -> Option<usize> {
    let columns = i16::from_be_bytes(*bytes.first_chunk::<2>()?);
    if columns < 0 {
        return Some(0);
    }
    let mut at = 2;
    for _ in 0..columns {
        let length = i32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?);
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    (at <= bytes.len()).then_some(at)
}

/// The fields of one row, in order.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Damaged> {
        let (length, rest) = self
            .0
            .split_first_chunk::<4>()
            .ok_or(Damaged("a field is missing"))?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Ok(None);
        };
        let (field, rest) = rest
            .split_at_checked(length)
            .ok_or(Damaged("a field is cut off"))?;
        self.0 = rest;
        Ok(Some(field))
    }

    fn there(&mut self) -> Result<&'a [u8], Damaged> {
        self.bytes()?.ok_or(Damaged("a field is null"))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.there()?
            .try_into()
            .map_err(|_| Damaged("a field has another length"))
    }

    pub fn bigint(&mut self) -> Result<i64, Damaged> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub fn int(&mut self) -> Result<i32, Damaged> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, Damaged> {
        Ok(Uuid::from_bytes(self.fixed()?))
    }

    pub fn uuid_or_null(&mut self) -> Result<Option<Uuid>, Damaged> {
        self.bytes()?
            .map(|b| Uuid::from_slice(b).map_err(|_| Damaged("a uuid has 16 bytes")))
            .transpose()
    }

    pub fn time(&mut self) -> Result<DateTime<Utc>, Damaged> {
        DateTime::from_timestamp_micros(self.bigint()?.saturating_add(EPOCH_MICROS))
            .ok_or(Damaged("a time is out of range"))
    }

    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.there()?).map_err(|_| Damaged("a text is not UTF-8"))
    }

    /// The text of a `jsonb` field.
    pub fn json(&mut self) -> Result<&'a str, Damaged> {
        self.json_or_null()?.ok_or(Damaged("a field is null"))
    }

    pub fn json_or_null(&mut self) -> Result<Option<&'a str>, Damaged> {
        let Some(bytes) = self.bytes()? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| Damaged("a text is not UTF-8"))?;
        let text = text.strip_prefix('\u{1}');
        text.map(Some)
            .ok_or(Damaged("a jsonb field is of another version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_wherever_the_stream_is_cut() {
        let (id, at) = (
            Uuid::from_u128(7),
            DateTime::from_timestamp_micros(1_764_000_000_000_001).unwrap(),
        );
        let mut rows = Rows::new();
        for n in 0..3 {
            rows.row(5);
            rows.uuid(id);
            rows.bigint(n);
            rows.time(at);
            rows.json("{\"a\":1}");
            rows.or_null(None::<&str>, Rows::text);
        }
        let bytes = rows.finish();
        for cut in 1..bytes.len() {
            let (mut reader, mut seen) = (Reader::default(), 0);
            for chunk in bytes.chunks(cut) {
                reader
                    .feed(chunk, |mut f| {
                        assert_eq!(f.uuid()?, id);
                        assert_eq!(f.bigint()?, seen);
                        assert_eq!(f.time()?, at);
                        assert_eq!(f.json()?, "{\"a\":1}");
                        assert_eq!(f.bytes()?, None);
                        seen += 1;
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, 3, "cut every {cut} bytes");
        }
    }

    #[test]
    fn what_is_no_copy_is_an_error_and_never_a_panic() {
        let mut reader = Reader::default();
        let fed = reader.feed(&[7; 40], |_| Ok(()));
        assert!(fed.is_err());
        assert!(Fields(&[0, 0, 0, 9, 1]).text().is_err());
        assert!(Fields(&[]).bigint().is_err());
    }
}
