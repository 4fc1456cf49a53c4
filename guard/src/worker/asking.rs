//! The attester of a worker: the monitor measures the client and has the evidence signed; here the token is verified.

use std::sync::Arc;

use attestation::token::VerifiedToken;
use attester::Verifier;
use gate::{AttestationFailure, AttestationOutcome, AttestationRequest, Attester, FailureKind, Report};
use locks::Mutex;

use crate::channel::Channel;
use crate::error::GuardError;
use crate::large::Large;
use crate::messages::{Attest, Attested, Given};

/// Asks the monitor for tokens.
pub(super) struct Asking {
    channel: Mutex<Channel>,
    verifier: Verifier,
    /// Who has a token may send more.
    large: Arc<Large>,
}

impl Asking {
    /// Over this channel.
    pub(super) const fn new(channel: Channel, verifier: Verifier, large: Arc<Large>) -> Self {
        Self { channel: Mutex::new(channel), verifier, large }
    }

    fn ask(&self, asked: &Attest) -> Result<Attested, AttestationFailure> {
        let answer = self.channel.lock().ask(asked);
        answer.map_err(|error: GuardError| unavailable("monitor-unavailable", &error))
    }
}

impl Attester for Asking {
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome {
        let AttestationRequest { report, within_ms, beyond_ms } = request;
        let kept = (!report.is_empty()).then(|| report.clone());
        match self.ask(&Attest { report, within_ms, beyond_ms, handed_in: None }) {
            Ok(Attested { result, undelivered }) => {
                let result = result.and_then(|given| match given {
                    Given::Token(issued) => self.verifier.verify(&issued),
                    Given::Measurement { .. } => Err(out_of_place()),
                });
                match &result {
                    Ok(token) => self.large.trust_until(token.deadline_boottime_ms()),
                    Err(failure) if failure.kind == FailureKind::Refused => self.large.trust_until(0),
                    Err(_) => {}
                }
                AttestationOutcome { result, undelivered }
            }
            Err(failure) => AttestationOutcome { result: Err(failure), undelivered: kept },
        }
    }

    fn examine(&self, jwt: &str) -> Result<VerifiedToken, AttestationFailure> {
        // Anybody can hand in anything, and each measurement is work.
        self.verifier.is_signed(jwt)?;
        let handed_in = Some(jwt.to_owned());
        let asked = Attest { report: Report::default(), within_ms: None, beyond_ms: 0, handed_in };
        match self.ask(&asked)?.result? {
            Given::Measurement { measurement, hsm_id } => {
                let token = self.verifier.verify_handed_in(jwt, &hsm_id, measurement)?;
                self.large.trust_until(token.deadline_boottime_ms());
                Ok(token)
            }
            Given::Token(_) => Err(out_of_place()),
        }
    }
}

fn out_of_place() -> AttestationFailure {
    unavailable("monitor-unavailable", &GuardError::OutOfPlace)
}

/// A failure on this side: no answer of the policy server is to blame.
fn unavailable(code: &str, error: &GuardError) -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: code.to_owned(),
        detail: error.to_string(),
        decision: None,
    }
}
