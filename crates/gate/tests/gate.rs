//! The gate with real trust tokens, a clock that the test sets, and an attester that answers what it is told.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use attestation::decision::{DecisionId, LocalDecision};
use attestation::digest::Digest;
use attestation::grant::{Grant, Operation};
use attestation::key_uri::{ObjectClass, ObjectIdentity, TokenIdentity};
use attestation::token::{
    Anchors, Binding, Expected, ISSUER, Mode, Presented, Statuses, Tier, TokenFacts, TokenIssuer,
    TrustshimClaims, VerifiedToken, verify_token,
};
use gate::{
    AttestationFailure, Attester, Denial, FailureKind, Gate, Recorder, Refusal, Report, Running, Session,
    Sessions,
};
use parking_lot::Mutex;
use pkcs11_table::Function;

const ECDSA: u64 = 0x1041;
const RSA_X_509: u64 = 3;
const LIFETIME_MS: u64 = 300_000;

thread_local! {
    static NOW_MS: Cell<Option<u64>> = const { Cell::new(Some(1_000_000)) };
}

fn clock() -> Option<u64> {
    NOW_MS.get()
}

fn pass(ms: u64) {
    NOW_MS.set(NOW_MS.get().map(|now| now + ms));
}

type Answer = Result<VerifiedToken, AttestationFailure>;

#[derive(Default)]
struct World {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<Report>>,
    log: Mutex<Vec<LocalDecision>>,
}

struct Handle(Arc<World>);

impl Attester for Handle {
    fn attest(
        &self,
        report: Report,
        _: Option<u64>,
    ) -> Result<VerifiedToken, (AttestationFailure, Option<Report>)> {
        self.0.asked.lock().push(report.clone());
        let answer = self.0.answers.lock().pop_front().expect("an attestation that no test expected");
        answer.map_err(|failure| {
            let undelivered = (failure.kind == FailureKind::Unavailable).then_some(report);
            (failure, undelivered)
        })
    }
}

impl Recorder for Handle {
    fn denied(&self, decision: &LocalDecision, _: Option<&str>) {
        self.0.log.lock().push(decision.clone());
    }
}

struct Bench {
    world: Arc<World>,
    gate: Gate,
    session: Arc<Session>,
}

impl Bench {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        NOW_MS.set(Some(1_000_000));
        let world =
            Arc::new(World { answers: Mutex::new(answers.into_iter().collect()), ..World::default() });
        let handle = || Box::new(Handle(Arc::clone(&world)));
        let gate = Gate::new(clock, || Some(0xabcd_0000), handle(), handle());
        let sessions = Sessions::default();
        sessions.opened(1, 0);
        let session = sessions.get(1).expect("just opened");
        Self { world, gate, session }
    }

    fn sign(&self, mechanism: u64, label: &str) -> Result<Running, Denial> {
        self.gate.begin(&self.session, Function::C_SignInit, mechanism, key(label)).map(|begun| begun.running)
    }

    fn asked(&self) -> usize {
        self.world.asked.lock().len()
    }
}

fn key(label: &str) -> ObjectIdentity {
    ObjectIdentity {
        token: TokenIdentity {
            label: "sandbox".into(),
            serial: "1".into(),
            model: "m".into(),
            manufacturer: "v".into(),
        },
        class: ObjectClass::Private,
        id: vec![1],
        label: label.into(),
    }
}

fn token(operations: &[Operation]) -> VerifiedToken {
    let (issuer, _) = TokenIssuer::generate().unwrap();
    let now_ms = clock().unwrap();
    let trustshim = TrustshimClaims {
        hsm: "hsm".into(),
        host: "host".into(),
        mode: Mode::Inline,
        boot_id: "boot".into(),
        deadline_boottime_ms: now_ms + LIFETIME_MS,
        component: "demo".into(),
        version: "1".into(),
        measurement: Digest::of(b"measured"),
        grants: vec![Grant {
            id: "G-1".into(),
            key: "pkcs11:token=sandbox;object=granted;type=private".into(),
            operations: operations.to_vec(),
            mechanisms: None,
            rate: None,
            deadline_boottime_ms: None,
        }],
        epoch: 0,
    };
    let facts = TokenFacts {
        issuer: ISSUER.into(),
        jti: "T-1".into(),
        issued_at: 1_700_000_000,
        lifetime_s: 300,
        binding: Some(Binding { nonce: "nonce".into(), cnf: "cnf".into() }),
        statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
        trustshim,
    };
    let expected = Expected {
        hsm: "hsm",
        host: "host",
        mode: Mode::Inline,
        boot_id: "boot",
        measurement: Digest::of(b"measured"),
        presented: Presented::Answer { cnf: "cnf", nonce: "nonce" },
    };
    let anchors = Anchors::parse(&issuer.jwks()).unwrap();
    verify_token(&issuer.issue(&facts).unwrap(), &anchors, &expected, now_ms).unwrap()
}

fn refused(decision: u64) -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Refused,
        code: "library-unknown".into(),
        detail: "a library is unknown".into(),
        decision: Some(DecisionId::from_random(decision)),
    }
}

fn unavailable() -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "policy-server-unavailable".into(),
        detail: "no answer".into(),
        decision: None,
    }
}

#[test]
fn a_granted_use_is_permitted_and_another_key_is_not() {
    NOW_MS.set(Some(1_000_000));
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    let denial = bench.sign(ECDSA, "other").unwrap_err();
    assert_eq!(denial.refusal().code(), "not-granted");
    assert_eq!(bench.asked(), 1);
}

#[test]
fn a_grant_to_sign_is_none_to_decrypt() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let denial = bench.gate.begin(&bench.session, Function::C_DecryptInit, 1, key("granted")).unwrap_err();
    assert_eq!(denial.refusal().code(), "not-granted");
}

#[test]
fn raw_rsa_takes_sign_and_decrypt() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    assert_eq!(bench.sign(RSA_X_509, "granted").unwrap_err().refusal().code(), "not-granted");
    let bench = Bench::new([Ok(token(&[Operation::Sign, Operation::Decrypt]))]);
    bench.sign(RSA_X_509, "granted").unwrap();
}

#[test]
fn uses_without_a_rule_are_refused_without_asking_anybody() {
    let bench = Bench::new([]);
    for function in [Function::C_EncryptInit, Function::C_VerifyInit, Function::C_VerifyRecoverInit] {
        let denial = bench.gate.begin(&bench.session, function, 1, key("granted")).unwrap_err();
        assert_eq!(denial.refusal().code(), "no-rule", "{function}");
    }
}

#[test]
fn public_keys_verify_and_encrypt_openly_but_never_sign() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let public = ObjectIdentity { class: ObjectClass::Public, ..key("anything") };
    for function in [Function::C_EncryptInit, Function::C_VerifyInit, Function::C_VerifyRecoverInit] {
        bench.gate.begin(&bench.session, function, 1, public.clone()).unwrap();
    }
    assert!(bench.gate.begin(&bench.session, Function::C_SignInit, 1, public).is_err());
}

#[test]
fn a_continuation_after_the_deadline_is_refused() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let running = bench.sign(ECDSA, "granted").unwrap();
    let resume = || bench.gate.resume(&bench.session, Function::C_SignFinal, &running).unwrap();
    assert!(resume().is_ok());
    pass(LIFETIME_MS - 1);
    assert!(resume().is_ok());
    pass(1);
    assert_eq!(resume().unwrap_err().refusal(), &Refusal::TokenExpired);
}

#[test]
fn a_continuation_of_another_family_has_no_answer() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let running = bench.sign(ECDSA, "granted").unwrap();
    for function in
        [Function::C_Decrypt, Function::C_SignRecover, Function::C_SignInit, Function::C_SignEncryptUpdate]
    {
        assert!(bench.gate.resume(&bench.session, function, &running).is_none(), "{function}");
    }
}

#[test]
fn without_a_clock_nothing_passes() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let running = bench.sign(ECDSA, "granted").unwrap();
    NOW_MS.set(None);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal(), &Refusal::ClockUnreadable);
    let resumed = bench.gate.resume(&bench.session, Function::C_Sign, &running).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::ClockUnreadable);
}

#[test]
fn a_refusal_by_the_server_keeps_its_id_and_is_not_reported_back() {
    let bench = Bench::new([Err(refused(0x70)), Err(unavailable()), Ok(token(&[Operation::Sign]))]);
    let denial = bench.sign(ECDSA, "granted").unwrap_err();
    assert_eq!(denial.id(), DecisionId::from_random(0x70));
    assert_eq!(bench.session.last_denial(), denial.id().number());
    // The same answer stands for a second, and is nothing to report either.
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().id(), denial.id());
    assert_eq!(bench.asked(), 1);
    pass(1_000);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "policy-server-unavailable");
    pass(1_000);
    bench.sign(ECDSA, "granted").unwrap();
    let asked = bench.world.asked.lock();
    let reported: Vec<_> = asked.iter().map(|report| report.decisions.len()).collect();
    assert_eq!(reported, [0, 0, 1], "the refusal for want of a server is reported once there is one");
    assert_eq!(bench.world.log.lock().len(), 3, "one log line for each refusal");
}

#[test]
fn a_token_is_renewed_when_a_third_of_its_life_is_left() {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), Err(unavailable())]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS * 2 / 3 - 1);
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 1);
    pass(1);
    bench.sign(ECDSA, "granted").expect("an outage does not end a token that still counts");
    bench.sign(ECDSA, "granted").expect("nor is there another attempt at once");
    assert_eq!(bench.asked(), 2);
    pass(1_000);
    bench.world.answers.lock().push_back(Ok(token(&[Operation::Sign])));
    bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS / 3);
    bench.sign(ECDSA, "granted").expect("the renewed token counts beyond the first one's deadline");
    assert_eq!(bench.asked(), 3);
}

#[test]
fn a_renewal_that_is_refused_ends_the_token_in_hand() {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), Err(refused(0x10))]);
    let running = bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS * 2 / 3);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "library-unknown");
    let resumed = bench.gate.resume(&bench.session, Function::C_Sign, &running).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::TokenExpired);
}

#[test]
fn an_outage_beyond_the_deadline_denies() {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), Err(unavailable())]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "policy-server-unavailable");
}

#[test]
fn the_security_officer_does_not_log_in() {
    let bench = Bench::new([]);
    assert!(bench.gate.login(&bench.session, 1).is_ok());
    assert!(bench.gate.login(&bench.session, 2).is_ok());
    for user in [0, 3, u64::MAX] {
        assert_eq!(bench.gate.login(&bench.session, user).unwrap_err().refusal().code(), "no-rule");
    }
}

#[test]
fn every_function_that_is_not_open_can_be_refused_outright() {
    let bench = Bench::new([]);
    for function in Function::ALL {
        let denial = bench.gate.refuse_outright(Some(&bench.session), *function);
        assert!(["no-rule", "dual-function", "wrong-class"].contains(&denial.refusal().code()));
    }
    assert_eq!(bench.world.log.lock().len(), Function::ALL.len());
}
