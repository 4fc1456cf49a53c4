//! The trust token in hand: obtained at the first need, renewed in time, by one caller at a time.

use std::sync::Arc;

use attestation::decision::DecisionId;
use attestation::token::VerifiedToken;
use parking_lot::{Mutex, RwLock};

use crate::report::{Report, Reports};

/// How long a renewal may hold up a call that has a valid token already, in milliseconds.
pub const RENEWAL_BUDGET_MS: u64 = 500;
/// For how long a failed attestation is the answer to calls that have no token, in milliseconds.
const FAILURE_STANDS_MS: u64 = 1_000;
const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MOST_MS: u64 = 30_000;

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The policy server appraised the evidence and refused: a token in hand ends at once.
    Refused,
    /// No answer could be had; a token in hand stays usable until its deadline.
    Unavailable,
}

/// An attestation that gave no trust token.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Measures, has the evidence signed and appraised, and verifies the trust token that comes back.
pub trait Attester: Send + Sync {
    /// One attestation, on the caller's thread. `within_ms` bounds the time it may take, beyond the configured
    /// bounds. Where the server was not reached, `report` must come back in the error.
    ///
    /// # Errors
    /// The failure, and the report if it was not delivered.
    fn attest(
        &self,
        report: Report,
        within_ms: Option<u64>,
    ) -> Result<VerifiedToken, (AttestationFailure, Option<Report>)>;
}

#[derive(Debug)]
struct Held {
    token: Arc<VerifiedToken>,
    renew_at_ms: u64,
}

#[derive(Debug, Default)]
struct Attempts {
    failed_at_ms: u64,
    failure: Option<AttestationFailure>,
    retry_at_ms: u64,
    backoff_ms: u64,
}

/// Holds the token of one process.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    held: RwLock<Option<Held>>,
    // Locked for the time of an attestation: whoever has it, attests.
    attempts: Mutex<Attempts>,
}

impl Holder {
    /// The token in hand, if it counts at `now_ms`.
    pub(crate) fn current(&self, now_ms: u64) -> Option<Arc<VerifiedToken>> {
        let held = self.held.read();
        held.as_ref()
            .filter(|held| now_ms < held.token.deadline_boottime_ms())
            .map(|held| Arc::clone(&held.token))
    }

    /// A token that counts at `now_ms`: the one in hand, renewed if it is time, or a new one.
    pub(crate) fn obtain(
        &self,
        now_ms: u64,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Arc<VerifiedToken>, AttestationFailure> {
        match self.in_hand(now_ms) {
            Some((token, false)) => Ok(token),
            Some((token, true)) => Ok(self.renew(token, now_ms, attester, reports)?),
            None => {
                let mut attempts = self.attempts.lock();
                // Another thread may have obtained one while this one waited.
                if let Some(token) = self.current(now_ms) {
                    return Ok(token);
                }
                if let Some(failure) = &attempts.failure
                    && now_ms < attempts.failed_at_ms.saturating_add(FAILURE_STANDS_MS)
                {
                    return Err(failure.clone());
                }
                self.attempt(&mut attempts, now_ms, None, attester, reports)
            }
        }
    }

    fn in_hand(&self, now_ms: u64) -> Option<(Arc<VerifiedToken>, bool)> {
        let held = self.held.read();
        held.as_ref()
            .filter(|held| now_ms < held.token.deadline_boottime_ms())
            .map(|held| (Arc::clone(&held.token), now_ms >= held.renew_at_ms))
    }

    /// Tries to renew, if nobody else does and the last failure is long enough ago.
    fn renew(
        &self,
        token: Arc<VerifiedToken>,
        now_ms: u64,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Arc<VerifiedToken>, AttestationFailure> {
        let Some(mut attempts) = self.attempts.try_lock() else {
            return Ok(token);
        };
        if let Some((renewed, false)) = self.in_hand(now_ms) {
            return Ok(renewed);
        }
        if now_ms < attempts.retry_at_ms {
            return Ok(token);
        }
        match self.attempt(&mut attempts, now_ms, Some(RENEWAL_BUDGET_MS), attester, reports) {
            Ok(renewed) => Ok(renewed),
            Err(failure) if failure.kind == FailureKind::Unavailable => Ok(token),
            Err(failure) => Err(failure),
        }
    }

    fn attempt(
        &self,
        attempts: &mut Attempts,
        now_ms: u64,
        within_ms: Option<u64>,
        attester: &dyn Attester,
        reports: &Reports,
    ) -> Result<Arc<VerifiedToken>, AttestationFailure> {
        match attester.attest(reports.take(), within_ms) {
            Ok(token) => {
                let token = Arc::new(token);
                let left_ms = token.deadline_boottime_ms().saturating_sub(now_ms);
                let renew_at_ms = token.deadline_boottime_ms().saturating_sub(left_ms / 3);
                *attempts = Attempts::default();
                *self.held.write() = Some(Held { token: Arc::clone(&token), renew_at_ms });
                Ok(token)
            }
            Err((failure, undelivered)) => {
                if let Some(report) = undelivered {
                    reports.put_back(report);
                }
                if failure.kind == FailureKind::Refused {
                    *self.held.write() = None;
                }
                attempts.backoff_ms =
                    attempts.backoff_ms.saturating_mul(2).clamp(BACKOFF_FIRST_MS, BACKOFF_MOST_MS);
                attempts.retry_at_ms = now_ms.saturating_add(attempts.backoff_ms);
                attempts.failed_at_ms = now_ms;
                attempts.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }
}
