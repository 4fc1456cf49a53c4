//! The process that signs evidence: one request at a time, of one user after the other, and started again where it has ended.

use std::sync::Arc;
use std::time::Duration;

use attestation::component::Component;
use attester::Outcome;
use configuration::Guard;
use gate::{AttestationFailure, FailureKind, Report};
use locks::Mutex;

use super::deadline::{By, waited};
use super::fair::Fair;
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
    role: Fair<Role>,
    /// Thumbprint of the attestation key, once it is known: asking for it is a login to its token.
    key: Mutex<Option<String>>,
}

impl Attesting {
    /// Starts it; the guard does not start without.
    pub(super) fn start(program: Program, settings: Arc<Guard>) -> Result<Self, GuardError> {
        let request = Duration::from_millis(settings.configuration.policy_server.timeout_ms);
        // A challenge and an attestation.
        let patience = PATIENCE.saturating_add(request.saturating_mul(2));
        let (role, key) = (Fair::with_places(1), Mutex::new(None));
        let attesting = Self { program, settings, patience, role, key };
        if let Some(mut place) = attesting.role.turn_at_once() {
            *place = Some(attesting.started()?);
        }
        Ok(attesting)
    }

    /// Has this of a user's appraised; gives the report back where it was not delivered.
    pub(super) fn attest(&self, component: Component, report: Report, by: By) -> Outcome {
        let kept = Some(report.clone()).filter(|report| !report.is_empty());
        let Some(mut place) = self.role.turn(by.uid, by.deadline.in_lines()) else {
            return Outcome { result: Err(waited()), undelivered: kept };
        };
        let within_ms = by.deadline.left_ms();
        let request = ToAttester::Attest { component: Box::new(component), report, within_ms };
        let error = match self.ask(&mut place, &request) {
            Ok(FromAttester::Attested(outcome)) => return outcome,
            Ok(FromAttester::Key(_)) => GuardError::OutOfPlace,
            Err(error) => error,
        };
        Outcome { result: Err(unavailable(&error)), undelivered: kept }
    }

    /// Thumbprint of the attestation key.
    pub(super) fn key(&self, by: By) -> Result<String, AttestationFailure> {
        let known = || self.key.lock().clone();
        if let Some(key) = known() {
            return Ok(key);
        }
        let mut place = self.role.turn(by.uid, by.deadline.in_lines()).ok_or_else(waited)?;
        // Somebody else may have asked meanwhile.
        if let Some(key) = known() {
            return Ok(key);
        }
        match self.ask(&mut place, &ToAttester::Key) {
            Ok(FromAttester::Key(key)) => {
                self.key.lock().clone_from(&key.as_ref().ok().cloned());
                key
            }
            Ok(FromAttester::Attested(_)) => Err(unavailable(&GuardError::OutOfPlace)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn ask(&self, place: &mut Option<Role>, request: &ToAttester) -> Result<FromAttester, GuardError> {
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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::super::deadline::Deadline;
    use super::*;

    /// One whose process is at work for somebody else.
    fn busy() -> (tempfile::TempDir, Attesting) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("guard.toml");
        fs::write(&file, include_str!("../../../packaging/guard.toml")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let settings = Arc::new(configuration::load_guard(&file).unwrap());
        let program = Program::new().unwrap();
        let (role, key) = (Fair::with_places(1), Mutex::new(None));
        (directory, Attesting { program, settings, patience: PATIENCE, role, key })
    }

    #[test]
    fn who_waits_too_long_is_told_so_by_a_reason_of_its_own() {
        let (_directory, attesting) = busy();
        let turn = attesting.role.turn_at_once().unwrap();
        let began = Instant::now();
        let by = By { uid: 1, deadline: Deadline::within(Some(50)) };
        let failure = attesting.key(by).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unavailable, "attester-busy"));
        assert!(began.elapsed() >= Duration::from_millis(50));
        drop(turn);
        *attesting.key.lock() = Some("thumbprint".to_owned());
        assert_eq!(attesting.key(by).unwrap(), "thumbprint", "what is known takes no turn");
    }
}
