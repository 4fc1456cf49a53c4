//! The wire types of the policy server: requests and responses under `/v1`, problem documents (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::decision::{DecisionId, LocalDecision, Reason};
use crate::evidence::HsmClaims;
use crate::token::Mode;

pub use self::approval::{ApproveRequest, ApproveResponse, ImportRequest, MANIFEST_FORMAT, Manifest};
pub use self::components::{
    ComponentMode, ComponentRecord, FloorRequest, RetiredFile, VersionName, VersionRecord,
};
pub use self::decisions::{
    Change, DecidedBy, DecisionRecord, DecisionSummary, Difference, Explanation, Outcome,
};
pub use self::grants::{GrantRecord, GrantRequest, GrantTerms};
pub use self::sets::{AddFilesRequest, CreateSetRequest, SetFile, SetFloorRequest, SetRecord, SetSummary};
pub use self::tokens::{IssueRequest, IssueResponse, TokenRecord};

mod approval;
mod components;
mod decisions;
mod grants;
mod sets;
mod tokens;

/// Media type of [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// `POST /v1/challenge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Thumbprint (RFC 7638) of the attestation key that will sign.
    pub kid: String,
    /// Thumbprint of the attester's in-memory key; at enrolment, the attestation key's again.
    pub cnf: String,
}

/// Answer to [`ChallengeRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// 32 random bytes in base64url, to be used once.
    pub nonce: String,
    /// Seconds for which the nonce counts.
    pub expires_in: u64,
}

/// `POST /v1/hsms`: enrolment. Answered with [`HsmRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// A JWT of [`crate::evidence::EnrollmentClaims`], signed by the new attestation key.
    pub proof: String,
}

/// `POST /v1/attest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRequest {
    /// The evidence as a JWT.
    pub evidence: String,
    /// Refusals made by the gate since the last request; at most 64.
    #[serde(default)]
    pub decisions: Vec<LocalDecision>,
    /// Refusals that could not be kept for reporting.
    #[serde(default)]
    pub lost: u64,
}

/// Answer to [`AttestRequest`] where the evidence was accepted; a refusal is a [`Problem`] with `decision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestResponse {
    /// The trust token.
    pub token: String,
    /// The decision that led to it.
    pub decision: DecisionId,
}

/// State of an enrolled attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum HsmState {
    Approved,
    Pending,
    Suspended,
}

/// One enrolled attestation key: `GET /v1/hsms` answers with a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmRecord {
    /// Thumbprint of the attestation key, in base64url: also the fingerprint that operators compare.
    pub fingerprint: String,
    /// Where it stands.
    pub state: HsmState,
    /// The host.
    pub host: String,
    /// The mode.
    pub mode: Mode,
    /// The token.
    pub hsm: HsmClaims,
    /// Seconds since 1970.
    pub enrolled_at: u64,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<u64>,
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:trustshim:problem:` and the problem's code in kebab case.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened, always the same for the same type.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What happened this time, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The decision on record, for refused evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionId>,
    /// Why evidence was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}
