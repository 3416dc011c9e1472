//! The append-only file behind the state: one JSON line per request, holding everything that the request changed. The
//! object, its events and the answer kept under the key are one line, so a kill leaves all of them or none.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::model::{Answer, Dispute, Event, Intent, Message, Refund, Session};

#[derive(Default, Serialize, Deserialize)]
pub struct Line {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<Intent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<Refund>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputes: Vec<Dispute>,
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
            && self.disputes.is_empty()
            && self.events.is_empty()
            && self.answers.is_empty()
            && self.messages.is_empty()
            && self.clock_ahead_s.is_none()
    }
}

pub struct Journal {
    file: File,
    path: PathBuf,
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
        Ok(Journal {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes the file anew with each line as `change` leaves it: what is to be forgotten must not stand in it either. A
    /// kill leaves the old file or the new one.
    pub fn rewrite(&mut self, mut change: impl FnMut(&mut Line)) -> anyhow::Result<()> {
        let text = std::fs::read(&self.path).context("can't read the sandbox's journal")?;
        let mut anew = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let mut line: Line = serde_json::from_slice(line)?;
            change(&mut line);
            if !line.is_empty() {
                serde_json::to_writer(&mut anew, &line)?;
                anew.push(b'\n');
            }
        }
        let beside = self.path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&beside)?;
            // Locked before it has its name: nobody else ever holds the journal.
            file.lock()?;
            file.set_len(0)?;
            file.write_all(&anew)?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            Ok::<_, std::io::Error>(file)
        };
        self.file = write().context("can't write the sandbox's journal anew")?;
        Ok(())
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
