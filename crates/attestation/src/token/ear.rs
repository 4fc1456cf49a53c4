//! The claims of the trust token as draft-ietf-rats-ear-04 names them. A claim that is not here is refused: issuer and
//! gate are of one product, and a restriction that the gate does not understand must not be passed over.

use serde::{Deserialize, Serialize};

use super::TrustshimClaims;

/// The appraisal policy that every submodule names in `ear_appraisal_policy_ids`.
pub(super) const APPRAISAL_POLICY: &str = "tag:trustshim.org,2026:appraisal#1";

/// The whole claims set of a trust token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClaims {
    /// [`super::EAR_PROFILE`].
    pub eat_profile: String,
    /// Who built the verifier.
    pub ear_verifier_id: VerifierId,
    /// [`super::ISSUER`].
    pub iss: String,
    /// Names this token, for records.
    pub jti: String,
    /// Seconds since 1970 at issue, by the policy server's clock.
    pub iat: u64,
    /// The same as `iat`.
    pub nbf: u64,
    /// Seconds since 1970. For readers that know nothing of `trustshim.deadline_boottime_ms`, which decides.
    pub exp: u64,
    /// The challenge that the evidence answered; absent from a token that is to be handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eat_nonce: Option<String>,
    /// The attester's key, to which the token is bound; absent from a token that is to be handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<ConfirmationThumbprint>,
    /// What was appraised.
    pub submods: TokenSubmods,
    /// What the gate decides by.
    pub trustshim: TrustshimClaims,
}

/// `ear_verifier_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierId {
    /// Names the software and its version.
    pub build: String,
    /// Names who is responsible for it.
    pub developer: String,
}

/// A confirmation claim that names a key by its thumbprint (RFC 9449 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationThumbprint {
    /// RFC 7638 thumbprint with SHA-256 in base64url.
    pub jkt: String,
}

/// The submodules of the token: the appraised parts of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSubmods {
    /// The boot of the host.
    pub boot: Appraisal,
    /// The measurer.
    pub attester: Appraisal,
    /// The process.
    pub component: Appraisal,
}

/// The result for one submodule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appraisal {
    /// The result in one word.
    pub ear_status: Tier,
    /// What it rests on; absent where nothing was appraised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ear_trustworthiness_vector: Option<TrustVector>,
    /// The policies that were applied; absent where nothing was appraised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ear_appraisal_policy_ids: Vec<String>,
}

/// Trustworthiness tiers (draft-ietf-rats-ar4si).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// No claim is made.
    None,
    /// As expected.
    Affirming,
    /// Let through, though not as expected.
    Warning,
    /// Not to be trusted.
    Contraindicated,
}

impl Tier {
    /// The value on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// The lowest claim value of the tier: for `configuration` and `executables` "approved", "unsafe" and
    /// "contraindicated" in AR4SI's words.
    const fn claim(self) -> Option<i8> {
        match self {
            Self::None => None,
            Self::Affirming => Some(2),
            Self::Warning => Some(32),
            Self::Contraindicated => Some(96),
        }
    }
}

/// Trustworthiness claims (draft-ietf-rats-ar4si section 2.3); those that Trustshim has an opinion on.
///
/// `hardware`, `runtime-opaque`, `storage-opaque`, `file-system` and `sourced-data` are never claimed: nothing in
/// the evidence speaks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrustVector {
    /// The attestation key is an approved one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_identity: Option<i8>,
    /// Configuration files, arguments, environment and principal are approved ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<i8>,
    /// Executable, libraries and scripts are approved ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executables: Option<i8>,
}

/// The results of the appraisal, part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// [`Tier::None`] where the boot was not measured.
    pub boot: Tier,
    /// Digests of shim, real module and configuration.
    pub attester: Tier,
    /// The process.
    pub component: Tier,
}

impl From<Statuses> for TokenSubmods {
    fn from(statuses: Statuses) -> Self {
        let appraisal = |status: Tier, instance_identity| {
            let vector = status.claim().map(|claim| TrustVector {
                instance_identity,
                configuration: Some(claim),
                executables: Some(claim),
            });
            Appraisal {
                ear_status: status,
                ear_appraisal_policy_ids: vector.iter().map(|_| APPRAISAL_POLICY.to_owned()).collect(),
                ear_trustworthiness_vector: vector,
            }
        };
        Self {
            boot: appraisal(statuses.boot, None),
            // Evidence is appraised only after its signature by an approved key: the instance is a known one.
            attester: appraisal(statuses.attester, Some(2)),
            component: appraisal(statuses.component, None),
        }
    }
}
