//! Decisions and their explanation.

use serde::{Deserialize, Serialize};

use super::VersionName;
use crate::component::Component;
use crate::decision::{DecisionId, Reason};
use crate::digest::Digest;
use crate::evidence::EvidenceClaims;

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
    /// An operator, who had a token issued from an earlier decision.
    Operator,
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
    /// Why it was refused, or would have been where it was only observed; otherwise empty.
    pub reasons: Vec<Reason>,
    /// Allowed because the component is in [`super::ComponentMode::Observe`], for all its `reasons`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub observed: bool,
    /// The operator, where one decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The decision whose evidence an operator's decision rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<DecisionId>,
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
