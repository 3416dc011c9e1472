//! What happens by itself: a backup each day with its proof, and the journal of erasures kept up to date beside them.

use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fault::BackupError;
use super::manifest::Why;
use super::room::Room;
use super::take::{Occasion, silent};
use crate::runtime::ids;

const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Runs in a process that works and may read the whole database. Of all of them one takes each day's backup.
pub async fn run(room: Room, stop: CancellationToken) {
    let holder = ids::v7();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = round(&room, holder) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn round(room: &Room, holder: Uuid) {
    if let Err(error) = once(room, holder).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the daily backup did not come to be; trying again in an hour"
        );
    }
}

/// One look. `true`: a backup was due, was taken and proved.
pub async fn once(room: &Room, holder: Uuid) -> Result<bool, BackupError> {
    room.register().await?;
    room.note_erasures().await?;
    if !room.due(holder).await? {
        return Ok(false);
    }
    let taken = match room.back_up(Occasion::new(Why::Daily), silent()).await {
        Ok(manifest) => manifest,
        // Written down and logged where it happened; or somebody is just taking one.
        Err(_) => return Ok(false),
    };
    room.prove(&taken, silent()).await?;
    room.tidy(Utc::now()).await?;
    room.give_back(holder).await?;
    Ok(true)
}
