//! Trust tokens by measurement digest: however many processes measure alike, the policy server is asked once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attestation::component::Component;
use attestation::digest::Digest;
use attester::{Issued, Outcome, Verifier};
use gate::{AttestationFailure, FailureKind, Report};
use locks::Mutex;

use super::attester::Attesting;
use super::deadline::{By, waited};
use super::fair::Fair;
use super::granted::Rated;
use crate::messages::{Attest, Attested, Given};

/// Beyond so many of one user, those of that user that nobody uses are forgotten.
const KEPT: usize = 256;

/// After a renewal that has failed, the next is tried no sooner.
const AGAIN_MS: u64 = 2000;

/// The tokens, and who obtains them.
pub(super) struct Tokens {
    attester: Attesting,
    verifier: Verifier,
    by_digest: Mutex<BTreeMap<Digest, Arc<Token>>>,
}

/// The token of one measurement digest, and so of one user.
#[derive(Debug)]
pub(super) struct Token {
    uid: u32,
    /// Had for the time of an attestation.
    attesting: Fair<()>,
    /// Until there is another: what holds is given out, whether the next can be had or not.
    kept: Mutex<Option<Held>>,
    /// Raised whenever the policy server refuses what it had given a token before.
    withdrawn: AtomicU64,
}

#[derive(Debug)]
struct Held {
    issued: Issued,
    rated: Rated,
    deadline_boottime_ms: u64,
    /// When it is time for the next.
    due_boottime_ms: u64,
}

/// Which token a process was given: it stands for as long as nothing was withdrawn since.
#[derive(Debug)]
pub(super) struct Standing {
    token: Arc<Token>,
    withdrawn: u64,
}

/// What came of a request for a token.
pub(super) struct Obtained {
    pub(super) attested: Attested,
    /// Of a token that was obtained.
    pub(super) standing: Option<Standing>,
    /// Of the token that the process has from now on.
    pub(super) rated: Option<Rated>,
}

impl Obtained {
    fn nothing(failure: AttestationFailure, report: Report) -> Self {
        Self { attested: Attested::failed(failure, report), standing: None, rated: None }
    }
}

impl Standing {
    /// Whether two thirds of the token's life are over at `now_ms`, and it is one that is kept.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let is_due = |held: &Held| now_ms >= held.due_boottime_ms;
        self.token.kept.lock().as_ref().is_some_and(is_due) && self.token.attesting.turn_at_once().is_some()
    }

    /// Whether the token has not been withdrawn.
    pub(super) fn is_good(&self) -> bool {
        self.token.withdrawn.load(Ordering::Acquire) == self.withdrawn
    }
}

impl Token {
    /// As it stands now: to be asked before it is looked at.
    fn standing(this: &Arc<Self>) -> Standing {
        Standing { withdrawn: this.withdrawn.load(Ordering::Acquire), token: Arc::clone(this) }
    }

    /// The one that is kept, if it lasts longer than `beyond_ms`.
    fn given(this: &Arc<Self>, beyond_ms: u64) -> Option<Obtained> {
        let standing = Self::standing(this);
        let kept = this.kept.lock();
        let held = kept.as_ref().filter(|held| held.deadline_boottime_ms > beyond_ms)?;
        let given = Given::Token(held.issued.clone());
        Some(Obtained {
            attested: Attested { result: Ok(given), undelivered: None },
            standing: Some(standing),
            rated: Some(held.rated.clone()),
        })
    }

    /// It cannot be renewed for now: nor by the next process that it is due for.
    fn put_off(&self) {
        if let (Ok(now_ms), Some(held)) = (linux_ffi::boottime_ms(), &mut *self.kept.lock()) {
            held.due_boottime_ms = now_ms.saturating_add(AGAIN_MS);
        }
    }
}

impl Tokens {
    /// Nobody has one yet.
    pub(super) fn new(attester: Attesting, verifier: Verifier) -> Self {
        Self { attester, verifier, by_digest: Mutex::default() }
    }

    /// Has the token of `component` renewed before its end.
    pub(super) fn renew(&self, component: Component, by: By) {
        let token = self.of(component.measurement_digest(), by.uid);
        let Some(beyond_ms) = token.kept.lock().as_ref().map(|held| held.deadline_boottime_ms) else {
            return;
        };
        let asked = Attest { report: Report::default(), within_ms: None, beyond_ms, handed_in: None };
        if let Attested { result: Err(failure), .. } = self.obtain(component, asked, by).attested {
            tracing::warn!(code = failure.code, detail = failure.detail, "a token could not be renewed");
            token.put_off();
        }
    }

    /// A token for a process that was measured as `component`.
    pub(super) fn obtain(&self, component: Component, asked: Attest, by: By) -> Obtained {
        let digest = component.measurement_digest();
        if let Some(jwt) = &asked.handed_in {
            return match self.examine(jwt, digest, by) {
                Ok((given, rated)) => {
                    let undelivered = Some(asked.report);
                    let attested = Attested { result: Ok(given), undelivered };
                    Obtained { attested, standing: None, rated: Some(rated) }
                }
                Err(failure) => Obtained::nothing(failure, asked.report),
            };
        }
        let token = self.of(digest, by.uid);
        // What there is to report goes with a request of its own. Whoever was refused something may be granted it next, and
        // shall not have to wait for the end of this token then: it is not kept.
        let is_reporting = !asked.report.is_empty();
        let kept = || Token::given(&token, asked.beyond_ms).filter(|_| !is_reporting);
        if let Some(given) = kept() {
            return given;
        }
        let Some(_turn) = token.attesting.turn(by.uid, by.deadline.in_lines()) else {
            return Obtained::nothing(waited(), asked.report);
        };
        // Another process may have had it obtained meanwhile.
        if let Some(given) = kept() {
            return given;
        }
        let standing = Token::standing(&token);
        let Outcome { result, undelivered } = self.attester.attest(component, asked.report, by);
        let result = result.and_then(|issued| {
            let verified = self.verifier.verify(&issued)?;
            let deadline_boottime_ms = verified.deadline_boottime_ms();
            let left_ms =
                linux_ffi::boottime_ms().map_or(0, |now_ms| deadline_boottime_ms.saturating_sub(now_ms));
            let due_boottime_ms = deadline_boottime_ms.saturating_sub(left_ms / 3);
            Ok(Held { issued, rated: Rated::of(&verified), deadline_boottime_ms, due_boottime_ms })
        });
        match result {
            Ok(new) => {
                let attested = Attested { result: Ok(Given::Token(new.issued.clone())), undelivered };
                let rated = Some(new.rated.clone());
                *token.kept.lock() = Some(new).filter(|_| !is_reporting);
                Obtained { attested, standing: Some(standing), rated }
            }
            Err(failure) => {
                if failure.kind == FailureKind::Refused {
                    *token.kept.lock() = None;
                    token.withdrawn.fetch_add(1, Ordering::AcqRel);
                }
                Obtained {
                    attested: Attested { result: Err(failure), undelivered },
                    standing: None,
                    rated: None,
                }
            }
        }
    }

    /// For a token that a process hands in, which the worker examines for itself.
    fn examine(&self, jwt: &str, measurement: Digest, by: By) -> Result<(Given, Rated), AttestationFailure> {
        let hsm_id = self.attester.key(by)?;
        let token = self.verifier.verify_handed_in(jwt, &hsm_id, measurement)?;
        Ok((Given::Measurement { measurement, hsm_id }, Rated::of(&token)))
    }

    fn of(&self, digest: Digest, uid: u32) -> Arc<Token> {
        let mut tokens = self.by_digest.lock();
        if let Some(token) = tokens.get(&digest) {
            return Arc::clone(token);
        }
        if tokens.values().filter(|token| token.uid == uid).count() >= KEPT {
            // Those that a client was given are shared with it. Nobody can make another user's be forgotten.
            tokens.retain(|_, token| token.uid != uid || Arc::strong_count(token) > 1);
        }
        let token = Arc::new(Token {
            uid,
            attesting: Fair::with_places(1),
            kept: Mutex::new(None),
            withdrawn: AtomicU64::new(0),
        });
        tokens.insert(digest, Arc::clone(&token));
        token
    }
}
