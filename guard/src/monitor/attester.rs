//! The process that signs evidence: one request at a time, and started again where it has ended.

use std::sync::Arc;
use std::time::Duration;

use attestation::component::Component;
use attester::Outcome;
use configuration::Guard;
use gate::{AttestationFailure, FailureKind, Report};
use locks::Mutex;

use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromAttester, ToAttester};

/// Beyond the bounds on the requests to the policy server: what the HSM may take to sign.
const PATIENCE: Duration = Duration::from_secs(20);

/// The attester.
#[derive(Debug)]
pub(super) struct Attesting {
    program: Program,
    settings: Arc<Guard>,
    patience: Duration,
    role: Mutex<Option<Role>>,
}

impl Attesting {
    /// Starts it; the guard does not start without.
    pub(super) fn start(program: Program, settings: Arc<Guard>) -> Result<Self, GuardError> {
        let request = Duration::from_millis(settings.configuration.policy_server.timeout_ms);
        // A challenge and an attestation.
        let patience = PATIENCE.saturating_add(request.saturating_mul(2));
        let attesting = Self { program, settings, patience, role: Mutex::new(None) };
        *attesting.role.lock() = Some(attesting.started()?);
        Ok(attesting)
    }

    /// Has this appraised; gives the report back where it was not delivered.
    pub(super) fn attest(&self, component: Component, report: Report, within_ms: Option<u64>) -> Outcome {
        let kept = Some(report.clone()).filter(|report| !report.is_empty());
        let request = ToAttester::Attest { component: Box::new(component), report, within_ms };
        let error = match self.ask(&request) {
            Ok(FromAttester::Attested(outcome)) => return outcome,
            Ok(FromAttester::Key(_)) => GuardError::OutOfPlace,
            Err(error) => error,
        };
        Outcome { result: Err(unavailable(&error)), undelivered: kept }
    }

    /// Thumbprint of the attestation key.
    pub(super) fn key(&self) -> Result<String, AttestationFailure> {
        match self.ask(&ToAttester::Key) {
            Ok(FromAttester::Key(key)) => key,
            Ok(FromAttester::Attested(_)) => Err(unavailable(&GuardError::OutOfPlace)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn ask(&self, request: &ToAttester) -> Result<FromAttester, GuardError> {
        let mut place = self.role.lock();
        let role = match place.take().map(|mut role| (role.is_alive(), role)) {
            Some((true, role)) => role,
            Some((false, _)) => {
                tracing::warn!("the attester has ended by itself, and is started again");
                self.started()?
            }
            None => self.started()?,
        };
        // One that fails is dropped, and thereby ended.
        let answer = role.channel.ask(request)?;
        *place = Some(role);
        Ok(answer)
    }

    fn started(&self) -> Result<Role, GuardError> {
        let role = self.program.start("attester", &self.settings, &self.settings.attester_environment)?;
        role.channel.wait_at_most(self.patience)?;
        Ok(role)
    }
}

fn unavailable(error: &GuardError) -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "attester-unavailable".to_owned(),
        detail: error.to_string(),
        decision: None,
    }
}
