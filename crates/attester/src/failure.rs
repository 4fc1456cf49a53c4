//! What went wrong, as the gate takes it.

use cryptoki_ffi::ModuleError;
use gate::{AttestationFailure, FailureKind};
use measurement::MeasurementError;
use policy_client::ClientError;

/// A failure on this side: no answer of the policy server is to blame.
pub(crate) fn local(code: &str, detail: String) -> AttestationFailure {
    AttestationFailure { kind: FailureKind::Unavailable, code: code.to_owned(), detail, decision: None }
}

pub(crate) fn module_error(error: ModuleError) -> AttestationFailure {
    local("attestation-key", error.to_string())
}

pub(crate) fn unmeasured(error: MeasurementError) -> AttestationFailure {
    local("measurement-failed", error.to_string())
}

pub(crate) fn refused_by(error: &ClientError) -> AttestationFailure {
    match error {
        // Only an appraisal ends a token in hand: a server that is overloaded or at odds with the request has
        // judged nothing.
        ClientError::Refused(problem) if problem.decision.is_some() => AttestationFailure {
            kind: FailureKind::Refused,
            code: problem
                .reasons
                .first()
                .map_or("evidence-refused", |reason| reason.code.as_str())
                .to_owned(),
            detail: problem
                .reasons
                .first()
                .map(|reason| reason.detail.clone())
                .or_else(|| problem.detail.clone())
                .unwrap_or_else(|| problem.title.clone()),
            decision: problem.decision,
        },
        other => local("policy-server-unavailable", other.to_string()),
    }
}

/// `CLOCK_BOOTTIME` in milliseconds.
pub(crate) fn now_ms() -> Result<u64, AttestationFailure> {
    linux_ffi::boottime_ms().map_err(|error| local("clock-unreadable", error.to_string()))
}
