//! Refusals on record: an id, one log line, and one report to the policy server.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::decision::{DecisionId, LocalDecision};
use attestation::token::TrustshimClaims;
use pkcs11_table::{Class, Function};

use crate::denial::{Denial, Refusal};
use crate::report::{Recorder, Reports};
use crate::rules::operation;
use crate::subject::Subject;

/// Where refusals go.
pub(crate) struct Records {
    random: fn() -> Option<u64>,
    recorder: Box<dyn Recorder>,
    reports: Reports,
}

impl Records {
    pub(crate) fn new(random: fn() -> Option<u64>, recorder: Box<dyn Recorder>) -> Self {
        Self { random, recorder, reports: Reports::default() }
    }

    /// What the policy server has not heard of yet.
    pub(crate) const fn reports(&self) -> &Reports {
        &self.reports
    }

    /// An object that was refused once it was there is still there.
    pub(crate) fn object_left(&self, function: Function) {
        self.recorder.object_left(function.name());
    }

    /// Puts a refusal on record; `claims` are those of the trust token in hand.
    pub(crate) fn refuse(
        &self,
        function: Function,
        subject: Option<&Subject>,
        refusal: Refusal,
        claims: Option<&TrustshimClaims>,
    ) -> Denial {
        let made_by_server = refusal.decision();
        // Without randomness the id is 0: the refusal stands all the same.
        let id = made_by_server.unwrap_or_else(|| DecisionId::from_random((self.random)().unwrap_or(0)));
        let decision = LocalDecision {
            id,
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            function: function.name().to_owned(),
            operation: class_name(function).to_owned(),
            key: refusal.key().map(str::to_owned).or_else(|| subject.map(|subject| subject.named().uri())),
            reason: refusal.reason(),
            measurement: claims.map(|claims| claims.measurement),
        };
        self.recorder.denied(&decision, claims.map(|claims| claims.component.as_str()));
        if made_by_server.is_none() {
            self.reports.push(decision);
        }
        Denial { id, refusal }
    }
}

fn class_name(function: Function) -> &'static str {
    match function.class() {
        Class::Begin(of)
        | Class::Continue(of)
        | Class::Dual(of, _)
        | Class::Use(of)
        | Class::Conditional(of) => operation(of).name(),
        Class::Keyless | Class::Library | Class::Open => "unknown",
    }
}
