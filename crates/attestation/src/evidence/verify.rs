//! Verification of evidence and of enrolments: everything that needs no database. That the nonce is fresh, that the
//! key is approved and that the measurement is known is the policy server's to find out.

use serde::de::DeserializeOwned;

use super::{
    AUDIENCE, ENROLLMENT_TYP, EVIDENCE_PROFILE, EVIDENCE_TYP, EnrollmentClaims, EvidenceClaims,
    EvidenceError, MAX_EVIDENCE, NONCE_BYTES, PublicJwk,
};
use crate::base64url;
use crate::digest::escape;
use crate::jwk::Algorithm;
use crate::jws::Unverified;
use crate::strict_json;

/// Evidence whose signature and form are in order.
#[derive(Debug)]
pub struct VerifiedEvidence {
    claims: EvidenceClaims,
    key_id: String,
}

impl VerifiedEvidence {
    /// What the attester claims.
    pub fn claims(&self) -> &EvidenceClaims {
        &self.claims
    }

    /// Gives the claims away.
    pub fn into_claims(self) -> EvidenceClaims {
        self.claims
    }

    /// Thumbprint of the attestation key that signed.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

/// An enrolment signed by the key that it enrols.
#[derive(Debug)]
pub struct VerifiedEnrollment {
    claims: EnrollmentClaims,
}

impl VerifiedEnrollment {
    /// What the enrolling party claims; `cnf` is the key that signed.
    pub fn claims(&self) -> &EnrollmentClaims {
        &self.claims
    }

    /// Gives the claims away.
    pub fn into_claims(self) -> EnrollmentClaims {
        self.claims
    }
}

/// The `kid` of evidence, believed by nobody yet: only for looking the key up.
pub fn claimed_key_id(jwt: &str) -> Result<String, EvidenceError> {
    Ok(Unverified::parse(jwt, EVIDENCE_TYP, MAX_EVIDENCE)?.claimed_key_id().to_owned())
}

/// Verifies evidence by `key`: size, form, type, key id, algorithm, signature, claims, profile, audience and the form
/// of nonce and `cnf`, in this order.
pub fn verify_evidence(jwt: &str, key: &PublicJwk) -> Result<VerifiedEvidence, EvidenceError> {
    let payload = Unverified::parse(jwt, EVIDENCE_TYP, MAX_EVIDENCE)?.verify(key)?;
    let claims: EvidenceClaims = parse(&payload)?;
    if claims.eat_profile != EVIDENCE_PROFILE {
        return Err(EvidenceError::OtherProfile { found: escape(claims.eat_profile.as_bytes()) });
    }
    check_addressing(&claims.aud, &claims.eat_nonce)?;
    claims.cnf.jwk.validate().map_err(EvidenceError::ConfirmationKey)?;
    if claims.cnf.jwk.algorithm() != Algorithm::EdDsa {
        return Err(EvidenceError::ConfirmationAlgorithm);
    }
    Ok(VerifiedEvidence { claims, key_id: key.thumbprint() })
}

/// Verifies an enrolment by the key in its `cnf` claim: possession of that key, and no trust in it.
pub fn verify_enrollment(jwt: &str) -> Result<VerifiedEnrollment, EvidenceError> {
    let message = Unverified::parse(jwt, ENROLLMENT_TYP, MAX_EVIDENCE)?;
    let claims: EnrollmentClaims = parse(message.unverified_payload())?;
    claims.cnf.jwk.validate().map_err(EvidenceError::ConfirmationKey)?;
    message.verify(&claims.cnf.jwk)?;
    check_addressing(&claims.aud, &claims.eat_nonce)?;
    Ok(VerifiedEnrollment { claims })
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, EvidenceError> {
    strict_json::parse(payload, MAX_EVIDENCE).map_err(EvidenceError::Claims)
}

fn check_addressing(audience: &str, nonce: &str) -> Result<(), EvidenceError> {
    if audience != AUDIENCE {
        return Err(EvidenceError::OtherAudience { found: escape(audience.as_bytes()) });
    }
    match base64url::decode(nonce) {
        Some(nonce) if nonce.len() == NONCE_BYTES => Ok(()),
        Some(_) | None => Err(EvidenceError::NonceForm),
    }
}
