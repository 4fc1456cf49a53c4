//! `GET /v1/decisions/{id}/explanation`: what differs from the nearest approved version, and what can be done.

use std::sync::Arc;

use attestation::api::{DecidedBy, DecisionSummary, Explanation, Outcome};
use axum::Json;
use axum::extract::{Path, State};

use crate::appraisal::nearest::nearest;
use crate::appraisal::reason::ReasonCode;
use crate::authentication::{By, Viewer};
use crate::error::ServerError;
use crate::state::Server;

/// `GET /v1/decisions/{id}/explanation`.
pub async fn get(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
    Path(id): Path<String>,
) -> Result<Json<Explanation>, ServerError> {
    let mut transaction = server.store.read().await?;
    let decision = super::find(&mut transaction, &id).await?;
    let basis = super::evidence(&mut transaction, &decision).await?;
    let policy = server.policy(&mut transaction).await?;
    let claims = basis.as_ref().map(|basis| basis.evidence.claims());
    let nearest = claims.and_then(|claims| nearest(&policy, claims));
    let advice = advice(&decision, claims.is_some());
    let (name, findings) = nearest.map(|nearest| (nearest.name, nearest.findings)).unzip();
    Ok(Json(Explanation {
        nearest: name,
        differences: findings.unwrap_or_default().into_iter().map(|finding| finding.difference).collect(),
        measured: claims.map(|claims| claims.submods.component.clone()),
        advice,
        decision,
    }))
}

/// What the operator can do, a sentence for each thing.
fn advice(decision: &DecisionSummary, measured: bool) -> Vec<String> {
    let DecisionSummary { id, .. } = decision;
    if decision.observed {
        let component = decision.component.as_deref().unwrap_or("COMPONENT");
        return vec![
            format!(
                "It was allowed because {component} is observed. Where it is as it should be, approve it: trustshim \
                 approve {id} --component {component} --version VERSION"
            ),
            format!("Then refuse what differs: trustshim component mode {component} enforce"),
        ];
    }
    if decision.outcome == Outcome::Allowed {
        return vec!["Nothing needs to be done: the evidence was accepted.".to_owned()];
    }
    let has = |code: ReasonCode| decision.reasons.iter().any(|reason| reason.code == code.name());
    let mut advice = Vec::new();
    let fingerprint = decision.hsm.as_deref().unwrap_or("FINGERPRINT");
    if has(ReasonCode::KeyPending) || has(ReasonCode::KeySuspended) {
        advice.push(format!(
            "Compare the fingerprint with the host's and approve the key: trustshim hsm approve {fingerprint}"
        ));
    }
    if has(ReasonCode::KeyUnknown) {
        advice.push("Enrol the attestation key on the host: trustshim enroll".to_owned());
    }
    if has(ReasonCode::HsmKeyUnsafe) || has(ReasonCode::HsmMismatch) {
        advice.push("Make a new attestation key inside the token: trustshim enroll".to_owned());
    }
    if has(ReasonCode::NonceExpired) || has(ReasonCode::NonceUnknown) || has(ReasonCode::NonceUsed) {
        advice.push(
            "Try again; where it recurs, look at the host's load and clock, or for somebody replaying evidence."
                .to_owned(),
        );
    }
    if has(ReasonCode::SignatureInvalid) || has(ReasonCode::EvidenceMalformed) {
        advice.push("Look at the host: what it sent is not evidence of this version's attester.".to_owned());
    }
    if has(ReasonCode::ComponentForbidden) {
        advice.push(
            "Start the application itself: shells, loaders, debuggers and emulators are never approved."
                .to_owned(),
        );
    }
    if has(ReasonCode::Traced)
        || has(ReasonCode::CodeDeleted)
        || has(ReasonCode::CodeMemfd)
        || has(ReasonCode::TextModified)
    {
        advice.push(
            "Restart the program without a debugger, from files that are still there; this state is never \
             approved."
                .to_owned(),
        );
    } else if has(ReasonCode::CodeAnonymous) || has(ReasonCode::CodeWritable) {
        advice.push("Where the program generates code by design, approve it with --allow-jit.".to_owned());
    }
    if has(ReasonCode::VersionRetired) {
        advice.push(
            "This version was retired: roll forward to an approved one, or approve it under another version."
                .to_owned(),
        );
    }
    if has(ReasonCode::VersionBelowFloor) {
        let component = decision.component.as_deref().unwrap_or("COMPONENT");
        advice.push(format!(
            "This version is older than the floor of {component}: roll forward; trustshim component show {component} \
             lists what counts."
        ));
    }
    if has(ReasonCode::FileRetired) {
        advice.push(
            "A file was retired by its digest: replace it. Where it was retired by mistake: trustshim component \
             retire --file DIGEST --undo"
                .to_owned(),
        );
    }
    if has(ReasonCode::NoGrant) && decision.decided_by != DecidedBy::Gate {
        let component = decision.component.as_deref().unwrap_or("COMPONENT");
        advice.push(format!(
            "Grant it a key: trustshim grant add --component {component} --key URI --operations LIST"
        ));
    }
    let about_component = decision.reasons.iter().all(|reason| ReasonCode::is_about_component(&reason.code));
    let never = has(ReasonCode::ComponentForbidden) || has(ReasonCode::FileRetired);
    if measured && about_component && !never {
        advice.push(format!(
            "If all of this is as it should be, approve it: trustshim approve {id} --component NAME --version \
             VERSION --grant URI --operations LIST"
        ));
        advice.push("If not, put the approved files back and start the program again.".to_owned());
    }
    advice
}
