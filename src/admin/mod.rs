//! What machines and people may look at, and the one thing that they may ask for:
//!
//! | path       | answers                                                                     |
//! |------------|-----------------------------------------------------------------------------|
//! | `/`        | a page for people, drawn from `/status`                                     |
//! | `/status`  | sessions, client modules, certificates, latest refusals, as JSON            |
//! | `/metrics` | Prometheus text                                                             |
//! | `/live`    | 200 while the process runs                                                  |
//! | `/ready`   | 200 if mail can go through, else 503 and what is missing                    |
//! | `/reload`  | POST: reads the configuration again; 200 and what changed, or 422 and why not |
//!
//! Workstations may ask for one more, if that is switched on; see [`Workstations`].

mod page;
mod server;
mod workstations;

pub use server::{Config, Pages, Reloaded, serve};
pub use workstations::Workstations;

use std::sync::Arc;

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

/// The routes. On loopback, only loopback names are answered to; see [`server::names_loopback`].
fn routes(pages: Pages, loopback: bool) -> Router {
    let theirs = workstations::routes(pages.workstations.clone());
    let pages = Router::new()
        .route("/", get(async || Html(page::HTML)))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/reload", post(reload))
        .with_state(pages)
        .merge(theirs);
    guarded(pages, loopback)
}

/// What a workstation may see whose address is not in `admin.allow`.
fn workstation_routes(workstations: Arc<dyn Workstations>, loopback: bool) -> Router {
    guarded(workstations::only(workstations), loopback)
}

fn guarded(routes: Router, loopback: bool) -> Router {
    routes.layer(middleware::from_fn_with_state(loopback, guard))
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

/// The header without which `/reload` does nothing. A page in a browser, open on a machine in
/// `admin.allow`, can send a form anywhere; it cannot add a header to what it sends to another
/// origin without asking first (Fetch, "CORS-preflight request"), and kimgate never says yes.
pub const COMMAND: &str = "kimgate-command";

async fn reload(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let is_browser = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
    if is_browser || headers.get(COMMAND).is_none_or(|command| command != "reload") {
        return (StatusCode::FORBIDDEN, "use `kimgate reload`\n").into_response();
    }
    // Certificates and rules are read from files.
    match tokio::task::spawn_blocking(move || (pages.reload)()).await {
        Ok(done) if done.accepted => Json(done).into_response(),
        Ok(refused) => (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Refuses foreign host names, and tells browsers how little the page needs.
async fn guard(State(loopback): State<bool>, request: Request, next: Next) -> Response {
    let mut response = match loopback && !server::names_loopback(&request) {
        true => (StatusCode::FORBIDDEN, "unknown host name\n").into_response(),
        false => next.run(request).await,
    };
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
