//! `/v1/grants`: which component may do what with which key.

use std::sync::Arc;

use attestation::api::{ComponentRecord, GrantRecord, GrantRequest, GrantTerms};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{body, components};
use crate::appraisal::terms::check_terms;
use crate::authentication::{Approver, By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::{commit, grants, versions};
use crate::text;

/// `GET /v1/grants`.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
) -> Result<Json<Vec<GrantRecord>>, ServerError> {
    let mut transaction = server.store.read().await?;
    Ok(Json(grants::all(&mut transaction).await?))
}

/// `POST /v1/grants`. An equal grant that exists is answered as it is.
pub async fn add(
    State(server): State<Arc<Server>>,
    by: By<Approver>,
    body::Json(request): body::Json<GrantRequest>,
) -> Result<(StatusCode, Json<GrantRecord>), ServerError> {
    let now = clock::now()?;
    let terms = check_terms(&request.terms, now)?;
    let mut transaction = server.store.write().await?;
    let component = versions::component(&mut transaction, &request.component).await?;
    let component = component.ok_or_else(|| components::unknown(&request.component))?;
    check_min_version(&terms, Some(&component))?;
    let record = grants::add(&mut transaction, &request.component, &terms, by.name(), now).await?;
    commit(transaction).await?;
    tracing::info!(grant = %record.id, component = %record.component, key = %record.terms.key, by = by.name(), "granted");
    Ok((StatusCode::CREATED, Json(record)))
}

/// `DELETE /v1/grants/{id}`: taking rights away needs only the role operator.
pub async fn remove(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    by: By<Operator>,
) -> Result<StatusCode, ServerError> {
    let mut transaction = server.store.write().await?;
    let removed = grants::remove(&mut transaction, &id).await?;
    let removed =
        removed.ok_or_else(|| ServerError::NotFound(format!("grant {}", text::bounded(&id, 32))))?;
    commit(transaction).await?;
    tracing::info!(grant = %removed.id, component = %removed.component, by = by.name(), "grant removed");
    Ok(StatusCode::NO_CONTENT)
}

/// That the least version of a grant is one of its component.
///
/// # Errors
/// [`ServerError::NotFound`].
pub fn check_min_version(terms: &GrantTerms, component: Option<&ComponentRecord>) -> Result<(), ServerError> {
    let Some(least) = &terms.min_version else { return Ok(()) };
    let known =
        component.is_some_and(|component| component.versions.iter().any(|version| version.version == *least));
    if known { Ok(()) } else { Err(ServerError::NotFound(format!("version {}", text::bounded(least, 64)))) }
}
