//! `POST /v1/decisions/{id}/approve`: makes what was measured the reference values of a version, and adds a
//! grant, in one transaction.

use std::sync::Arc;

use attestation::api::{ApproveRequest, ApproveResponse, HsmState, VersionName};
use axum::Json;
use axum::extract::{Path, State};

use super::Basis;
use crate::appraisal::approval::{self, Latitude};
use crate::appraisal::reason::ReasonCode;
use crate::appraisal::terms::check_terms;
use crate::appraisal::unsafe_key;
use crate::authentication::{Approver, By};
use crate::clock;
use crate::error::ServerError;
use crate::routes::grants::check_min_version;
use crate::routes::{body, sets};
use crate::state::Server;
use crate::store::{commit, grants, versions};
use crate::text;

/// `POST /v1/decisions/{id}/approve`.
pub async fn post(
    State(server): State<Arc<Server>>,
    by: By<Approver>,
    Path(id): Path<String>,
    body::Json(request): body::Json<ApproveRequest>,
) -> Result<Json<ApproveResponse>, ServerError> {
    text::check_names([("component", &request.component), ("version", &request.version)])?;
    let now = clock::now()?;
    let terms = request.grant.as_ref().map(|terms| check_terms(terms, now)).transpose()?;
    let mut transaction = server.store.write().await?;
    let decision = super::find(&mut transaction, &id).await?;
    let basis = super::evidence(&mut transaction, &decision).await?.ok_or_else(|| {
        ServerError::CannotApprove(format!("no evidence that could be verified led to {}", decision.id))
    })?;
    let measurement = basis.evidence.claims().submods.component.measurement_digest();
    if request.measurement != measurement {
        return Err(ServerError::CannotApprove(format!(
            "the measurement of {} is {measurement}, not {}; look at it again",
            basis.decision.id, request.measurement
        )));
    }
    check_basis(&basis)?;
    let name = VersionName { component: request.component, version: request.version };
    let component = versions::component(&mut transaction, &name.component).await?;
    let existing = component
        .as_ref()
        .and_then(|component| component.versions.iter().find(|version| version.version == name.version));
    if existing.is_some_and(|version| version.retired_at.is_some()) {
        return Err(ServerError::CannotApprove(format!(
            "{} {} was retired; approve under another version name",
            name.component, name.version
        )));
    }
    let latitude = Latitude {
        any_arguments: request.any_arguments,
        any_user: request.any_user,
        allow_jit: request.allow_jit,
        arguments: request.arguments,
        more_arguments: request.more_arguments,
        environment: request.environment,
        library_sets: request.library_sets,
    };
    let policy = server.policy(&mut transaction).await?;
    if let Some(set) = latitude.library_sets.iter().find(|set| !policy.sets.0.contains_key(*set)) {
        return Err(sets::unknown(set));
    }
    let existing = existing.map(|version| &version.reference);
    let reference = approval::approve(existing, basis.evidence.claims(), &latitude, &policy)?;
    versions::put(&mut transaction, &name, &reference, by.name(), now).await?;
    let grant = match terms {
        Some(terms) => {
            // After the version, which the grant may name as its least.
            let record = versions::component(&mut transaction, &name.component).await?;
            check_min_version(&terms, record.as_ref())?;
            Some(grants::add(&mut transaction, &name.component, &terms, by.name(), now).await?)
        }
        None => None,
    };
    commit(transaction).await?;
    let VersionName { component: to, version } = &name;
    tracing::info!(decision = %decision.id, component = to, version, by = by.name(), "approved");
    let (new_component, new_version) = (component.is_none(), existing.is_none());
    Ok(Json(ApproveResponse { approved: name, new_component, new_version, grant }))
}

/// The approver judges the program; nobody may wave through doubts about who measured it.
///
/// # Errors
/// [`ServerError::CannotApprove`].
pub fn check_basis(basis: &Basis) -> Result<(), ServerError> {
    let claims = basis.evidence.claims();
    let failed = basis.decision.reasons.iter().find(|reason| !ReasonCode::is_about_component(&reason.code));
    if let Some(reason) = failed {
        return Err(ServerError::CannotApprove(format!("its evidence is not acceptable: {}", reason.detail)));
    }
    if let Some(reason) = unsafe_key(&claims.submods.hsm) {
        return Err(ServerError::CannotApprove(reason.detail));
    }
    if basis.key.record.state != HsmState::Approved {
        return Err(ServerError::CannotApprove(format!(
            "the attestation key {} that signed its evidence is not approved now",
            basis.key.record.fingerprint
        )));
    }
    Ok(())
}
