//! The list for a spreadsheet.

use std::io::Write;
use std::path::Path;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::{AppError, Code, ListSagas};

use super::super::failed;
use crate::{Ended, Failed};

pub async fn write(desk: &Desk, file: &Path, request: ListSagas) -> Ended {
    let mut out = target(file)?;
    let written = sagas::export(desk, request, |text| {
        out.write_all(text.as_bytes())
            .map_err(|e| AppError::new(Code::Internal, format!("It could not be written: {e}.")))
    })
    .await
    .map_err(failed)?;
    out.flush()
        .map_err(|e| Failed::Run(format!("It could not be written: {e}.")))?;
    eprintln!("{written} sagas.");
    Ok(())
}

fn target(file: &Path) -> Result<Box<dyn Write + Send>, Failed> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::BufWriter::new(std::io::stdout())));
    }
    let new = std::fs::File::create_new(file).map_err(|e| {
        Failed::Usage(format!(
            "{} cannot be written: {e}. Name a file that is not there yet.",
            file.display()
        ))
    })?;
    Ok(Box::new(std::io::BufWriter::new(new)))
}
