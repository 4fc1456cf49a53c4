//! What happens between the look at the token in hand and the renewal.

use attestation::digest::Digest;
use attestation::token::{
    Anchors, Expected, ISSUER, Mode, Presented, Statuses, Tier, TokenFacts, TokenIssuer, TrustshimClaims,
    verify_token,
};

use super::*;

const LIFETIME_MS: u64 = 3_000;
const DUE_MS: u64 = 2_000;

/// Answers in turn; what is not expected, it does not answer.
struct Script(Mutex<Vec<Result<VerifiedToken, AttestationFailure>>>);

impl Script {
    fn of(answers: impl IntoIterator<Item = Result<VerifiedToken, AttestationFailure>>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self(Mutex::new(answers))
    }
}

impl Attester for Script {
    fn attest(&self, _: AttestationRequest) -> AttestationOutcome {
        let result = self.0.lock().pop().expect("an attestation that no test expected");
        AttestationOutcome { result, undelivered: None }
    }

    fn examine(&self, _: &str) -> Result<VerifiedToken, AttestationFailure> {
        panic!("nothing is handed in here")
    }
}

fn failure(kind: FailureKind) -> AttestationFailure {
    AttestationFailure { kind, code: "code".into(), detail: "detail".into(), decision: None }
}

/// A token that counts from 0 to [`LIFETIME_MS`].
fn token() -> VerifiedToken {
    let (issuer, _) = TokenIssuer::generate().unwrap();
    let measurement = Digest::of(b"measured");
    let trustshim = TrustshimClaims {
        hsm: "hsm".into(),
        host: "host".into(),
        mode: Mode::Inline,
        boot_id: "boot".into(),
        deadline_boottime_ms: LIFETIME_MS,
        component: "demo".into(),
        version: "1".into(),
        measurement,
        grants: Vec::new(),
        epoch: 0,
    };
    let facts = TokenFacts {
        issuer: ISSUER.into(),
        jti: "T-1".into(),
        issued_at: 1_700_000_000,
        lifetime_s: 300,
        binding: None,
        statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
        trustshim,
    };
    let expected = Expected {
        hsm: "hsm",
        host: "host",
        mode: Mode::Inline,
        boot_id: "boot",
        measurement,
        presented: Presented::HandedIn,
    };
    let anchors = Anchors::parse(&issuer.jwks()).unwrap();
    verify_token(&issuer.issue(&facts).unwrap(), &anchors, &expected, 0).unwrap()
}

/// A holder with a token that is due, as one thread has seen it, and what another thread made of it meanwhile.
fn overtaken(by: Result<VerifiedToken, AttestationFailure>) -> (Holder, Held) {
    let holder = Holder::default();
    holder.take_in(token(), 0, holder.ends()).unwrap();
    let seen = holder.current(DUE_MS).unwrap();
    assert!(!holder.is_fresh(DUE_MS));
    drop(holder.obtain(DUE_MS, &Script::of([by]), &Reports::default()));
    (holder, seen)
}

#[test]
fn a_token_that_was_withdrawn_meanwhile_is_not_used_for_want_of_a_server() {
    let (holder, seen) = overtaken(Err(failure(FailureKind::Refused)));
    let unavailable = || Script::of([Err(failure(FailureKind::Unavailable))]);
    let renewed = holder.renew(seen.clone(), DUE_MS, &unavailable(), &Reports::default());
    assert_eq!(renewed.unwrap_err().kind, FailureKind::Refused, "the refusal stands for a second");
    let renewed = holder.renew(seen, DUE_MS + FAILURE_STANDS_MS - 1, &unavailable(), &Reports::default());
    assert_eq!(renewed.unwrap_err().kind, FailureKind::Refused);
    let (holder, seen) = overtaken(Err(failure(FailureKind::Refused)));
    let late = LIFETIME_MS.min(DUE_MS + FAILURE_STANDS_MS);
    let renewed = holder.renew(seen, late, &unavailable(), &Reports::default());
    assert_eq!(renewed.unwrap_err().kind, FailureKind::Unavailable);
}

#[test]
fn a_token_that_was_renewed_meanwhile_is_not_renewed_again() {
    let (holder, seen) = overtaken(Ok(token()));
    let nobody = Script::of([]);
    // As it was renewed at the end of its life, it is fresh until a third of what was left.
    let renewed = holder.renew(seen.clone(), DUE_MS, &nobody, &Reports::default()).unwrap();
    assert_ne!(renewed.epoch, seen.epoch);
}

#[test]
fn after_an_outage_in_between_the_token_in_hand_is_used_without_another_attempt() {
    let (holder, seen) = overtaken(Err(failure(FailureKind::Unavailable)));
    let nobody = Script::of([]);
    let held = holder.renew(seen.clone(), DUE_MS, &nobody, &Reports::default()).unwrap();
    assert_eq!(held.epoch, seen.epoch);
}

#[test]
fn who_finds_another_attesting_uses_the_token_in_hand() {
    let holder = Holder::default();
    holder.take_in(token(), 0, holder.ends()).unwrap();
    let attesting = holder.attempts.lock();
    let held = holder.obtain(DUE_MS, &Script::of([]), &Reports::default()).unwrap();
    assert_eq!(held.epoch, holder.epoch());
    drop(attesting);
}

#[test]
fn attempts_to_renew_grow_apart_up_to_half_a_minute() {
    let holder = Holder::default();
    let mut attempts = holder.attempts.lock();
    let mut now_ms = 0;
    let waits: Vec<_> = (0..7)
        .map(|_| {
            let unavailable = Script::of([Err(failure(FailureKind::Unavailable))]);
            let request = AttestationRequest::default();
            holder.attempt(&mut attempts, now_ms, request, &unavailable, &Reports::default()).unwrap_err();
            let due_ms = holder.due_ms.load(Ordering::Relaxed);
            assert!(!holder.is_fresh(due_ms) && holder.is_fresh(due_ms - 1));
            let wait_ms = due_ms - now_ms;
            now_ms = due_ms;
            wait_ms
        })
        .collect();
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
}

#[test]
fn an_epoch_belongs_to_one_token_or_to_none() {
    let holder = Holder::default();
    let mut epochs = vec![holder.epoch()];
    for _ in 0..3 {
        holder.take_in(token(), 0, holder.ends()).unwrap();
        epochs.push(holder.epoch());
        assert_eq!(holder.current(0).unwrap().epoch, holder.epoch());
        holder.drop_token();
        assert!(holder.current(0).is_none());
        epochs.push(holder.epoch());
    }
    let distinct: std::collections::BTreeSet<_> = epochs.iter().collect();
    assert_eq!(distinct.len(), epochs.len());
}
