//! Appending, beside bare one-row INSERTs into a table with the same columns and indexes at the same concurrency.

mod limit;
mod ours;
pub mod payload;

use std::sync::Arc;

use limit::Bare;
use ours::UseCase;

use super::ground::Ground;
use super::rounds::{compare, drive};
use super::{BenchError, Common};

const UNIT: &str = "events/s";

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    limit::make_table(&ground).await?;
    for writers in [8, 32] {
        let case = format!("use-case-{writers}");
        if !common.wants(&case) {
            continue;
        }
        let mut bare = Bare::many(&ground, writers).await?;
        let mut ours = UseCase::many(&ground, writers).await?;
        let figure = compare(
            &common,
            "append",
            &case,
            UNIT,
            async || drive(&mut bare, common.lasting()).await,
            async || drive(&mut ours, common.lasting()).await,
        )
        .await?;
        common.print(&figure);
    }
    Ok(())
}
