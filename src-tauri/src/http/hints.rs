//! `/hints`: a WebSocket that says what to fetch again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::time::timeout;

use super::{Door, guard};
use crate::feed::Feed;

/// A window that takes longer to read one hint is gone or asleep; it connects again when it wakes.
const SLOWEST: Duration = Duration::from_secs(10);

pub async fn hints(State(door): State<Arc<Door>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(place) = door.listeners.clone().try_acquire_owned() else {
        return guard::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many windows listen to this desk: close some.",
        );
    };
    upgrade
        .max_message_size(1024)
        .max_frame_size(1024)
        .on_upgrade(async move |socket| {
            push(socket, &door).await;
            drop(place);
        })
}

async fn push(mut socket: WebSocket, door: &Door) {
    let mut feed = Feed::of(&door.host);
    loop {
        tokio::select! {
            () = door.stop.cancelled() => {
                let _ = timeout(SLOWEST, socket.send(Message::Close(None))).await;
                return;
            }
            hint = feed.next() => {
                let Some(Ok(text)) = hint.map(|h| serde_json::to_string(&h)) else { return };
                let Ok(Ok(())) = timeout(SLOWEST, socket.send(Message::Text(text.into()))).await else { return };
            }
            // Nothing is expected from the window, but its leaving is noticed here.
            message = socket.recv() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}
