//! `/v1/retired-files`: digests that count nowhere any more, whatever component or set lists them.

use std::sync::Arc;

use attestation::api::RetiredFile;
use attestation::digest::Digest;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::{self, Nothing};
use crate::authentication::{Approver, By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::{commit, retired_files};

/// `GET /v1/retired-files`.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
) -> Result<Json<Vec<RetiredFile>>, ServerError> {
    let mut transaction = server.store.read().await?;
    Ok(Json(retired_files::all(&mut transaction).await?))
}

/// `POST /v1/retired-files/{digest}`.
pub async fn retire(
    State(server): State<Arc<Server>>,
    Path(text): Path<String>,
    by: By<Operator>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<Vec<RetiredFile>>, ServerError> {
    let digest = digest(&text)?;
    let now = clock::now()?;
    let mut transaction = server.store.write().await?;
    retired_files::add(&mut transaction, digest, by.name(), now).await?;
    let all = retired_files::all(&mut transaction).await?;
    commit(transaction).await?;
    tracing::info!(%digest, by = by.name(), "file retired");
    Ok(Json(all))
}

/// `DELETE /v1/retired-files/{digest}`: what was approved with it counts again.
pub async fn take_back(
    State(server): State<Arc<Server>>,
    Path(text): Path<String>,
    by: By<Approver>,
) -> Result<StatusCode, ServerError> {
    let digest = digest(&text)?;
    let mut transaction = server.store.write().await?;
    if !retired_files::remove(&mut transaction, digest).await? {
        return Err(ServerError::NotFound(format!("retired file {digest}")));
    }
    commit(transaction).await?;
    tracing::info!(%digest, by = by.name(), "retirement of file taken back");
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the digest in a path.
///
/// # Errors
/// [`ServerError::Malformed`].
pub fn digest(text: &str) -> Result<Digest, ServerError> {
    text.parse().map_err(|_| {
        ServerError::Malformed("a file is named by its SHA-256: 64 lower-case hexadecimal digits".to_owned())
    })
}
