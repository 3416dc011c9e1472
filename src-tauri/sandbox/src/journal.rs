//! The append-only file behind the state: one JSON line per request, holding everything that the request changed. The
//! object, its events and the answer kept under the key are one line, so a kill leaves all of them or none.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::model::{Answer, Event, Intent, Message, Refund, Session};

#[derive(Default, Serialize, Deserialize)]
pub struct Line {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<Intent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<Refund>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Seconds that the sandbox's clock is ahead of the computer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_s: Option<i64>,
}

impl Line {
    pub fn is_empty(&self) -> bool {
        self.intents.is_empty()
            && self.sessions.is_empty()
            && self.refunds.is_empty()
            && self.events.is_empty()
            && self.answers.is_empty()
            && self.messages.is_empty()
            && self.clock_ahead_s.is_none()
    }
}

pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens the file, hands every whole line to `apply`, and cuts a torn last line off, since the next line would
    /// otherwise be glued to it. A bad line anywhere else means that the file isn't ours, or was edited: that is said.
    pub fn open(path: &Path, mut apply: impl FnMut(Line)) -> anyhow::Result<Journal> {
        let shown = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("can't open the sandbox's journal {shown}"))?;
        if file.try_lock().is_err() {
            bail!("another sandbox is using the journal {shown}");
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)
            .with_context(|| format!("can't read {shown}"))?;
        let mut whole = 0;
        for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if !line.ends_with(b"\n") {
                tracing::warn!(
                    bytes = line.len(),
                    "the sandbox's journal ends in a torn line; it is cut off"
                );
                break;
            }
            let line: Line = serde_json::from_slice(line)
                .with_context(|| format!("line {} of {shown} is not ours", number + 1))?;
            apply(line);
            whole += text[whole..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
        }
        if whole < text.len() {
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Journal { file })
    }

    /// One write call, so that a kill can't tear anything but the end. It reaches the kernel, which is what surviving
    /// a killed process needs; surviving a power cut is not a sandbox's business.
    pub fn append(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .context("can't write the sandbox's journal")
    }
}
