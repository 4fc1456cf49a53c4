//! `POST /v1/attest`: evidence for a trust token. Whatever the answer, a decision is on record before it is sent.

use std::sync::Arc;

use attestation::api::{AttestRequest, AttestResponse, DecidedBy, DecisionSummary, Outcome, VersionName};
use attestation::decision::{DecisionId, LocalDecision, Reason};
use attestation::evidence::{EvidenceError, VerifiedEvidence, claimed_key_id, verify_evidence};
use attestation::jws::JwsError;
use axum::Json;
use axum::extract::State;

use super::body;
use crate::appraisal::reason::ReasonCode;
use crate::appraisal::{Appraised, Circumstances, NonceState, Occasion, Refused, appraise};
use crate::clock;
use crate::error::ServerError;
use crate::issue::issue;
use crate::random;
use crate::state::Server;
use crate::store::decisions::{self, NewDecision};
use crate::store::hsms::{self, EnrolledKey};
use crate::store::{Connection, commit, tokens};
use crate::text;

/// Most refusals by the gate in one request.
const MAX_LOCAL_DECISIONS: usize = 64;
/// Longest path of an executable in the list of decisions, in characters.
const MAX_PATH: usize = 4096;

/// `POST /v1/attest`.
pub async fn post(
    State(server): State<Arc<Server>>,
    body::Json(request): body::Json<AttestRequest>,
) -> Result<Json<AttestResponse>, ServerError> {
    if request.decisions.len() > MAX_LOCAL_DECISIONS {
        return Err(ServerError::Malformed(format!("more than {MAX_LOCAL_DECISIONS} `decisions`")));
    }
    // A task of its own: a client that goes away, or the request's timeout, must not leave a nonce used up
    // without a decision on record.
    let work = tokio::spawn(async move { decide(&server, request).await });
    work.await.map_err(|error| ServerError::Task(error.to_string()))?.map(Json)
}

async fn decide(server: &Server, request: AttestRequest) -> Result<AttestResponse, ServerError> {
    let now = clock::now()?;
    let id = random::decision_id()?;
    let sender = sender(server, &request.evidence).await?;
    let mut transaction = server.store.write().await?;
    let outcome = match sender {
        Sender::Stranger { claimed, key, reason } => {
            let decision = refused_stranger(id, now, claimed, key.as_deref(), &reason);
            decisions::add(&mut transaction, &decision, now).await?;
            Err(vec![reason])
        }
        Sender::Verified(evidence) => {
            let received = Received { id, now, request: &request, evidence: &evidence };
            received.decide(server, &mut transaction).await?
        }
    };
    commit(transaction).await?;
    match outcome {
        Ok(token) => Ok(AttestResponse { token, decision: id }),
        Err(reasons) => {
            let codes: Vec<_> = reasons.iter().map(|reason| reason.code.as_str()).collect();
            tracing::info!(decision = %id, reasons = ?codes, "evidence refused");
            Err(ServerError::EvidenceRefused { decision: id, reasons })
        }
    }
}

/// Who sent the evidence, as far as the signature tells.
enum Sender {
    /// The signature is not by a key that is enrolled, or not by the key that the evidence names.
    Stranger { claimed: Option<String>, key: Option<Box<EnrolledKey>>, reason: Reason },
    /// An enrolled key signed.
    Verified(Box<VerifiedEvidence>),
}

async fn sender(server: &Server, jwt: &str) -> Result<Sender, ServerError> {
    let claimed = match claimed_key_id(jwt) {
        Ok(claimed) => claimed,
        Err(error) => {
            let reason = ReasonCode::EvidenceMalformed.because(error);
            return Ok(Sender::Stranger { claimed: None, key: None, reason });
        }
    };
    let mut statement = server.store.read_once().await?;
    let Some(key) = hsms::find(&mut statement, &claimed).await? else {
        let claimed = text::bounded(&claimed, 64);
        let reason = ReasonCode::KeyUnknown.because(format!("the attestation key {claimed} is not enrolled"));
        return Ok(Sender::Stranger { claimed: Some(claimed), key: None, reason });
    };
    drop(statement);
    Ok(match verify_evidence(jwt, &key.public_key) {
        Ok(evidence) => Sender::Verified(Box::new(evidence)),
        Err(error) => {
            let code = match error {
                EvidenceError::Jws(JwsError::Signature) => ReasonCode::SignatureInvalid,
                _ => ReasonCode::EvidenceMalformed,
            };
            Sender::Stranger { claimed: Some(claimed), key: Some(Box::new(key)), reason: code.because(error) }
        }
    })
}

fn refused_stranger(
    id: DecisionId,
    now: u64,
    claimed: Option<String>,
    key: Option<&EnrolledKey>,
    reason: &Reason,
) -> NewDecision {
    let summary = DecisionSummary {
        id,
        at: now,
        outcome: Outcome::Denied,
        decided_by: DecidedBy::Server,
        host: key.map(|key| key.record.host.clone()),
        hsm: claimed,
        component: None,
        version: None,
        executable: None,
        measurement: None,
        operation: None,
        key: None,
        reasons: vec![reason.clone()],
        observed: false,
        operator: None,
        basis: None,
    };
    NewDecision { summary, authentic: false, evidence: None }
}

/// Evidence that an enrolled key has signed.
struct Received<'a> {
    id: DecisionId,
    now: u64,
    request: &'a AttestRequest,
    evidence: &'a VerifiedEvidence,
}

impl Received<'_> {
    /// Uses the nonce up, appraises and records; answers with the token or with the reasons.
    async fn decide(
        &self,
        server: &Server,
        connection: &mut Connection,
    ) -> Result<Result<String, Vec<Reason>>, ServerError> {
        let claims = self.evidence.claims();
        let kid = self.evidence.key_id();
        let cnf = claims.cnf.jwk.thumbprint();
        let challenges = &server.challenges;
        let nonce = challenges.consume(&claims.eat_nonce, kid, &cnf, challenges.now())?;
        // Read again inside the transaction: it may have been suspended since the signature was checked.
        let key = hsms::find(connection, kid).await?;
        let key = key.ok_or_else(|| ServerError::NotFound("such attestation key any more".to_owned()))?;
        let policy = server.policy(connection).await?;
        let circumstances = Circumstances { hsm: &key.record, occasion: Occasion::Presented(nonce) };
        let appraisal = appraise(self.evidence, &circumstances, &policy, self.now);
        decisions::add(connection, &self.decision(&key, &appraisal), self.now).await?;
        if nonce == NonceState::Fresh && key.record.approved_at.is_some() {
            self.keep_local_decisions(connection, &key).await?;
        }
        let appraised = match appraisal {
            Ok(appraised) => appraised,
            Err(refused) => return Ok(Err(refused.reasons)),
        };
        let issued = issue(&server.issuer, server.configuration.token_lifetime_s, self.id, &appraised)?;
        tokens::add(connection, &issued.record).await?;
        let VersionName { component, version } = appraised.name();
        tracing::info!(decision = %self.id, component, version, host = appraised.host(), "token issued");
        Ok(Ok(issued.token))
    }

    fn decision(&self, key: &EnrolledKey, appraisal: &Result<Appraised, Refused>) -> NewDecision {
        let component = &self.evidence.claims().submods.component;
        let (outcome, name, reasons) = match appraisal {
            Ok(appraised) => (Outcome::Allowed, Some(appraised.name()), appraised.observed().to_vec()),
            Err(refused) => (Outcome::Denied, refused.recognised.as_ref(), refused.reasons.clone()),
        };
        // A key that was never approved must not be able to fill the disk.
        let authentic = key.record.approved_at.is_some();
        NewDecision {
            summary: DecisionSummary {
                id: self.id,
                at: self.now,
                outcome,
                decided_by: DecidedBy::Server,
                host: Some(key.record.host.clone()),
                hsm: Some(key.record.fingerprint.clone()),
                component: name.map(|name| name.component.clone()),
                version: name.map(|name| name.version.clone()),
                executable: Some(text::bounded(&component.executable.path, MAX_PATH)),
                measurement: Some(component.measurement_digest()),
                operation: None,
                key: None,
                observed: outcome == Outcome::Allowed && !reasons.is_empty(),
                reasons,
                operator: None,
                basis: None,
            },
            authentic,
            evidence: authentic.then(|| self.request.evidence.clone()),
        }
    }

    /// Records the gate's own refusals, for the host of the key that signed this request.
    async fn keep_local_decisions(
        &self,
        connection: &mut Connection,
        key: &EnrolledKey,
    ) -> Result<(), ServerError> {
        for local in &self.request.decisions {
            let mut decision = gate_decision(local, key);
            let known = match local.measurement {
                Some(measurement) => {
                    let hsm = &key.record.fingerprint;
                    decisions::latest_of_measurement(connection, hsm, measurement).await?
                }
                None => None,
            };
            if let Some(id) = known
                && let Some(appraised) = decisions::find(connection, id).await?
            {
                decision.summary.component = appraised.component;
                decision.summary.version = appraised.version;
                decision.summary.executable = appraised.executable;
            }
            decisions::add(connection, &decision, self.now).await?;
        }
        if self.request.lost > 0 {
            hsms::count_lost(connection, &key.record.fingerprint, self.request.lost).await?;
            tracing::warn!(host = %key.record.host, lost = self.request.lost, "the gate lost decisions");
        }
        Ok(())
    }
}

fn gate_decision(local: &LocalDecision, key: &EnrolledKey) -> NewDecision {
    let LocalDecision { id, at, function, operation, key: uri, reason, measurement } = local;
    let (function, operation) = (text::bounded(function, 64), text::bounded(operation, 32));
    NewDecision {
        summary: DecisionSummary {
            id: *id,
            // What does not fit in the database is not a time either.
            at: (*at).min(u64::from(u32::MAX)),
            outcome: Outcome::Denied,
            decided_by: DecidedBy::Gate,
            host: Some(key.record.host.clone()),
            hsm: Some(key.record.fingerprint.clone()),
            component: None,
            version: None,
            executable: None,
            measurement: *measurement,
            operation: Some(format!("{operation} ({function})")),
            key: uri.as_deref().map(|uri| text::bounded(uri, 1024)),
            reasons: vec![Reason {
                code: text::bounded(&reason.code, 64),
                detail: text::bounded(&reason.detail, 400),
            }],
            observed: false,
            operator: None,
            basis: None,
        },
        authentic: true,
        evidence: None,
    }
}
