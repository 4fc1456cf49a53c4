//! Trust tokens as operators see them, and tokens that are issued to be handed in.

use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;

/// `POST /v1/tokens`: a token that an application hands in, from the evidence of an earlier decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    /// An allowed decision of the policy server, with evidence that is not older than a day.
    pub decision: DecisionId,
    /// Seconds, at most [`crate::token::MAX_LIFETIME_S`]; where absent, the server's lifetime of tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u64>,
}

/// Answer to [`IssueRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueResponse {
    /// The trust token.
    pub token: String,
    /// What is recorded of it.
    pub record: TokenRecord,
}

/// One line of `GET /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Its id.
    pub jti: String,
    /// The decision that led to it.
    pub decision: DecisionId,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970.
    pub expires_at: u64,
    /// The host.
    pub host: Option<String>,
    /// The component.
    pub component: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The operator who had it issued to be handed in; absent where it answered evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}
