//! `/v1/components`: what is approved, and its retirement.

use std::sync::Arc;

use attestation::api::{ComponentRecord, VersionName};
use axum::Json;
use axum::extract::{Path, State};

use super::body::{self, Nothing};
use crate::authentication::{By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::{commit, versions};
use crate::text;

/// `GET /v1/components`.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
) -> Result<Json<Vec<ComponentRecord>>, ServerError> {
    let mut transaction = server.store.read().await?;
    Ok(Json(versions::components(&mut transaction).await?))
}

/// `GET /v1/components/{component}`.
pub async fn show(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    _: By<Viewer>,
) -> Result<Json<ComponentRecord>, ServerError> {
    let mut transaction = server.store.read().await?;
    versions::component(&mut transaction, &component).await?.map(Json).ok_or_else(|| unknown(&component))
}

/// `POST /v1/components/{component}/versions/{version}/retire`.
pub async fn retire(
    State(server): State<Arc<Server>>,
    Path((component, version)): Path<(String, String)>,
    by: By<Operator>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<ComponentRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    let name = VersionName { component, version };
    if !versions::retire(&mut transaction, &name, by.name(), clock::now()?).await? {
        let VersionName { component, version } = &name;
        let both =
            format!("version {} of component {}", text::bounded(version, 64), text::bounded(component, 64));
        return Err(ServerError::NotFound(both));
    }
    let record = versions::component(&mut transaction, &name.component).await?;
    let record = record.ok_or_else(|| unknown(&name.component))?;
    commit(transaction).await?;
    tracing::info!(component = %name.component, version = %name.version, by = by.name(), "version retired");
    Ok(Json(record))
}

/// The error for a component that nobody has approved.
pub fn unknown(component: &str) -> ServerError {
    ServerError::NotFound(format!("component {}", text::bounded(component, 64)))
}
