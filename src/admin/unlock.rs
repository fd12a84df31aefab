//! `POST /unlock`: ends pauses of logins before their time.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, post};

use serde_json::{Map, Value};

use super::refuse_unless;
use super::server::{Pages, Unlock};
use super::workstations::Peer;

/// Bytes of the question; two names fit.
const QUESTION: usize = 4 << 10;
/// Bytes of a name: more than a mail address may have (RFC 5321 section 4.5.3.1.3).
const NAME: usize = 512;

pub(super) fn route() -> MethodRouter<Pages> {
    post(unlock).layer(DefaultBodyLimit::max(QUESTION))
}

async fn unlock(
    State(pages): State<Pages>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    question: Bytes,
) -> Response {
    if let Some(refusal) = refuse_unless("unlock", &headers) {
        return refusal;
    }
    // An object: serde would also take a list, of which an empty one would end all pauses.
    let object = serde_json::from_slice::<Map<String, Value>>(&question);
    let question = object.and_then(|object| serde_json::from_value(Value::Object(object)));
    let Ok(question): Result<Unlock, _> = question else {
        let wanted =
            "send JSON: {\"account\": \"...\", \"workstation\": \"...\"}, either may be absent\n";
        return (StatusCode::BAD_REQUEST, wanted).into_response();
    };
    let names = [&question.account, &question.workstation];
    if names.into_iter().flatten().any(|name| name.is_empty() || name.len() > NAME) {
        return (StatusCode::BAD_REQUEST, "a name is empty or too long\n").into_response();
    }
    Json((pages.unlock)(&question, peer)).into_response()
}
