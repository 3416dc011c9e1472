//! Who will stop the server: the process that holds `owner.lock`.
//!
//! A running server whose lock is free is an orphan; whoever notices first adopts it. Each server gets a new lock
//! *file*: an owner whose server died may live on and still hold the old one, and must not count as the new one's owner.
//! Both functions are called under the start lock, so they never meet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};

use crate::error::StartError;
use crate::folder::Folder;

#[derive(Debug)]
pub(crate) struct Ownership {
    file: File,
}

impl Ownership {
    /// For a server that we are about to start.
    pub fn found(folder: &Folder) -> Result<Self, StartError> {
        let path = folder.root.join("owner.lock");
        let fresh = folder
            .root
            .join(format!("owner.lock.{:016x}", rand::random::<u64>()));
        let make = || {
            let mut file = folder.open(
                &fresh,
                OpenOptions::new().read(true).write(true).create_new(true),
            )?;
            file.try_lock().map_err(io::Error::from)?;
            write!(file, "{}", std::process::id())?;
            fs::rename(&fresh, &path)?;
            Ok(file)
        };
        make().map(|file| Self { file }).map_err(|e| {
            let _ = fs::remove_file(&fresh);
            StartError::io("taking the ownership lock", &path, e)
        })
    }

    /// For a server that already runs: `None` if its owner lives. Also the process that owned it last, which may still
    /// be about to end.
    pub fn adopt(folder: &Folder) -> Result<Option<(Self, Option<i32>)>, StartError> {
        let path = folder.root.join("owner.lock");
        let failed = |e| StartError::io("taking the ownership lock", &path, e);
        let how = &mut OpenOptions::new();
        let mut file = folder
            .open(&path, how.read(true).write(true).create(true))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Ok(Some((Self { file }, text.trim().parse().ok())))
    }

    /// Puts our name on a lock that we adopted.
    pub fn sign(mut self, folder: &Folder) -> Result<Self, StartError> {
        let sign = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| write!(self.file, "{}", std::process::id()));
        sign.map_err(|e| {
            StartError::io(
                "signing the ownership lock",
                &folder.root.join("owner.lock"),
                e,
            )
        })?;
        Ok(self)
    }
}
