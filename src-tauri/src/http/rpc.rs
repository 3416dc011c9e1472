//! `POST /rpc/{command}`: the request as JSON, the reply or the error as JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use bizing_engine::app::dispatch::dispatch;
use bizing_engine::app::error;
use bizing_engine::app::wire::{AppError, Code};
use serde_json::value::RawValue;

use super::{Door, guard};

pub const LARGEST_REQUEST: usize = 1024 * 1024;

pub async fn rpc(
    State(door): State<Arc<Door>>,
    Path(command): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection),
    };
    let params: Box<RawValue> = match serde_json::from_slice(&body) {
        Ok(params) => params,
        Err(e) => return failed(error::bad_request(&command, &e)),
    };
    match dispatch(&door.host, &command, &params).await {
        // Serialised once, by `dispatch`.
        Ok(reply) => ([(CONTENT_TYPE, JSON)], reply).into_response(),
        Err(error) => failed(error),
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn unread(rejection: &BytesRejection) -> Response {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => guard::refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request is larger than 1 MB.",
        ),
        status => guard::refused(status, "The request did not arrive whole."),
    }
}

fn failed(error: AppError) -> Response {
    (status(error.code), Json(error)).into_response()
}

/// For tools and logs; the window looks at the code alone.
fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::UnknownCommand | Code::NotFound => StatusCode::NOT_FOUND,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::CommandReused | Code::SlotTaken | Code::Refused | Code::Conflict => {
            StatusCode::CONFLICT
        }
        Code::DatabaseNotChosen
        | Code::DatabaseStarting
        | Code::DatabaseUnreachable
        | Code::WrongPassword
        | Code::SchemaOlder
        | Code::SchemaNewer
        | Code::NoServer
        | Code::SandboxUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
