//! `/v1/decisions`: what was decided, on what evidence, and what an operator makes of it.

pub mod approve;
pub mod explanation;

use std::sync::Arc;

use attestation::api::{DecisionRecord, DecisionSummary, Outcome};
use attestation::decision::DecisionId;
use attestation::evidence::{EvidenceClaims, VerifiedEvidence, verify_evidence};
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::body::Parameters;
use crate::authentication::{By, Viewer};
use crate::error::ServerError;
use crate::state::Server;
use crate::store::decisions::{self, Filter};
use crate::store::hsms::{self, EnrolledKey};
use crate::store::{Connection, StoreError};
use crate::text;

/// Decisions in one answer where the request does not say.
const DEFAULT_LIMIT: u32 = 100;
/// Most decisions in one answer.
const MAX_LIMIT: u32 = 1000;
/// The list ends early where its JSON form would be longer, in bytes; `before` continues it.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// The query of `GET /v1/decisions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    limit: Option<u32>,
    outcome: Option<Outcome>,
    before: Option<DecisionId>,
}

/// `GET /v1/decisions`: newest first.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<DecisionSummary>>, ServerError> {
    let mut transaction = server.store.read().await?;
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let filter = Filter { before: parameters.before, outcome: parameters.outcome };
    let mut decisions = decisions::list(&mut transaction, &filter, limit).await?;
    let mut bytes = 0_usize;
    let fitting = decisions.iter().take_while(|decision| {
        bytes = bytes.saturating_add(serde_json::to_vec(decision).map_or(0, |json| json.len() + 1));
        bytes <= MAX_LIST_BYTES
    });
    let fitting = fitting.count();
    decisions.truncate(fitting);
    Ok(Json(decisions))
}

/// `GET /v1/decisions/{id}`.
pub async fn show(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
    Path(id): Path<String>,
) -> Result<Json<DecisionRecord>, ServerError> {
    let mut transaction = server.store.read().await?;
    let summary = find(&mut transaction, &id).await?;
    let evidence = evidence(&mut transaction, &summary).await?;
    let evidence: Option<EvidenceClaims> = evidence.map(|based| based.evidence.claims().clone());
    Ok(Json(DecisionRecord { summary, evidence }))
}

/// The decision of this id.
///
/// # Errors
/// [`ServerError::NotFound`] and [`StoreError`].
pub async fn find(connection: &mut Connection, id: &str) -> Result<DecisionSummary, ServerError> {
    let unknown = || ServerError::NotFound(format!("decision {}", text::bounded(id, 32)));
    let parsed: DecisionId = id.parse().map_err(|_| unknown())?;
    decisions::find(connection, parsed).await?.ok_or_else(unknown)
}

/// The evidence behind a decision, verified anew.
pub struct Basis {
    /// The decision of the verifier that the evidence led to: for a refusal by the gate, another one.
    pub decision: DecisionSummary,
    /// The key that signed, as it stands now.
    pub key: EnrolledKey,
    /// The evidence.
    pub evidence: VerifiedEvidence,
}

/// Finds the evidence of a decision. An operator's decision rests on that of an earlier one. A refusal by the gate has
/// none of its own; there it is the latest that this host has sent with the same measurement.
///
/// # Errors
/// [`StoreError`], also where evidence on record cannot be verified any more.
pub async fn evidence(
    connection: &mut Connection,
    summary: &DecisionSummary,
) -> Result<Option<Basis>, ServerError> {
    let (mut decision, mut jwt) = (summary.clone(), decisions::evidence(connection, summary.id).await?);
    if let Some(basis) = summary.basis
        && let Some(earlier) = decisions::find(connection, basis).await?
    {
        decision = earlier;
        jwt = decisions::evidence(connection, basis).await?;
    } else if jwt.is_none()
        && let (Some(hsm), Some(measurement)) = (&summary.hsm, summary.measurement)
        && let Some(id) = decisions::latest_of_measurement(connection, hsm, measurement).await?
        && let Some(other) = decisions::find(connection, id).await?
    {
        decision = other;
        jwt = decisions::evidence(connection, id).await?;
    }
    let (Some(jwt), Some(hsm)) = (jwt, &decision.hsm) else { return Ok(None) };
    let corrupt = |problem: String| StoreError::Corrupt { place: "decisions.evidence", problem };
    let key = hsms::find(connection, hsm).await?;
    let key = key.ok_or_else(|| corrupt(format!("its key {hsm} is not enrolled")))?;
    let evidence = verify_evidence(&jwt, &key.public_key)
        .map_err(|error| corrupt(format!("evidence of {}: {error}", decision.id)))?;
    Ok(Some(Basis { decision, key, evidence }))
}
