//! Why evidence or an enrolment was refused.

use crate::jwk::KeyError;
use crate::jws::JwsError;
use crate::strict_json::JsonError;

/// Evidence or an enrolment that does not count. What is quoted from it is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum EvidenceError {
    #[error("evidence: the claims: {0}")]
    Claims(JsonError),
    #[error("evidence: `cnf` is not an Ed25519 key")]
    ConfirmationAlgorithm,
    #[error("evidence: `cnf`: {0}")]
    ConfirmationKey(KeyError),
    #[error("evidence: {0}")]
    Jws(#[from] JwsError),
    #[error("evidence: `eat_nonce` is not 32 bytes in base64url")]
    NonceForm,
    #[error("evidence: `aud` is `{found}`, which is not the policy server")]
    OtherAudience { found: String },
    #[error("evidence: `eat_profile` is `{found}`, which is not the profile of this version")]
    OtherProfile { found: String },
    #[error("evidence: the claims cannot be written as JSON")]
    Unwritable,
}

impl EvidenceError {
    /// A stable name in kebab case for each kind of refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Claims(JsonError::Duplicate(_)) => "claim-duplicate",
            Self::Claims(JsonError::TooDeep) => "claim-depth",
            Self::Claims(_) => "claims-malformed",
            Self::ConfirmationAlgorithm => "cnf-algorithm",
            Self::ConfirmationKey(_) => "cnf-key",
            Self::Jws(error) => error.code(),
            Self::NonceForm => "nonce-form",
            Self::OtherAudience { .. } => "other-audience",
            Self::OtherProfile { .. } => "other-profile",
            Self::Unwritable => "unwritable",
        }
    }
}
