//! The policy server's answer, and the check that a trust token is one for this host, mode, boot and measurement.

use attestation::digest::Digest;
use attestation::token::{Anchors, Expected, Mode, Presented, VerifiedToken, verify_signature, verify_token};
use configuration::Configuration;
use gate::AttestationFailure;
use serde::{Deserialize, Serialize};

use crate::error::AttesterError;
use crate::failure::{local, now_ms};

/// What the policy server answered to evidence, with what the evidence said. It may come from another process: what it is
/// worth, [`Verifier::verify`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The trust token.
    pub jwt: String,
    /// Thumbprint of the attestation key that signed the evidence.
    pub hsm_id: String,
    /// Thumbprint of the attester's in-memory key.
    pub cnf: String,
    /// The challenge that was answered.
    pub nonce: String,
    /// Of the process that was measured.
    pub measurement: Digest,
}

/// Checks trust tokens against the pinned anchors, for this host, mode and boot.
pub struct Verifier {
    anchors: Anchors,
    host: String,
    mode: Mode,
    boot_id: String,
}

impl Verifier {
    /// Reads the pinned anchors; the mode is that of the configuration.
    ///
    /// # Errors
    /// They, or what this host and boot are called, cannot be read.
    pub fn new(configuration: &Configuration) -> Result<Self, AttesterError> {
        let path = &configuration.policy_server.anchors;
        let jwks = std::fs::read_to_string(path)
            .map_err(|source| AttesterError::Unreadable { path: path.clone(), source })?;
        let host = match &configuration.attestation.host {
            Some(host) => host.clone(),
            None => measurement::host_name()?,
        };
        Ok(Self {
            anchors: Anchors::parse(&jwks).map_err(AttesterError::Anchors)?,
            host,
            mode: configuration.mode,
            boot_id: measurement::boot_id()?,
        })
    }

    /// Checks the answer to evidence. That its measurement is the one of the process in question is for the caller to see.
    ///
    /// # Errors
    /// Why the token does not count.
    pub fn verify(&self, issued: &Issued) -> Result<VerifiedToken, AttestationFailure> {
        let presented = Presented::Answer { cnf: &issued.cnf, nonce: &issued.nonce };
        self.check(&issued.jwt, &issued.hsm_id, issued.measurement, presented)
    }

    /// Whether a token that somebody hands in is worth a measurement: whether it is signed.
    ///
    /// # Errors
    /// Why it is not.
    pub fn is_signed(&self, jwt: &str) -> Result<(), AttestationFailure> {
        verify_signature(jwt, &self.anchors).map_err(|error| local(error.code(), error.to_string()))
    }

    /// Checks a token that somebody hands in, against a fresh measurement and the thumbprint of the attestation key.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify_handed_in(
        &self,
        jwt: &str,
        hsm_id: &str,
        measurement: Digest,
    ) -> Result<VerifiedToken, AttestationFailure> {
        self.check(jwt, hsm_id, measurement, Presented::HandedIn)
    }

    fn check(
        &self,
        jwt: &str,
        hsm_id: &str,
        measurement: Digest,
        presented: Presented<'_>,
    ) -> Result<VerifiedToken, AttestationFailure> {
        let expected = Expected {
            hsm: hsm_id,
            host: &self.host,
            mode: self.mode,
            boot_id: &self.boot_id,
            measurement,
            presented,
        };
        verify_token(jwt, &self.anchors, &expected, now_ms()?)
            .map_err(|error| local(error.code(), error.to_string()))
    }
}
