//! The trust token in hand: obtained at the first need, renewed in time, by one caller at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attestation::decision::DecisionId;
use attestation::token::VerifiedToken;
use locks::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::report::{Report, Reports};

/// How long a renewal may hold up a call that has a valid token already, in milliseconds.
pub const RENEWAL_BUDGET_MS: u64 = 500;
/// How long the last report may hold up `C_Finalize`, in milliseconds.
const FAREWELL_BUDGET_MS: u64 = 500;
/// For how long a failed attestation is the answer to calls that have no token, in milliseconds.
const FAILURE_STANDS_MS: u64 = 1_000;
const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MOST_MS: u64 = 30_000;
/// The code of an attestation that [`Holder::end`] has overtaken.
const ENDED_MEANWHILE: &str = "ended-meanwhile";

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The policy server appraised the evidence and refused: a token in hand ends at once.
    Refused,
    /// No answer could be had; a token in hand stays usable until its deadline.
    Unavailable,
}

/// An attestation that gave no trust token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationFailure {
    /// Who failed.
    pub kind: FailureKind,
    /// Stable code in kebab case.
    pub code: String,
    /// One sentence.
    pub detail: String,
    /// The policy server's decision, where it made one.
    pub decision: Option<DecisionId>,
}

/// What is asked of an attester.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationRequest {
    /// Goes along to the policy server.
    pub report: Report,
    /// Bounds the whole attestation, in milliseconds, beyond the configured bounds.
    pub within_ms: Option<u64>,
    /// A token that was handed in by a file will do if it counts beyond this `CLOCK_BOOTTIME` in milliseconds.
    pub beyond_ms: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct AttestationOutcome {
    /// The token, or why there is none.
    pub result: Result<VerifiedToken, AttestationFailure>,
    /// The report, where it did not reach the policy server.
    pub undelivered: Option<Report>,
}

/// Measures, has the evidence signed and appraised, and verifies the trust token that comes back.
pub trait Attester: Send + Sync {
    /// One attestation, on the caller's thread.
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome;

    /// Verifies a token that somebody hands in, against a fresh measurement.
    ///
    /// # Errors
    /// Why it does not count.
    fn examine(&self, jwt: &str) -> Result<VerifiedToken, AttestationFailure>;
}

/// A token in hand. The epoch tells it from those before and after it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) token: Arc<VerifiedToken>,
    pub(crate) epoch: u64,
}

#[derive(Debug, Default)]
struct Attempts {
    failed_at_ms: u64,
    failure: Option<AttestationFailure>,
    backoff_ms: u64,
}

/// Holds the token of one process.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    held: RwLock<Option<Held>>,
    /// Of the token in hand; raised whenever that changes or goes, so that what rests on it is judged anew.
    epoch: AtomicU64,
    /// When a renewal falls due, `CLOCK_BOOTTIME` in milliseconds.
    due_ms: AtomicU64,
    /// How often the token was ended from outside: what an attestation gives that was under way then counts no more.
    ends: AtomicU64,
    // Locked for the time of an attestation: whoever has it, attests.
    attempts: Mutex<Attempts>,
}

impl Holder {
    /// The epoch of the token in hand.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// How often the token was ended from outside, to be asked before an attestation begins.
    pub(crate) fn ends(&self) -> u64 {
        self.ends.load(Ordering::Acquire)
    }

    /// Ends the token in hand, and what attestations give that are under way. Whether there was one.
    pub(crate) fn end(&self) -> bool {
        let mut held = self.held.write();
        self.ends.fetch_add(1, Ordering::AcqRel);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        held.take().is_some()
    }

    /// Whether nothing has to be done about the token at `now_ms`, if it counts.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.due_ms.load(Ordering::Relaxed)
    }

    /// The token in hand, if it counts at `now_ms`.
    pub(crate) fn current(&self, now_ms: u64) -> Option<Held> {
        self.held.read().as_ref().filter(|held| now_ms < held.token.deadline_boottime_ms()).cloned()
    }

    /// A token that counts at `now_ms`: the one in hand, renewed if it is time, or a new one.
    pub(crate) fn obtain(
        &self,
        now_ms: u64,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Held, AttestationFailure> {
        match self.current(now_ms) {
            Some(held) if self.is_fresh(now_ms) => Ok(held),
            Some(held) => self.renew(held, now_ms, attester, reports),
            None => self.replace(&mut self.attempts.lock(), now_ms, attester, reports),
        }
    }

    /// Obtains a token where there was none.
    fn replace(
        &self,
        attempts: &mut Attempts,
        now_ms: u64,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Held, AttestationFailure> {
        // Another thread may have obtained one while this one waited.
        if let Some(held) = self.current(now_ms) {
            return Ok(held);
        }
        if let Some(failure) = &attempts.failure
            && now_ms < attempts.failed_at_ms.saturating_add(FAILURE_STANDS_MS)
        {
            return Err(failure.clone());
        }
        let request = || AttestationRequest { beyond_ms: now_ms, ..AttestationRequest::default() };
        match self.attempt(attempts, now_ms, request(), attester, reports) {
            // By what ended it, the process may be as good as before: programs load their libraries while they start.
            Err(failure) if failure.code == ENDED_MEANWHILE => {
                self.attempt(attempts, now_ms, request(), attester, reports)
            }
            result => result,
        }
    }

    /// Tries to renew, if nobody else does and the last failure is long enough ago.
    fn renew(
        &self,
        held: Held,
        now_ms: u64,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Held, AttestationFailure> {
        let Some(mut attempts) = self.attempts.try_lock() else {
            return Ok(held);
        };
        // Another thread may have renewed it in between, or found it withdrawn: then it counts no more, whatever comes.
        let Some(held) = self.current(now_ms) else {
            return self.replace(&mut attempts, now_ms, attester, reports);
        };
        if self.is_fresh(now_ms) {
            return Ok(held);
        }
        let request = AttestationRequest {
            within_ms: Some(RENEWAL_BUDGET_MS),
            beyond_ms: held.token.deadline_boottime_ms(),
            report: Report::default(),
        };
        match self.attempt(&mut attempts, now_ms, request, attester, reports) {
            // It may have been ended while the renewal was under way.
            Err(failure) if failure.kind == FailureKind::Unavailable => self.current(now_ms).ok_or(failure),
            result => result,
        }
    }

    /// Takes in a token that was handed in, and examined since [`ends`](Self::ends) was `ends`.
    pub(crate) fn take_in(
        &self,
        token: VerifiedToken,
        now_ms: u64,
        ends: u64,
    ) -> Result<(), AttestationFailure> {
        let mut attempts = self.attempts.lock();
        self.hold(token, now_ms, ends)?;
        *attempts = Attempts::default();
        Ok(())
    }

    /// Gives the policy server what was refused since the last attestation, before the process ends.
    pub(crate) fn say_farewell(&self, now_ms: u64, attester: &dyn Attester, reports: &Reports) {
        if !reports.is_empty()
            && let Some(mut attempts) = self.attempts.try_lock()
        {
            let request = AttestationRequest {
                within_ms: Some(FAREWELL_BUDGET_MS),
                // No file will do: it would deliver nothing.
                beyond_ms: u64::MAX,
                report: Report::default(),
            };
            // Whether there is a token afterwards is of no concern any more; what was not delivered stays in the log.
            drop(self.attempt(&mut attempts, now_ms, request, attester, reports));
        }
    }

    fn attempt(
        &self,
        attempts: &mut Attempts,
        now_ms: u64,
        request: AttestationRequest,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Held, AttestationFailure> {
        let ends = self.ends();
        let outcome = attester.attest(AttestationRequest { report: reports.take(), ..request });
        if let Some(report) = outcome.undelivered {
            reports.put_back(report);
        }
        match outcome.result.map(|token| self.hold(token, now_ms, ends)) {
            Ok(Ok(held)) => {
                *attempts = Attempts::default();
                Ok(held)
            }
            // No failure that would stand for a while: there was a token, but of what is over.
            Ok(Err(ended)) => Err(ended),
            Err(failure) => {
                if failure.kind == FailureKind::Refused {
                    self.drop_token();
                }
                attempts.backoff_ms =
                    attempts.backoff_ms.saturating_mul(2).clamp(BACKOFF_FIRST_MS, BACKOFF_MOST_MS);
                attempts.failed_at_ms = now_ms;
                attempts.failure = Some(failure.clone());
                self.due_ms.store(now_ms.saturating_add(attempts.backoff_ms), Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    fn hold(&self, token: VerifiedToken, now_ms: u64, ends: u64) -> Result<Held, AttestationFailure> {
        let left_ms = token.deadline_boottime_ms().saturating_sub(now_ms);
        let due_ms = token.deadline_boottime_ms().saturating_sub(left_ms / 3);
        let mut held = self.held.write();
        if self.ends() != ends {
            return Err(AttestationFailure {
                kind: FailureKind::Unavailable,
                code: ENDED_MEANWHILE.to_owned(),
                detail: "the process changed while it was being attested".to_owned(),
                decision: None,
            });
        }
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        self.due_ms.store(due_ms, Ordering::Relaxed);
        let new = Held { token: Arc::new(token), epoch };
        *held = Some(new.clone());
        Ok(new)
    }

    fn drop_token(&self) {
        let mut held = self.held.write();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *held = None;
    }
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;
