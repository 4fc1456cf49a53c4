//! `/v1/components`: what is approved, from where on, and in which mode.

use std::sync::Arc;

use attestation::api::{ComponentMode, ComponentRecord, FloorRequest, ImportRequest, VersionName};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::{self, Nothing};
use crate::appraisal::import::check_manifest;
use crate::authentication::{Approver, By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::{Connection, commit, versions};
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
    known(&mut transaction, &component).await.map(Json)
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
    let record = known(&mut transaction, &name.component).await?;
    commit(transaction).await?;
    tracing::info!(component = %name.component, version = %name.version, by = by.name(), "version retired");
    Ok(Json(record))
}

/// `POST /v1/components/{component}/versions`: a new version from a manifest.
pub async fn import(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    by: By<Approver>,
    body::Json(request): body::Json<ImportRequest>,
) -> Result<(StatusCode, Json<ComponentRecord>), ServerError> {
    text::check_names([("component", &component), ("version", &request.version)])?;
    let name = VersionName { component, version: request.version };
    let now = clock::now()?;
    let mut transaction = server.store.write().await?;
    let policy = server.policy(&mut transaction).await?;
    check_manifest(&request.reference, &policy)?;
    if policy.versions.iter().any(|version| version.name == name) {
        return Err(ServerError::Conflict(format!(
            "{} {} exists; import under another version name, or approve a decision to add to it",
            name.component, name.version
        )));
    }
    versions::put(&mut transaction, &name, &request.reference, by.name(), now).await?;
    let record = known(&mut transaction, &name.component).await?;
    commit(transaction).await?;
    tracing::info!(component = %name.component, version = %name.version, by = by.name(), "version imported");
    Ok((StatusCode::CREATED, Json(record)))
}

/// `POST /v1/components/{component}/observe`: evidence that differs is allowed from now on.
pub async fn observe(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    by: By<Approver>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<ComponentRecord>, ServerError> {
    set_mode(&server, &component, ComponentMode::Observe, by.name()).await
}

/// `POST /v1/components/{component}/enforce`: evidence that differs is refused from now on.
pub async fn enforce(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    by: By<Operator>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<ComponentRecord>, ServerError> {
    set_mode(&server, &component, ComponentMode::Enforce, by.name()).await
}

async fn set_mode(
    server: &Server,
    component: &str,
    mode: ComponentMode,
    by: &str,
) -> Result<Json<ComponentRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    known(&mut transaction, component).await?;
    versions::set_mode(&mut transaction, component, mode).await?;
    let record = known(&mut transaction, component).await?;
    commit(transaction).await?;
    tracing::info!(component, mode = mode.name(), by, "mode of component set");
    Ok(Json(record))
}

/// `POST /v1/components/{component}/floor`: raises the floor. Lowering it gives rights back and is not done by the way.
pub async fn raise_floor(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    by: By<Operator>,
    body::Json(request): body::Json<FloorRequest>,
) -> Result<Json<ComponentRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    let record = known(&mut transaction, &component).await?;
    let position = |version: &str| record.versions.iter().position(|known| known.version == version);
    let Some(new) = position(&request.version) else {
        return Err(ServerError::NotFound(format!("version {}", text::bounded(&request.version, 64))));
    };
    if let Some(floor) = &record.floor
        && position(floor).is_none_or(|old| new < old)
    {
        return Err(ServerError::Conflict(format!(
            "the floor of {component} is {floor}; take it away before setting a lower one"
        )));
    }
    versions::set_floor(&mut transaction, &component, Some(&request.version)).await?;
    let record = known(&mut transaction, &component).await?;
    commit(transaction).await?;
    tracing::info!(component, floor = %request.version, by = by.name(), "floor of component raised");
    Ok(Json(record))
}

/// `DELETE /v1/components/{component}/floor`.
pub async fn remove_floor(
    State(server): State<Arc<Server>>,
    Path(component): Path<String>,
    by: By<Approver>,
) -> Result<Json<ComponentRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    known(&mut transaction, &component).await?;
    versions::set_floor(&mut transaction, &component, None).await?;
    let record = known(&mut transaction, &component).await?;
    commit(transaction).await?;
    tracing::info!(component, by = by.name(), "floor of component taken away");
    Ok(Json(record))
}

async fn known(connection: &mut Connection, component: &str) -> Result<ComponentRecord, ServerError> {
    versions::component(connection, component).await?.ok_or_else(|| unknown(component))
}

/// The error for a component that nobody has approved.
pub fn unknown(component: &str) -> ServerError {
    ServerError::NotFound(format!("component {}", text::bounded(component, 64)))
}
