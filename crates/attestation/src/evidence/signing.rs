//! Evidence before it is signed: the text that goes to the HSM. The attestation key signs nothing else.

use serde::Serialize;

use super::{
    ENROLLMENT_TYP, EVIDENCE_TYP, EnrollmentClaims, EvidenceClaims, EvidenceError, MAX_EVIDENCE, PublicJwk,
};
use crate::jws::{self, JwsError};

/// `header.payload` of evidence or of an enrolment, waiting for the signature over exactly these bytes.
#[derive(Debug)]
pub struct SigningInput {
    text: String,
}

impl SigningInput {
    /// Evidence that `key`, the attestation key, is about to sign.
    pub fn evidence(claims: &EvidenceClaims, key: &PublicJwk) -> Result<Self, EvidenceError> {
        Self::new(EVIDENCE_TYP, claims, key)
    }

    /// The proof that the enrolling party holds `key`, the new attestation key.
    pub fn enrollment(claims: &EnrollmentClaims, key: &PublicJwk) -> Result<Self, EvidenceError> {
        Self::new(ENROLLMENT_TYP, claims, key)
    }

    fn new(typ: &str, claims: &impl Serialize, key: &PublicJwk) -> Result<Self, EvidenceError> {
        key.validate().map_err(JwsError::Key)?;
        let text = jws::signing_input(typ, key, claims).map_err(|_| EvidenceError::Unwritable)?;
        // Refused here, where the cause is near, and not only by the policy server. The longest signature, RSA
        // with 4096 bits, takes 683 characters.
        if text.len() > MAX_EVIDENCE - 1024 {
            return Err(JwsError::TooLong { limit: MAX_EVIDENCE }.into());
        }
        Ok(Self { text })
    }

    /// What is to be signed: with SHA-256 and ECDSA or RSA-PSS (salt of 32 bytes), or with Ed25519 as it is.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The JWT. An ECDSA signature is `r` and `s`, 32 bytes each, as PKCS#11 gives it.
    pub fn finish(self, signature: &[u8]) -> String {
        jws::join(&self.text, signature)
    }
}
