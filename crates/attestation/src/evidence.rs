//! Evidence: the signed measurement, an EAT (RFC 9711) in JWT form, and the proof of possession at enrolment.

use serde::{Deserialize, Serialize};

use crate::component::{Component, MeasuredFile};
use crate::token::Mode;

pub use self::error::EvidenceError;
pub use self::signing::SigningInput;
pub use self::verify::{
    VerifiedEnrollment, VerifiedEvidence, claimed_key_id, verify_enrollment, verify_evidence,
};

mod error;
mod signing;
mod verify;

/// The `eat_profile` of evidence of this version.
pub const EVIDENCE_PROFILE: &str = "tag:trustshim.org,2026:evidence#1";
/// JOSE `typ` of evidence (RFC 9711 section 7.2, EAT as JWT).
pub const EVIDENCE_TYP: &str = "eat+jwt";
/// JOSE `typ` of the proof that an enrolling party holds its attestation key.
pub const ENROLLMENT_TYP: &str = "trustshim-enrollment+jwt";
/// The audience of everything that an attestation key signs for the policy server.
pub const AUDIENCE: &str = "trustshim-policy-server";

/// Bytes of the JWT of evidence or of an enrolment, at most.
pub const MAX_EVIDENCE: usize = 256 * 1024;
/// Bytes of a challenge, decoded.
pub const NONCE_BYTES: usize = 32;

/// The claims of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceClaims {
    /// [`EVIDENCE_PROFILE`].
    pub eat_profile: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The challenge: 32 bytes in base64url without padding.
    pub eat_nonce: String,
    /// When the evidence was signed, in seconds since 1970 by the attester's clock; informative.
    pub iat: u64,
    /// The attester's `CLOCK_BOOTTIME` in milliseconds when it asked for the challenge.
    pub boottime_ms: u64,
    /// The attester's in-memory key, to which the trust token will be bound (RFC 7800).
    pub cnf: Confirmation,
    /// What was measured, part by part.
    pub submods: EvidenceSubmods,
}

/// A confirmation claim that carries a whole key (RFC 7800 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The public key.
    pub jwk: PublicJwk,
}

/// The submodules of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceSubmods {
    /// The token that holds the attestation key.
    pub hsm: HsmClaims,
    /// The boot of this host.
    pub boot: BootClaims,
    /// The measurer itself.
    pub attester: AttesterClaims,
    /// The measured process.
    pub component: Component,
}

/// The token and the attestation key in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmClaims {
    /// `CK_TOKEN_INFO.label` without its padding.
    pub label: String,
    /// `CK_TOKEN_INFO.serialNumber` without its padding.
    pub serial: String,
    /// `CK_TOKEN_INFO.model` without its padding.
    pub model: String,
    /// `CK_TOKEN_INFO.manufacturerID` without its padding.
    pub manufacturer: String,
    /// `CK_TOKEN_INFO.firmwareVersion` as `major.minor`.
    pub firmware: String,
    /// Attributes of the attestation key, named after draft-ietf-rats-pkix-key-attestation.
    pub key: KeyClaims,
}

/// What the token says about the attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyClaims {
    /// `CKA_SENSITIVE`.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: generated inside the token.
    pub local: bool,
}

/// The boot of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootClaims {
    /// `/proc/sys/kernel/random/boot_id`: a UUID, new at every boot.
    pub boot_id: String,
}

/// The measurer, measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttesterClaims {
    /// The product's version, `CARGO_PKG_VERSION`.
    pub version: String,
    /// `libtrustshim.so` in inline mode, `trustshim-guard` in guarded mode.
    pub shim: MeasuredFile,
    /// The vendor's module.
    pub real_module: MeasuredFile,
    /// The shim's configuration file.
    pub configuration: MeasuredFile,
}

/// A public key (RFC 7517; RFC 8037 for `OKP`). Coordinates and integers are base64url without padding.
///
/// EC keys are P-256, OKP keys Ed25519.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum PublicJwk {
    EC { crv: String, x: String, y: String },
    OKP { crv: String, x: String },
    RSA { n: String, e: String },
}

/// The claims that an enrolling party signs with the new attestation key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentClaims {
    /// [`AUDIENCE`].
    pub aud: String,
    /// The challenge.
    pub eat_nonce: String,
    /// The new attestation key.
    pub cnf: Confirmation,
    /// Host name as the operator gave it, or as the host calls itself. Fixed at approval.
    pub host: String,
    /// What this key attests for. Fixed at approval.
    pub mode: Mode,
    /// The token and the attributes of the key.
    pub hsm: HsmClaims,
}
