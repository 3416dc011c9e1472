//! The whole log as the menu of the Events page saves it: JSON lines, a piece in each answer.

use std::time::Instant;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::events;
use bizing_engine::app::wire::{EventFilter, ExportEvents};

use crate::cli::bench::BenchError;
use crate::cli::bench::rounds::Sample;

pub async fn whole(desk: &Desk) -> Result<Sample, BenchError> {
    let (began, mut latencies, mut count) = (Instant::now(), vec![], 0);
    let mut ask = ExportEvents {
        filter: EventFilter::default(),
        after: 0,
        upto: None,
    };
    loop {
        let asked = Instant::now();
        let piece = events::lines(desk, ask.clone())
            .await
            .map_err(|e| e.message)?;
        latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
        count += u64::from(piece.events);
        if piece.after >= piece.upto {
            return Ok(Sample::of(count, began.elapsed(), latencies));
        }
        (ask.after, ask.upto) = (piece.after, Some(piece.upto));
    }
}
