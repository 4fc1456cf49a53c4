//! Why a trust token was refused, or could not be issued.

use crate::attester_key::NoRandomness;
use crate::digest::{Digest, escape};
use crate::jws::JwsError;
use crate::key_uri::KeyUriError;
use crate::strict_json::JsonError;

use super::{MAX_LIFETIME_S, Mode, Tier};

/// A trust token that does not count, or keys for tokens that are no good. What is quoted from a token is escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenError {
    #[error("anchors: two keys have the `kid` {0}")]
    AnchorDuplicate(String),
    #[error("anchors: the key `{0}` is not an Ed25519 key for signatures whose `kid` is its thumbprint")]
    AnchorKey(String),
    #[error("anchors: not a JWK set: {0}")]
    AnchorsMalformed(JsonError),
    #[error("anchors: the set holds no key")]
    AnchorsEmpty,
    #[error("trust token: bound to one attestation, so it cannot be handed in")]
    Bound,
    #[error("trust token: the claims: {0}")]
    Claims(JsonError),
    #[error(
        "trust token: the deadline is more than {MAX_LIFETIME_S} s away (deadline {deadline_ms} ms after boot)"
    )]
    DeadlineTooFar { deadline_ms: u64 },
    #[error("trust token: the deadline has passed ({deadline_ms} ms after boot)")]
    Expired { deadline_ms: u64 },
    #[error("trust token: the grant on `{key}`: {error}")]
    GrantKey { key: String, error: KeyUriError },
    #[error("trust token: the grant on `{0}` has an empty list of mechanisms")]
    GrantMechanisms(String),
    #[error("trust token: the grant on `{0}` allows no operation")]
    GrantOperations(String),
    #[error("trust token: the grant on `{0}` has a rate that limits nothing")]
    GrantRate(String),
    #[error("trust token: {0}")]
    Jws(#[from] JwsError),
    #[error("trust token: a lifetime is 1 to {MAX_LIFETIME_S} s, not {0} s")]
    Lifetime(u64),
    #[error("a new token-signing key: {0}")]
    NoRandomness(#[from] NoRandomness),
    #[error("trust token: bound to boot `{found}`, which is not the current one")]
    OtherBoot { found: String },
    #[error("trust token: bound to the attester key `{found}`, which is not the one of this process")]
    OtherConfirmation { found: String },
    #[error("trust token: issued for the attestation key `{found}`")]
    OtherHsm { found: String },
    #[error("trust token: issued for the host `{found}`")]
    OtherHost { found: String },
    #[error("trust token: issued by `{found}`")]
    OtherIssuer { found: String },
    #[error("trust token: issued for the measurement {found}")]
    OtherMeasurement { found: Digest },
    #[error("trust token: issued for {} mode", found.name())]
    OtherMode { found: Mode },
    #[error("trust token: answers another challenge")]
    OtherNonce,
    #[error("trust token: `eat_profile` is `{found}`")]
    OtherProfile { found: String },
    #[error("the token-signing key is not an Ed25519 key in PKCS#8 PEM")]
    SigningKey,
    #[error("trust token: the submodule `{submod}` is {}", status.name())]
    Status { submod: &'static str, status: Tier },
    #[error("trust token: `iat`, `nbf` and `exp` do not fit together")]
    Times,
    #[error("trust token: not bound to the attestation that it should answer")]
    Unbound,
    #[error("trust token: the claims cannot be written as JSON")]
    Unwritable,
}

impl TokenError {
    pub(super) fn other(found: &str, error: impl FnOnce(String) -> Self) -> Self {
        error(escape(found.as_bytes()))
    }

    /// A stable name in kebab case for each kind of refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AnchorDuplicate(_) => "anchor-duplicate",
            Self::AnchorKey(_) => "anchor-key",
            Self::AnchorsMalformed(_) => "anchors-malformed",
            Self::AnchorsEmpty => "anchors-empty",
            Self::Bound => "bound",
            Self::Claims(JsonError::Duplicate(_)) => "claim-duplicate",
            Self::Claims(JsonError::TooDeep) => "claim-depth",
            Self::Claims(_) => "claims-malformed",
            Self::DeadlineTooFar { .. } => "deadline-too-far",
            Self::Expired { .. } => "expired",
            Self::GrantKey { .. } => "grant-key",
            Self::GrantMechanisms(_) => "grant-mechanisms",
            Self::GrantRate(_) => "grant-rate",
            Self::GrantOperations(_) => "grant-operations",
            Self::Jws(error) => error.code(),
            Self::Lifetime(_) => "lifetime",
            Self::NoRandomness(_) => "no-randomness",
            Self::OtherBoot { .. } => "other-boot",
            Self::OtherConfirmation { .. } => "other-cnf",
            Self::OtherHsm { .. } => "other-hsm",
            Self::OtherHost { .. } => "other-host",
            Self::OtherIssuer { .. } => "other-issuer",
            Self::OtherMeasurement { .. } => "other-measurement",
            Self::OtherMode { .. } => "other-mode",
            Self::OtherNonce => "other-nonce",
            Self::OtherProfile { .. } => "other-profile",
            Self::SigningKey => "signing-key",
            Self::Status { .. } => "status",
            Self::Times => "times",
            Self::Unbound => "unbound",
            Self::Unwritable => "unwritable",
        }
    }
}
