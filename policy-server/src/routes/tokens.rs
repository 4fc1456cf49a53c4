//! `/v1/tokens`: what was issued, and tokens that operators have issued to be handed in.

use std::sync::Arc;

use attestation::api::{
    DecidedBy, DecisionSummary, IssueRequest, IssueResponse, Outcome, TokenRecord, VersionName,
};
use attestation::decision::DecisionId;
use attestation::token::MAX_LIFETIME_S;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::body::{self, Parameters};
use super::decisions::{self as kept, Basis};
use crate::appraisal::{Circumstances, Occasion, appraise};
use crate::authentication::{By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::issue::issue as sign;
use crate::random;
use crate::state::Server;
use crate::store::decisions::{self, NewDecision};
use crate::store::{commit, tokens};

/// Oldest evidence that a token is issued from, in seconds.
const MAX_AGE_S: u64 = 24 * 3600;
/// Tokens in one answer where the request does not say.
const DEFAULT_LIMIT: u32 = 100;
/// Most tokens in one answer.
const MAX_LIMIT: u32 = 1000;

/// The query of `GET /v1/tokens`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    limit: Option<u32>,
}

/// `GET /v1/tokens`: newest first.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<TokenRecord>>, ServerError> {
    let mut transaction = server.store.read().await?;
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    Ok(Json(tokens::list(&mut transaction, limit).await?))
}

/// `POST /v1/tokens`: appraises the evidence of an earlier decision by today's policy. Whatever the answer, a decision by
/// this operator is on record.
pub async fn issue(
    State(server): State<Arc<Server>>,
    by: By<Operator>,
    body::Json(request): body::Json<IssueRequest>,
) -> Result<(StatusCode, Json<IssueResponse>), ServerError> {
    let lifetime_s = request.lifetime_s.unwrap_or(server.configuration.token_lifetime_s);
    if !(1..=MAX_LIFETIME_S).contains(&lifetime_s) {
        return Err(ServerError::Malformed(format!("`lifetime_s` must be 1 to {MAX_LIFETIME_S}")));
    }
    let now = clock::now()?;
    let id = random::decision_id()?;
    let mut transaction = server.store.write().await?;
    let earlier = kept::find(&mut transaction, &request.decision.to_string()).await?;
    let age_s = check_age(&earlier, now)?;
    let basis = kept::evidence(&mut transaction, &earlier).await?;
    let basis = basis
        .filter(|basis| basis.decision.id == earlier.id)
        .ok_or_else(|| ServerError::Conflict(format!("no evidence of its own is kept for {}", earlier.id)))?;
    let policy = server.policy(&mut transaction).await?;
    let circumstances = Circumstances { hsm: &basis.key.record, occasion: Occasion::Kept { age_s } };
    let appraisal = appraise(&basis.evidence, &circumstances, &policy, now);
    let (outcome, name, reasons) = match &appraisal {
        Ok(appraised) => (Outcome::Allowed, Some(appraised.name()), appraised.observed().to_vec()),
        Err(refused) => (Outcome::Denied, refused.recognised.as_ref(), refused.reasons.clone()),
    };
    let decision = NewDecision {
        summary: DecisionSummary {
            observed: outcome == Outcome::Allowed && !reasons.is_empty(),
            reasons,
            ..summary(id, now, outcome, &basis, name, by.name())
        },
        authentic: true,
        evidence: None,
    };
    decisions::add(&mut transaction, &decision, now).await?;
    let appraised = match appraisal {
        Ok(appraised) => appraised,
        Err(refused) => {
            commit(transaction).await?;
            tracing::info!(decision = %id, by = by.name(), "token to be handed in refused");
            return Err(ServerError::EvidenceRefused { decision: id, reasons: refused.reasons });
        }
    };
    let issued = sign(&server.issuer, lifetime_s, id, &appraised)?;
    tokens::add(&mut transaction, &issued.record).await?;
    commit(transaction).await?;
    tracing::info!(decision = %id, basis = %earlier.id, by = by.name(), "token to be handed in issued");
    let record = TokenRecord {
        jti: issued.record.jti,
        decision: id,
        issued_at: issued.record.issued_at,
        expires_at: issued.record.expires_at,
        host: decision.summary.host,
        component: decision.summary.component,
        version: decision.summary.version,
        operator: decision.summary.operator,
    };
    Ok((StatusCode::CREATED, Json(IssueResponse { token: issued.token, record })))
}

/// Seconds since a decision whose evidence may still be used.
fn check_age(earlier: &DecisionSummary, now: u64) -> Result<u64, ServerError> {
    let DecisionSummary { id, at, outcome, decided_by, .. } = earlier;
    if *outcome != Outcome::Allowed || *decided_by != DecidedBy::Server {
        return Err(ServerError::Conflict(format!(
            "{id} is not one by which this server allowed evidence; `trustshim decisions --allowed` lists those"
        )));
    }
    let age_s = now.checked_sub(*at).ok_or_else(|| {
        ServerError::Conflict(format!("{id} lies in the future: the server's clock was set back"))
    })?;
    if age_s > MAX_AGE_S {
        return Err(ServerError::Conflict(format!(
            "the evidence of {id} is older than a day; let the application attest again and name that decision"
        )));
    }
    Ok(age_s)
}

fn summary(
    id: DecisionId,
    now: u64,
    outcome: Outcome,
    basis: &Basis,
    name: Option<&VersionName>,
    by: &str,
) -> DecisionSummary {
    DecisionSummary {
        id,
        at: now,
        outcome,
        decided_by: DecidedBy::Operator,
        host: Some(basis.key.record.host.clone()),
        hsm: Some(basis.key.record.fingerprint.clone()),
        component: name.map(|name| name.component.clone()),
        version: name.map(|name| name.version.clone()),
        executable: basis.decision.executable.clone(),
        measurement: basis.decision.measurement,
        operation: None,
        key: None,
        reasons: Vec::new(),
        observed: false,
        operator: Some(by.to_owned()),
        basis: Some(basis.decision.id),
    }
}
