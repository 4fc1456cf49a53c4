//! The gate of one process: holds the trust token, judges calls, and puts refusals on record.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::decision::{DecisionId, LocalDecision};
use attestation::key_uri::ObjectIdentity;
use pkcs11_table::{Class, Function, Use};

use crate::authorize::{KeyUse, authorize};
use crate::denial::{Denial, Refusal, operation};
use crate::holder::{Attester, Holder};
use crate::permit::Permit;
use crate::report::{Recorder, Reports};
use crate::sessions::{Running, Session};

/// A permitted init: the permit to forward it, and what will run if the real module accepts it.
#[derive(Debug)]
pub struct Begun {
    /// Lets the init through.
    pub permit: Permit,
    /// To be kept in the session once the real module has answered `CKR_OK`.
    pub running: Running,
}

/// The gate.
pub struct Gate {
    holder: Holder,
    reports: Reports,
    clock: fn() -> Option<u64>,
    random: fn() -> Option<u64>,
    attester: Box<dyn Attester>,
    recorder: Box<dyn Recorder>,
}

impl Gate {
    /// A gate that holds no trust token yet.
    ///
    /// `clock` reads `CLOCK_BOOTTIME` in milliseconds, `random` gives 64 random bits for decision ids; where either
    /// answers `None`, every use of a key is refused.
    pub fn new(
        clock: fn() -> Option<u64>,
        random: fn() -> Option<u64>,
        attester: Box<dyn Attester>,
        recorder: Box<dyn Recorder>,
    ) -> Self {
        Self { holder: Holder::default(), reports: Reports::default(), clock, random, attester, recorder }
    }

    /// Sees to it that a trust token is at hand before the key of an init is looked at: an attestation takes seconds,
    /// in which the handle could come to mean another key.
    pub fn prepare(&self, function: Function) {
        if let Class::Begin(Use::Sign | Use::Decrypt) = function.class()
            && let Some(now_ms) = (self.clock)()
        {
            // A failure is for `begin` to judge: it stands for a while and is found there again.
            drop(self.holder.obtain(now_ms, &*self.attester, &self.reports));
        }
    }

    /// Judges an init: `function` begins to use `key` with `mechanism` (a `CKM_` number).
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn begin(
        &self,
        session: &Session,
        function: Function,
        mechanism: u64,
        key: ObjectIdentity,
    ) -> Result<Begun, Denial> {
        let Class::Begin(begun) = function.class() else {
            return Err(self.refuse(Some(session), function, Some(&key), Refusal::WrongClass));
        };
        let key_use = KeyUse::new(begun, mechanism, key);
        match self.judge_begin(&key_use) {
            Ok(()) => Ok(Begun {
                permit: Permit::new(function),
                running: Running { key_use, recover: is_recover(function) },
            }),
            Err(refusal) => Err(self.refuse(Some(session), function, Some(key_use.key()), refusal)),
        }
    }

    fn judge_begin(&self, key_use: &KeyUse) -> Result<(), Refusal> {
        if key_use.is_open() {
            return Ok(());
        }
        match key_use.begun() {
            Use::Sign | Use::Decrypt => {}
            other => return Err(Refusal::NoRule(operation(other))),
        }
        let now_ms = (self.clock)().ok_or(Refusal::ClockUnreadable)?;
        let token =
            self.holder.obtain(now_ms, &*self.attester, &self.reports).map_err(Refusal::Attestation)?;
        // The attestation may have taken seconds.
        let now_ms = (self.clock)().ok_or(Refusal::ClockUnreadable)?;
        authorize(&token, key_use, now_ms)
    }

    /// Judges a continuation of `running` by `function`.
    ///
    /// `None` where `function` does not go on with that operation.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn resume(
        &self,
        session: &Session,
        function: Function,
        running: &Running,
    ) -> Option<Result<Permit, Denial>> {
        let belongs = function.class() == Class::Continue(running.key_use.begun())
            && running.recover == is_recover(function);
        belongs.then(|| match self.judge_resume(&running.key_use) {
            Ok(()) => Ok(Permit::new(function)),
            Err(refusal) => Err(self.refuse(Some(session), function, Some(running.key_use.key()), refusal)),
        })
    }

    fn judge_resume(&self, key_use: &KeyUse) -> Result<(), Refusal> {
        if key_use.is_open() {
            return Ok(());
        }
        let now_ms = (self.clock)().ok_or(Refusal::ClockUnreadable)?;
        // Not obtained anew: an operation ends with the token under which it could go on.
        let token = self.holder.current(now_ms).ok_or(Refusal::TokenExpired)?;
        authorize(&token, key_use, now_ms)
    }

    /// Judges a login by its user type, `CKU_SO` (0) among them.
    ///
    /// # Errors
    /// The refusal, on record: the security officer administers the token.
    pub fn login(&self, session: &Session, user: u64) -> Result<Permit, Denial> {
        const USER: u64 = 1;
        const CONTEXT_SPECIFIC: u64 = 2;
        match user {
            USER | CONTEXT_SPECIFIC => Ok(Permit::new(Function::C_Login)),
            _ => {
                let refusal = Refusal::NoRule(operation(Use::Administer));
                Err(self.refuse(Some(session), Function::C_Login, None, refusal))
            }
        }
    }

    /// The refusal of a function that nothing can permit in this version.
    pub fn refuse_outright(&self, session: Option<&Session>, function: Function) -> Denial {
        let refusal = match function.class() {
            Class::Begin(of) | Class::Continue(of) | Class::Use(of) | Class::Conditional(of) => {
                Refusal::NoRule(operation(of))
            }
            Class::Dual(..) => Refusal::DualFunction,
            Class::Library | Class::Open => Refusal::WrongClass,
        };
        self.refuse(session, function, None, refusal)
    }

    /// Puts a refusal on record: one log line, one report to the policy server.
    ///
    /// A refusal that the policy server itself made keeps the server's id and is not reported back to it.
    pub fn refuse(
        &self,
        session: Option<&Session>,
        function: Function,
        key: Option<&ObjectIdentity>,
        refusal: Refusal,
    ) -> Denial {
        let made_by_server = match &refusal {
            Refusal::Attestation(failure) => failure.decision,
            _ => None,
        };
        // Without randomness the id is 0: the refusal stands all the same.
        let id = made_by_server.unwrap_or_else(|| DecisionId::from_random((self.random)().unwrap_or(0)));
        let token = (self.clock)().and_then(|now_ms| self.holder.current(now_ms));
        let decision = LocalDecision {
            id,
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            function: function.name().to_owned(),
            operation: class_name(function).to_owned(),
            key: key.map(ObjectIdentity::uri),
            reason: refusal.reason(),
            measurement: token.as_ref().map(|token| token.claims().measurement),
        };
        self.recorder.denied(&decision, token.as_ref().map(|token| token.claims().component.as_str()));
        if made_by_server.is_none() {
            self.reports.push(decision);
        }
        if let Some(session) = session {
            session.note_denial(id);
        }
        Denial { id, refusal }
    }
}

fn is_recover(function: Function) -> bool {
    matches!(
        function,
        Function::C_SignRecoverInit
            | Function::C_SignRecover
            | Function::C_VerifyRecoverInit
            | Function::C_VerifyRecover
    )
}

fn class_name(function: Function) -> &'static str {
    match function.class() {
        Class::Begin(of)
        | Class::Continue(of)
        | Class::Dual(of, _)
        | Class::Use(of)
        | Class::Conditional(of) => operation(of).name(),
        Class::Library | Class::Open => "unknown",
    }
}
