//! What machines and people may look at, and nothing that they could change:
//!
//! | path       | answers                                                                     |
//! |------------|-----------------------------------------------------------------------------|
//! | `/`        | a page for people, drawn from `/status`                                     |
//! | `/status`  | sessions, client modules, certificates, latest refusals, as JSON            |
//! | `/metrics` | Prometheus text                                                             |
//! | `/live`    | 200 while the process runs                                                  |
//! | `/ready`   | 200 if mail can go through, else 503 and what is missing                    |

mod page;
mod server;

pub use server::{Config, serve};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;

use crate::observe::Observer;

/// The routes. On loopback, only loopback names are answered to; see [`server::names_loopback`].
fn routes(observer: Observer, loopback: bool) -> Router {
    Router::new()
        .route("/", get(async || Html(page::HTML)))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .with_state(observer)
        .layer(middleware::from_fn_with_state(loopback, guard))
}

async fn status(State(observer): State<Observer>) -> Response {
    Json(observer.status()).into_response()
}

async fn metrics(State(observer): State<Observer>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], observer.encode()).into_response()
}

async fn ready(State(observer): State<Observer>) -> Response {
    let readiness = observer.readiness();
    if readiness.ready {
        return "ready\n".into_response();
    }
    let missing: String = readiness.missing.iter().map(|missing| format!("{missing}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{missing}")).into_response()
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
