//! Trust tokens that somebody hands in.

use attestation::grant::Operation;
use gate::{AttestationFailure, FailureKind, Refusal};
use pkcs11_table::Function;

use crate::world::{
    Answer, Bench, ECDSA, LIFETIME_MS, grant, pass, refused, set_clock, token, token_for, unavailable,
};

fn hand_in(bench: &Bench, answer: Answer) -> Result<(), gate::Denial> {
    bench.world.examined.lock().push_back(answer);
    bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt")
}

fn other_measurement() -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Refused,
        code: "other-measurement".into(),
        detail: "it is for another process".into(),
        decision: None,
    }
}

#[test]
fn a_token_that_is_handed_in_serves_without_any_attestation() {
    let bench = Bench::new([]);
    hand_in(&bench, Ok(token(&[Operation::Sign]))).unwrap();
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 0);
    assert!(bench.world.log.lock().is_empty());
}

#[test]
fn what_was_handed_in_is_renewed_like_any_other() {
    let bench = Bench::new([Ok(token(&[Operation::Decrypt]))]);
    hand_in(&bench, Ok(token(&[Operation::Sign]))).unwrap();
    pass(LIFETIME_MS * 2 / 3 - 1);
    bench.sign(ECDSA, "granted").unwrap();
    pass(1);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "not-granted");
    assert_eq!(bench.asked(), 1);
    bench.begin(Function::C_DecryptInit, 1, &crate::world::key("granted")).unwrap();
}

#[test]
fn a_renewal_takes_from_a_file_only_what_counts_longer() {
    let bench = Bench::new([Err(unavailable()), Ok(token(&[Operation::Sign]))]);
    let now = crate::world::clock().unwrap();
    bench.sign(ECDSA, "granted").unwrap_err();
    hand_in(&bench, Ok(token(&[Operation::Sign]))).unwrap();
    pass(LIFETIME_MS * 2 / 3);
    bench.sign(ECDSA, "granted").unwrap();
    let asked = bench.world.asked.lock();
    let bounds: Vec<_> = asked.iter().map(|request| (request.within_ms, request.beyond_ms)).collect();
    assert_eq!(bounds, [(None, now), (Some(gate::RENEWAL_BUDGET_MS), now + LIFETIME_MS)]);
}

#[test]
fn a_token_that_does_not_count_is_refused_on_record_and_changes_nothing() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    let denial = hand_in(&bench, Err(other_measurement())).unwrap_err();
    assert_eq!(denial.refusal(), &Refusal::HandedIn(other_measurement()));
    assert_eq!(denial.refusal().code(), "other-measurement");
    assert_eq!(bench.place().last_denial(), denial.id().number());
    let log = bench.world.log.lock();
    let [(decision, component)] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((decision.function.as_str(), decision.key.as_ref()), ("C_CreateObject", None));
    assert_eq!(component.as_deref(), Some("demo"));
    drop(log);
    assert!(bench.resume(Function::C_Sign).unwrap().is_ok());
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 1);
}

#[test]
fn without_a_clock_nothing_is_taken_in() {
    let bench = Bench::new([]);
    set_clock(None);
    let denial = bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap_err();
    assert_eq!(denial.refusal(), &Refusal::ClockUnreadable);
}

#[test]
fn a_token_that_is_handed_in_ends_a_failure() {
    for failure in [unavailable(), refused(0x10)] {
        let bench = Bench::new([Err(failure)]);
        bench.sign(ECDSA, "granted").unwrap_err();
        hand_in(&bench, Ok(token(&[Operation::Sign]))).unwrap();
        bench.sign(ECDSA, "granted").unwrap();
        assert_eq!(bench.asked(), 1);
    }
}

#[test]
fn a_token_that_is_handed_in_ends_the_waiting_between_attempts() {
    let failures = (0..5).map(|_| Err(unavailable()));
    let bench = Bench::new(failures);
    for _ in 0..3 {
        bench.sign(ECDSA, "granted").unwrap_err();
        pass(1_000);
    }
    hand_in(&bench, Ok(token_for(900, vec![grant(&[Operation::Sign])]))).unwrap();
    pass(600);
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 4, "a renewal is tried when it is due");
    pass(299);
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 4, "and not again within a second");
}

#[test]
fn the_latest_token_counts_even_where_it_ends_earlier() {
    let bench = Bench::new([Err(unavailable())]);
    hand_in(&bench, Ok(token(&[Operation::Sign]))).unwrap();
    hand_in(&bench, Ok(token_for(500, vec![grant(&[Operation::Sign])]))).unwrap();
    bench.sign(ECDSA, "granted").unwrap();
    pass(500);
    assert!(bench.resume(Function::C_Sign).unwrap().is_err());
    assert!(bench.sign(ECDSA, "granted").is_err());
}
