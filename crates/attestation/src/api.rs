//! The wire types of the policy server: requests and responses under `/v1`, problem documents (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::decision::{DecisionId, LocalDecision, Reason};
use crate::digest::Digest;
use crate::evidence::{EvidenceClaims, HsmClaims};
use crate::grant::Operation;
use crate::reference::ReferenceValues;
use crate::token::Mode;

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

/// What a decision answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Outcome {
    Allowed,
    Denied,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// The gate, on a host.
    Gate,
    /// The policy server, by appraisal.
    Server,
}

/// One line of `GET /v1/decisions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionSummary {
    /// Its name.
    pub id: DecisionId,
    /// Seconds since 1970.
    pub at: u64,
    /// The answer.
    pub outcome: Outcome,
    /// Who gave it.
    pub decided_by: DecidedBy,
    /// Host, where known.
    pub host: Option<String>,
    /// Fingerprint of the attestation key, where known.
    pub hsm: Option<String>,
    /// Recognised component, where one was.
    pub component: Option<String>,
    /// Recognised version.
    pub version: Option<String>,
    /// Path of the executable, where measured.
    pub executable: Option<String>,
    /// The measurement digest.
    pub measurement: Option<Digest>,
    /// PKCS#11 operation, for the gate's decisions.
    pub operation: Option<String>,
    /// Key URI, for the gate's decisions.
    pub key: Option<String>,
    /// Why it was refused; empty where allowed.
    pub reasons: Vec<Reason>,
}

/// `GET /v1/decisions/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// The line of the list.
    pub summary: DecisionSummary,
    /// The claims of the evidence, where it could be verified.
    pub evidence: Option<EvidenceClaims>,
}

/// How one measured item differs from the nearest approved version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Measured, but not in the reference values.
    Added,
    /// Measured with another value.
    Changed,
    /// Required by the reference values, but not measured.
    Missing,
}

/// One difference between a measurement and reference values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Which part: `executable`, `library`, `script`, `configuration`, `principal`, `argv`, `environment`,
    /// `runtime` or `attester`.
    pub part: String,
    /// Path, variable or field.
    pub item: String,
    /// In which way.
    pub change: Change,
    /// What the reference values hold.
    pub expected: Option<String>,
    /// What was measured.
    pub measured: Option<String>,
}

/// `GET /v1/decisions/{id}/explanation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The decision.
    pub decision: DecisionSummary,
    /// The approved version with the fewest differences; absent where nothing is approved.
    pub nearest: Option<VersionName>,
    /// What differs from it. Where nothing is near, empty.
    pub differences: Vec<Difference>,
    /// What was measured, where a measurement led to the decision.
    pub measured: Option<Component>,
    /// What the operator can do, one sentence each.
    pub advice: Vec<String>,
}

/// A component's version by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionName {
    /// Component.
    pub component: String,
    /// Version.
    pub version: String,
}

/// `POST /v1/decisions/{id}/approve`: make what was measured the reference values of a version.
/// Answered with [`ApproveResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The measurement digest that the approver has seen; must be the decision's.
    pub measurement: Digest,
    /// Created where new.
    pub component: String,
    /// Created where new; otherwise the measured values are added to it.
    pub version: String,
    /// `--any-arguments`.
    #[serde(default)]
    pub any_arguments: bool,
    /// `--any-user`.
    #[serde(default)]
    pub any_user: bool,
    /// `--allow-jit`.
    #[serde(default)]
    pub allow_jit: bool,
    /// Added in the same transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantTerms>,
}

/// Which key, for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantTerms {
    /// RFC 7512 URI.
    pub key: String,
    /// Not empty.
    pub operations: Vec<Operation>,
    /// The URI may match more than one key (`--many`).
    #[serde(default)]
    pub many: bool,
    /// Only in this mode, where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What an approval did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveResponse {
    /// The version that now holds the values.
    pub approved: VersionName,
    /// Whether the component, and whether the version, is new.
    pub new_component: bool,
    #[allow(missing_docs)]
    pub new_version: bool,
    /// The grant, where one was added.
    pub grant: Option<GrantRecord>,
}

/// One version of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// Its name.
    pub version: String,
    /// Seconds since 1970; versions are ordered by approval.
    pub approved_at: u64,
    /// Seconds since 1970, once it was retired.
    pub retired_at: Option<u64>,
    /// A general tool signs what it is told: any arguments are approved.
    pub general_tool: bool,
    /// The reference values.
    pub reference: ReferenceValues,
}

/// `GET /v1/components/{component}`; `GET /v1/components` answers with a list of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// In order of approval.
    pub versions: Vec<VersionRecord>,
}

/// `POST /v1/grants`. Answered with [`GrantRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Must exist.
    pub component: String,
    /// What it may do.
    pub terms: GrantTerms,
}

/// One grant: `GET /v1/grants` answers with a list of these; `DELETE /v1/grants/{id}` removes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRecord {
    /// Such as `G-12`.
    pub id: String,
    /// To whom.
    pub component: String,
    /// What.
    pub terms: GrantTerms,
    /// Seconds since 1970.
    pub granted_at: u64,
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
