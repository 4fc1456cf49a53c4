//! `GET /v1/keys`: the public keys that sign trust tokens, as a JWKS. Relying parties pin them from a file;
//! this is for people who compare.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::state::Server;

/// `GET /v1/keys`.
pub async fn get(State(server): State<Arc<Server>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/jwk-set+json")], server.issuer.jwks())
}
