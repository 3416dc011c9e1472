//! One window per data folder. Two would only fight over who shows what; a second data folder is a second desk.

use std::fs::{File, OpenOptions};

use bizing_engine::runtime::config::Config;

use crate::Failed;

/// Held for as long as the window is open; the system lets go of it when the process ends, however it ends.
pub struct Instance(#[allow(dead_code, reason = "kept for its lock")] File);

impl Instance {
    /// `None`: a window is open already. A folder that cannot be written is not decided here: the window says so.
    pub fn claim(config: &Config) -> Result<Option<Instance>, Failed> {
        let path = config.data.join("window.lock");
        let opened = config.prepare_data().and_then(|()| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).open(&path)
        });
        match opened {
            Ok(file) => Ok(file.try_lock().is_ok().then_some(Instance(file))),
            Err(error) => Err(Failed::Run(format!(
                "The data folder {} cannot be used: {error}. Make it writable for your account, or set BIZING_DATA to another folder.",
                config.data.display()
            ))),
        }
    }
}
