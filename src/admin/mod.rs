//! What machines and people may look at, and the three things that they may ask for:
//!
//! | path       | answers                                                                     |
//! |------------|-----------------------------------------------------------------------------|
//! | `/`        | a page for people, drawn from `/status`                                     |
//! | `/status`  | sessions, client modules, certificates, latest refusals, as JSON            |
//! | `/metrics` | Prometheus text                                                             |
//! | `/held`    | messages that are held because they came undecrypted, as JSON               |
//! | `/live`    | 200 while the process runs                                                  |
//! | `/ready`   | 200 if mail can go through, else 503 and what is missing                    |
//! | `/reload`  | POST: reads the configuration again; 200 and what changed, or 422 and why not |
//! | `/unlock`  | POST: ends login pauses; 200 and how many, or 400 and what is wrong with the question |
//! | `/held/release` | POST of an ID: lets that message go; 200, or 422 and why not            |
//!
//! Workstations may ask for one more, if that is switched on; see [`Workstations`].

mod hosts;
mod page;
mod server;
mod unlock;
mod workstations;

pub(crate) use hosts::Host;
pub use server::{
    Access, Config, HeldMessages, Pages, Reloaded, Unlock, Unlocked, Unlocker, serve,
};
pub use workstations::Workstations;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};

/// The routes of the pages and those of workstations, which may be in `admin.allow` too.
fn routes(pages: Pages) -> Router {
    let theirs = workstations::routes(pages.workstations.clone());
    let access = pages.access.clone();
    let pages = Router::new()
        .route("/", get(async || Html(page::HTML)))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/reload", post(reload))
        .route("/unlock", unlock::route())
        .route("/held", get(held))
        .route("/held/release", post(release))
        .with_state(pages)
        .layer(middleware::from_fn_with_state(access, own_names_only))
        .merge(theirs);
    pages.layer(middleware::from_fn(with_headers))
}

/// What a workstation may see whose address is not in `admin.allow`. It asks by the name of its mail
/// domain, so `Workstations` judges the name and [`own_names_only`] does not.
fn workstation_routes(workstations: Arc<dyn Workstations>) -> Router {
    workstations::only(workstations).layer(middleware::from_fn(with_headers))
}

async fn status(State(pages): State<Pages>) -> Response {
    Json(pages.observer.status()).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], pages.observer.encode()).into_response()
}

async fn ready(State(pages): State<Pages>) -> Response {
    let readiness = pages.observer.readiness();
    if readiness.ready {
        return "ready\n".into_response();
    }
    let missing: String = readiness.missing.iter().map(|missing| format!("{missing}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{missing}")).into_response()
}

/// The header without which `/reload`, `/unlock` and `/held/release` do nothing; it names the command.
/// A page in a browser, open on a machine in `admin.allow`, can send a form anywhere; it cannot add a header to what it sends to another
/// origin without asking first (Fetch, "CORS-preflight request"), and kimgate never says yes.
pub const COMMAND: &str = "kimgate-command";

/// The refusal of a request that no command of kimgate's has sent.
fn refuse_unless(command: &str, headers: &HeaderMap) -> Option<Response> {
    let is_browser = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
    let is_named = headers.get(COMMAND).is_some_and(|named| named == command);
    let refusal = || (StatusCode::FORBIDDEN, format!("use `kimgate {command}`\n"));
    (is_browser || !is_named).then(|| refusal().into_response())
}

async fn held(State(pages): State<Pages>) -> Response {
    // A long list takes a moment to be put in order.
    match tokio::task::spawn_blocking(move || pages.held.list()).await {
        Ok(list) => Json(list).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn release(State(pages): State<Pages>, headers: HeaderMap, id: String) -> Response {
    if let Some(refusal) = refuse_unless("held release", &headers) {
        return refusal;
    }
    // The release is written to a file.
    match tokio::task::spawn_blocking(move || pages.held.release(&id)).await {
        Ok(Ok(message)) => Json(message).into_response(),
        Ok(Err(problem)) => (StatusCode::UNPROCESSABLE_ENTITY, problem + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn reload(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refuse_unless("reload", &headers) {
        return refusal;
    }
    // Certificates and rules are read from files.
    match tokio::task::spawn_blocking(move || (pages.reload)()).await {
        Ok(done) if done.accepted => Json(done).into_response(),
        Ok(refused) => (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers only requests that ask for this gateway by a name of its own; see [`hosts`].
async fn own_names_only(
    State(access): State<Arc<ArcSwap<Access>>>,
    request: Request,
    next: Next,
) -> Response {
    if hosts::asks_for(&request, &access.load().hosts) {
        return next.run(request).await;
    }
    let refusal = "this host name is not known here: ask by IP address or by gateway.name, \
        or add the name to admin.hosts in the configuration\n";
    (StatusCode::FORBIDDEN, refusal).into_response()
}

/// Tells browsers how little the pages need.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, page::POLICY.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests;
