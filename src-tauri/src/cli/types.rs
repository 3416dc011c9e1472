use std::io::Write;

use crate::{Ended, Failed};

pub fn run() -> Ended {
    let text = bizing_engine::app::typescript::typescript();
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failed::Run(format!("The types cannot be printed: {e}.")))
}
