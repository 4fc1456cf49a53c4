//! The attester of inline mode: what it measures is the process that it is in.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use attestation::component::Component;
use attestation::token::{MAX_TOKEN, VerifiedToken};
use configuration::Configuration;
use gate::{AttestationFailure, AttestationOutcome, AttestationRequest, Attester, Report};
use gated_module::AttestationPlace;

use crate::budget::Budget;
use crate::error::AttesterError;
use crate::failure::unmeasured;
use crate::issued::Verifier;
use crate::signer::{Signer, Surroundings};

/// Attests this process.
pub struct InlineAttester {
    signer: Signer,
    verifier: Verifier,
    component: String,
    declared: Vec<PathBuf>,
    trust_token_file: Option<PathBuf>,
}

impl InlineAttester {
    /// Reads the pinned anchors and makes the in-memory key.
    ///
    /// # Errors
    /// What the attester needs cannot be had.
    pub fn new(
        configuration: &Configuration,
        place: Arc<AttestationPlace>,
        surroundings: Surroundings,
    ) -> Result<Self, AttesterError> {
        Ok(Self {
            verifier: Verifier::new(configuration)?,
            signer: Signer::new(configuration, place, surroundings)?,
            component: configuration.component.name.clone(),
            declared: configuration.component.files.clone(),
            trust_token_file: configuration.attestation.trust_token_file.clone(),
        })
    }

    fn measure(&self, budget: &Budget) -> Result<Component, AttestationFailure> {
        let request = measurement::Request { name: &self.component, configuration: &self.declared };
        measurement::measure_self(&request, &self.signer.hashing(budget)).map_err(unmeasured)
    }

    fn examine_within(&self, jwt: &str, budget: &Budget) -> Result<VerifiedToken, AttestationFailure> {
        let hsm_id = self.signer.hsm_id()?;
        let component = self.measure(budget)?;
        self.verifier.verify_handed_in(jwt, &hsm_id, component.measurement_digest())
    }

    /// The token in the configured file, if it is there and counts beyond `beyond_ms`.
    ///
    /// One that does not count is as good as none: then the policy server is asked.
    fn handed_in(&self, beyond_ms: u64, budget: &Budget) -> Option<VerifiedToken> {
        let file = File::open(self.trust_token_file.as_ref()?).ok()?;
        let mut jwt = String::new();
        file.take(MAX_TOKEN as u64 + 1).read_to_string(&mut jwt).ok()?;
        let token = self.examine_within(jwt.trim_end(), budget).ok()?;
        (token.deadline_boottime_ms() > beyond_ms).then_some(token)
    }
}

impl Attester for InlineAttester {
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome {
        let AttestationRequest { report, within_ms, beyond_ms } = request;
        let budget = Budget::new(within_ms);
        if let Some(token) = self.handed_in(beyond_ms, &budget) {
            let undelivered = Some(report).filter(|report: &Report| !report.is_empty());
            return AttestationOutcome { result: Ok(token), undelivered };
        }
        let outcome = self.signer.attest(report, &budget, || self.measure(&budget));
        AttestationOutcome {
            result: outcome.result.and_then(|issued| self.verifier.verify(&issued)),
            undelivered: outcome.undelivered,
        }
    }

    fn examine(&self, jwt: &str) -> Result<VerifiedToken, AttestationFailure> {
        self.examine_within(jwt, &Budget::new(None))
    }
}
