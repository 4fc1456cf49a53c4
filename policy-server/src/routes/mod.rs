//! The HTTP interface: one file per resource, problem documents for everything that goes wrong.

mod attest;
mod body;
mod challenge;
mod components;
mod decisions;
mod grants;
mod health;
mod hsms;
mod keys;
mod retired_files;
mod sets;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::error::ServerError;
use crate::state::Server;

/// Largest body of `POST /v1/attest` and of a manifest, in bytes.
const ATTEST_LIMIT: usize = 512 * 1024;
/// Largest body of an addition to a library set, in bytes.
const ADDITION_LIMIT: usize = 2 * 1024 * 1024;
/// Largest body of any other request, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Longest time that a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole interface over one server.
pub fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/challenge", post(challenge::post))
        .route("/v1/attest", post(attest::post).layer(DefaultBodyLimit::max(ATTEST_LIMIT)))
        .route("/v1/keys", get(keys::get))
        .route("/v1/hsms", get(hsms::list).post(hsms::enroll))
        .route("/v1/hsms/{fingerprint}/approve", post(hsms::approve))
        .route("/v1/hsms/{fingerprint}/suspend", post(hsms::suspend))
        .route("/v1/components", get(components::list))
        .route("/v1/components/{component}", get(components::show))
        .route(
            "/v1/components/{component}/versions",
            post(components::import).layer(DefaultBodyLimit::max(ATTEST_LIMIT)),
        )
        .route("/v1/components/{component}/versions/{version}/retire", post(components::retire))
        .route("/v1/components/{component}/observe", post(components::observe))
        .route("/v1/components/{component}/enforce", post(components::enforce))
        .route(
            "/v1/components/{component}/floor",
            post(components::raise_floor).delete(components::remove_floor),
        )
        .route("/v1/retired-files", get(retired_files::list))
        .route("/v1/retired-files/{digest}", post(retired_files::retire).delete(retired_files::take_back))
        .route("/v1/sets", get(sets::list).post(sets::create))
        .route("/v1/sets/{set}", get(sets::show).delete(sets::remove))
        .route("/v1/sets/{set}/files", post(sets::add).layer(DefaultBodyLimit::max(ADDITION_LIMIT)))
        .route("/v1/sets/{set}/files/{digest}", delete(sets::remove_file))
        .route("/v1/sets/{set}/files/{digest}/retire", post(sets::retire))
        .route("/v1/sets/{set}/floor", post(sets::raise_floor).delete(sets::remove_floor))
        .route("/v1/tokens", get(tokens::list).post(tokens::issue))
        .route("/v1/decisions", get(decisions::list))
        .route("/v1/decisions/{id}", get(decisions::show))
        .route("/v1/decisions/{id}/explanation", get(decisions::explanation::get))
        .route("/v1/decisions/{id}/approve", post(decisions::approve::post))
        .route("/v1/grants", get(grants::list).post(grants::add))
        .route("/v1/grants/{id}", delete(grants::remove))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(async || ServerError::NotFound("such resource".to_owned()))
        .method_not_allowed_fallback(async || ServerError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(finish_in_time))
        .with_state(server)
}

/// Ends requests that take too long, and keeps answers out of caches.
async fn finish_in_time(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ServerError::TimedOut(REQUEST_TIMEOUT.as_secs()).into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
