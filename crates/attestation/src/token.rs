//! The trust token: an attestation result, EAR (draft-ietf-rats-ear-04) in JWT form.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::grant::Grant;

pub use self::anchors::Anchors;
pub use self::ear::{
    Appraisal, ConfirmationThumbprint, Statuses, Tier, TokenClaims, TokenSubmods, TrustVector, VerifierId,
};
pub use self::error::TokenError;
pub use self::issue::{Binding, TokenFacts, TokenIssuer};
pub use self::verify::{Expected, ParsedGrant, Presented, VerifiedToken, verify_signature, verify_token};

mod anchors;
mod ear;
mod error;
mod issue;
mod verify;

/// The `eat_profile` of an EAR of this draft.
pub const EAR_PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";
/// JOSE `typ` of the trust token.
pub const TOKEN_TYP: &str = "ear+jwt";

/// The `iss` claim, the same for every policy server: which one it was shows in the key that signed.
pub const ISSUER: &str = "trustshim-policy-server";
/// Bytes of the JWT of a trust token, at most.
pub const MAX_TOKEN: usize = 64 * 1024;
/// Seconds for which a trust token may count, at most. A deadline further away is refused.
pub const MAX_LIFETIME_S: u64 = 3600;
/// Seconds for which a trust token counts where nothing else is configured.
pub const DEFAULT_LIFETIME_S: u64 = 300;

/// Where the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the application's own process.
    Inline,
    /// In a daemon that owns the token and measures its callers.
    Guarded,
}

impl Mode {
    /// The name in configuration, claims and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Guarded => "guarded",
        }
    }
}

/// The private claims of the trust token, under `trustshim`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustshimClaims {
    /// Thumbprint (RFC 7638) of the attestation key that signed the evidence.
    pub hsm: String,
    /// The host, as fixed when the attestation key was approved.
    pub host: String,
    /// The mode, as fixed when the attestation key was approved.
    pub mode: Mode,
    /// The boot for which this token counts.
    pub boot_id: String,
    /// The attester's `CLOCK_BOOTTIME` in milliseconds from which on this token counts no more.
    pub deadline_boottime_ms: u64,
    /// The component that was recognised.
    pub component: String,
    /// Its version.
    pub version: String,
    /// The measurement digest of the appraised process.
    pub measurement: Digest,
    /// What the component may do.
    pub grants: Vec<Grant>,
    /// The revocation epoch at issue.
    pub epoch: u64,
}
