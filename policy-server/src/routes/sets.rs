//! `/v1/sets`: named library sets, which supply digests to the components that name them.

use std::sync::Arc;

use attestation::api::{AddFilesRequest, CreateSetRequest, SetFloorRequest, SetRecord, SetSummary};
use attestation::digest::Digest;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::{self, Nothing};
use super::decisions;
use super::decisions::approve::check_basis;
use super::retired_files::digest;
use crate::appraisal::differences::runtime;
use crate::authentication::{Approver, By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::{Connection, commit, library_sets, versions};
use crate::text;

/// Longest path in a set, in bytes.
const MAX_PATH: usize = 4096;
/// Most files in one set, past ones included.
const MAX_FILES: usize = 50_000;

/// `GET /v1/sets`.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
) -> Result<Json<Vec<SetSummary>>, ServerError> {
    let mut transaction = server.store.read().await?;
    let sets = library_sets::all(&mut transaction).await?;
    Ok(Json(sets.into_iter().map(|set| set.summary).collect()))
}

/// `GET /v1/sets/{set}`.
pub async fn show(
    State(server): State<Arc<Server>>,
    Path(set): Path<String>,
    _: By<Viewer>,
) -> Result<Json<SetRecord>, ServerError> {
    let mut transaction = server.store.read().await?;
    known(&mut transaction, &set).await.map(Json)
}

/// `POST /v1/sets`.
pub async fn create(
    State(server): State<Arc<Server>>,
    by: By<Approver>,
    body::Json(CreateSetRequest { name }): body::Json<CreateSetRequest>,
) -> Result<(StatusCode, Json<SetRecord>), ServerError> {
    text::check_names([("name", &name)])?;
    let now = clock::now()?;
    let mut transaction = server.store.write().await?;
    if !library_sets::create(&mut transaction, &name, by.name(), now).await? {
        return Err(ServerError::Conflict(format!("the set {name} exists; add to it")));
    }
    let record = known(&mut transaction, &name).await?;
    commit(transaction).await?;
    tracing::info!(set = name, by = by.name(), "library set created");
    Ok((StatusCode::CREATED, Json(record)))
}

/// `POST /v1/sets/{set}/files`.
pub async fn add(
    State(server): State<Arc<Server>>,
    Path(set): Path<String>,
    by: By<Approver>,
    body::Json(request): body::Json<AddFilesRequest>,
) -> Result<Json<SetRecord>, ServerError> {
    let now = clock::now()?;
    let mut transaction = server.store.write().await?;
    let record = known(&mut transaction, &set).await?;
    let files = match request {
        AddFilesRequest::Files(files) => files,
        AddFilesRequest::Decision(id) => measured_libraries(&mut transaction, &id.to_string()).await?,
    };
    check_files(&record, &files)?;
    let policy = server.policy(&mut transaction).await?;
    if let Some((path, digest)) = files.iter().find(|(_, digest)| policy.retired_files.contains(digest)) {
        return Err(ServerError::Conflict(format!(
            "{path} has the content {digest}, which was retired; leave it out"
        )));
    }
    library_sets::add(&mut transaction, &set, &files, by.name(), now).await?;
    let record = known(&mut transaction, &set).await?;
    commit(transaction).await?;
    tracing::info!(
        set,
        files = files.len(),
        addition = record.summary.newest,
        by = by.name(),
        "added to library set"
    );
    Ok(Json(record))
}

/// Everything that was mapped for a decision but its executable.
async fn measured_libraries(
    connection: &mut Connection,
    id: &str,
) -> Result<Vec<(String, Digest)>, ServerError> {
    let decision = decisions::find(connection, id).await?;
    let basis = decisions::evidence(connection, &decision).await?;
    let basis = basis.ok_or_else(|| {
        ServerError::Conflict(format!("no evidence that could be verified led to {}", decision.id))
    })?;
    check_basis(&basis)?;
    let component = &basis.evidence.claims().submods.component;
    if let Some(finding) = runtime(&component.runtime, true).first() {
        return Err(ServerError::CannotApprove(finding.reason().detail));
    }
    let libraries = component.mappings.iter().filter(|file| file.path != component.executable.path);
    Ok(libraries.map(|file| (file.path.clone(), file.sha256)).collect())
}

fn check_files(record: &SetRecord, files: &[(String, Digest)]) -> Result<(), ServerError> {
    if files.is_empty() || record.files.len().saturating_add(files.len()) > MAX_FILES {
        return Err(ServerError::Malformed(format!(
            "an addition has at least one file, and a set at most {MAX_FILES}"
        )));
    }
    for (path, digest) in files {
        if !path.starts_with('/') || path.len() > MAX_PATH || !text::is_escaped(path) {
            return Err(ServerError::Malformed(format!(
                "`{}` is not an absolute path of at most {MAX_PATH} bytes, escaped as it is measured",
                text::bounded(path, 200)
            )));
        }
        let retired = |file: &&attestation::api::SetFile| {
            file.path == *path && file.sha256 == *digest && file.retired_at.is_some()
        };
        if record.files.iter().find(retired).is_some() {
            return Err(ServerError::Conflict(format!(
                "{path} {digest} was retired in this set; leave it out, or remove it from the set first"
            )));
        }
    }
    Ok(())
}

/// `POST /v1/sets/{set}/floor`: raises the floor.
pub async fn raise_floor(
    State(server): State<Arc<Server>>,
    Path(set): Path<String>,
    by: By<Operator>,
    body::Json(SetFloorRequest { since }): body::Json<SetFloorRequest>,
) -> Result<Json<SetRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    let SetSummary { newest, floor, .. } = known(&mut transaction, &set).await?.summary;
    if since < floor {
        return Err(ServerError::Conflict(format!(
            "the floor of {set} is {floor}; take it away before setting a lower one"
        )));
    }
    if since > newest {
        return Err(ServerError::Conflict(format!("the newest addition to {set} is {newest}")));
    }
    set_floor(transaction, &set, since, by.name()).await
}

/// `DELETE /v1/sets/{set}/floor`.
pub async fn remove_floor(
    State(server): State<Arc<Server>>,
    Path(set): Path<String>,
    by: By<Approver>,
) -> Result<Json<SetRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    known(&mut transaction, &set).await?;
    set_floor(transaction, &set, 0, by.name()).await
}

async fn set_floor(
    mut transaction: sqlx::Transaction<'static, sqlx::Sqlite>,
    set: &str,
    floor: u64,
    by: &str,
) -> Result<Json<SetRecord>, ServerError> {
    library_sets::set_floor(&mut transaction, set, floor).await?;
    let record = known(&mut transaction, set).await?;
    commit(transaction).await?;
    tracing::info!(set, floor, by, "floor of library set changed");
    Ok(Json(record))
}

/// `POST /v1/sets/{set}/files/{digest}/retire`.
pub async fn retire(
    State(server): State<Arc<Server>>,
    Path((set, text)): Path<(String, String)>,
    by: By<Operator>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<SetRecord>, ServerError> {
    let digest = digest(&text)?;
    let now = clock::now()?;
    let mut transaction = server.store.write().await?;
    known(&mut transaction, &set).await?;
    if !library_sets::retire(&mut transaction, &set, digest, by.name(), now).await? {
        return Err(ServerError::NotFound(format!("file {digest} in {set}")));
    }
    let record = known(&mut transaction, &set).await?;
    commit(transaction).await?;
    tracing::info!(set, %digest, by = by.name(), "file of library set retired");
    Ok(Json(record))
}

/// `DELETE /v1/sets/{set}/files/{digest}`: as if it had never been added.
pub async fn remove_file(
    State(server): State<Arc<Server>>,
    Path((set, text)): Path<(String, String)>,
    by: By<Approver>,
) -> Result<StatusCode, ServerError> {
    let digest = digest(&text)?;
    let mut transaction = server.store.write().await?;
    known(&mut transaction, &set).await?;
    if !library_sets::remove_file(&mut transaction, &set, digest).await? {
        return Err(ServerError::NotFound(format!("file {digest} in {set}")));
    }
    commit(transaction).await?;
    tracing::info!(set, %digest, by = by.name(), "file of library set removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/sets/{set}`, once no version names it.
pub async fn remove(
    State(server): State<Arc<Server>>,
    Path(set): Path<String>,
    by: By<Approver>,
) -> Result<StatusCode, ServerError> {
    let mut transaction = server.store.write().await?;
    known(&mut transaction, &set).await?;
    let components = versions::components(&mut transaction).await?;
    let user = components.iter().find_map(|component| {
        let version =
            component.versions.iter().find(|version| version.reference.library_sets.contains(&set))?;
        Some(format!("{} {}", component.name, version.version))
    });
    if let Some(user) = user {
        return Err(ServerError::Conflict(format!(
            "{user} takes digests from {set}, and keeps its name for good; raise the set's floor instead"
        )));
    }
    library_sets::remove(&mut transaction, &set).await?;
    commit(transaction).await?;
    tracing::info!(set, by = by.name(), "library set removed");
    Ok(StatusCode::NO_CONTENT)
}

async fn known(connection: &mut Connection, set: &str) -> Result<SetRecord, ServerError> {
    library_sets::find(connection, set).await?.ok_or_else(|| unknown(set))
}

/// The error for a set that does not exist.
pub fn unknown(set: &str) -> ServerError {
    ServerError::NotFound(format!("library set {}", text::bounded(set, 64)))
}
