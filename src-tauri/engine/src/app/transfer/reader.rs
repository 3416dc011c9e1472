//! A file read line by line, each line checked against the rules of the format. Memory stays at one line.

use std::io::{BufRead, Read};

use super::TransferError;
use super::format::{Chain, EventLine, FORMAT, Footer, Header, LINE_MAX_BYTES, Part, VERSION};

pub struct Reader<'f> {
    file: &'f mut (dyn BufRead + Send),
    pub header: Header,
    pub footer: Option<Footer>,
    /// Of the line read last; the first is 1.
    pub line: u64,
    /// Position of the event read last.
    pub position: i64,
    pub events: u64,
    chain: Chain,
    buffer: Vec<u8>,
}

impl<'f> Reader<'f> {
    pub fn open(file: &'f mut (dyn BufRead + Send)) -> Result<Reader<'f>, TransferError> {
        let mut buffer = vec![];
        let there = read_line(file, &mut buffer, 1)?;
        let refused = |rule: String| TransferError::Refused { line: 1, rule };
        if !there {
            return Err(refused("the file is empty".to_owned()));
        }
        let mut chain = Chain::default();
        let header = match chain.read(&buffer).map_err(refused)? {
            Part::Header(header) => header,
            _ => return Err(refused("a file begins with its header".to_owned())),
        };
        if header.format != FORMAT {
            return Err(refused(format!(
                "`{}` is another format than {FORMAT}",
                header.format
            )));
        }
        if header.version > VERSION {
            return Err(refused(format!(
                "the file has version {} of the format, and this program knows up to {VERSION}: update the desk",
                header.version
            )));
        }
        Ok(Reader {
            file,
            position: header.after.position,
            header,
            footer: None,
            line: 1,
            events: 0,
            chain,
            buffer,
        })
    }

    /// `None` after the footer, which then stands in `footer`.
    pub fn event(&mut self) -> Result<Option<(EventLine<'_>, &str)>, TransferError> {
        if self.footer.is_some() {
            return Ok(None);
        }
        self.line += 1;
        let line = self.line;
        let refused = |rule: String| TransferError::Refused { line, rule };
        if !read_line(self.file, &mut self.buffer, line)? {
            return Err(refused(format!(
                "the file ends here without its footer, after {} of {} events: it was cut off",
                self.events, self.header.events
            )));
        }
        match self.chain.read(&self.buffer).map_err(refused)? {
            Part::Header(_) => Err(refused(
                "a file has one header, in its first line".to_owned(),
            )),
            Part::Event(event, body) => {
                if event.position <= self.position || event.position > self.header.upto {
                    return Err(refused(format!(
                        "position {} does not lie above {}, where the line before stands, and within {}, where the file ends",
                        event.position, self.position, self.header.upto
                    )));
                }
                self.position = event.position;
                self.events += 1;
                Ok(Some((event, body)))
            }
            Part::Footer(footer) => {
                let told = (
                    footer.events,
                    footer.last_position,
                    footer.log_sha256.clone(),
                );
                let read = (self.events, self.position, self.chain.log_sha256());
                if told != read || footer.events != self.header.events {
                    return Err(refused(format!(
                        "the footer tells of {} events up to position {}, the header of {}, and {} up to {} were read",
                        footer.events,
                        footer.last_position,
                        self.header.events,
                        self.events,
                        self.position
                    )));
                }
                let mut more = vec![];
                if read_line(self.file, &mut more, line + 1)? {
                    return Err(TransferError::Refused {
                        line: line + 1,
                        rule: "something stands after the footer".to_owned(),
                    });
                }
                self.footer = Some(footer);
                Ok(None)
            }
        }
    }
}

/// Without its line feed. `false` at the end of the file. A last line without a line feed was cut off.
fn read_line(
    file: &mut (dyn BufRead + Send),
    into: &mut Vec<u8>,
    line: u64,
) -> Result<bool, TransferError> {
    into.clear();
    let mut bounded = file.take(LINE_MAX_BYTES as u64 + 1);
    let n = bounded
        .read_until(b'\n', into)
        .map_err(TransferError::Read)?;
    let refused = |rule: String| Err(TransferError::Refused { line, rule });
    match into.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if n > LINE_MAX_BYTES => {
            refused(format!("it is longer than {} MB", LINE_MAX_BYTES >> 20))
        }
        Some(_) => refused("it does not end: the file was cut off within it".to_owned()),
    }
}
