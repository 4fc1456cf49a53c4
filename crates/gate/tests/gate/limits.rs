//! Rates: reserved when something begins, used up when it completes, given back when it fails.

use std::sync::Arc;

use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::ObjectClass;
use gate::{Subject, rules};
use pkcs11_table::{Form, Function, Use};

use crate::world::{Answer, Bench, ECDSA, LIFETIME_MS, clock, grant, key, named, pass, token_with};

const AES_CTR: u64 = 0x1086;

fn rated(per_second: Option<u32>, total: Option<u64>) -> Grant {
    Grant { rate: Some(Rate { per_second, total }), ..grant(&[Operation::Sign, Operation::Destroy]) }
}

fn bench(grants: Vec<Grant>) -> Bench {
    Bench::new([Ok(token_with(grants))])
}

fn hand_in(bench: &Bench, token: Answer) {
    bench.world.examined.lock().push_back(token);
    bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap();
}

fn is_refused(begun: Result<(), gate::Denial>, grant: &str) {
    let denial = begun.unwrap_err();
    assert_eq!(denial.refusal(), &gate::Refusal::RateExceeded(grant.into()));
    assert_eq!(denial.refusal().code(), "rate-exceeded");
}

#[test]
fn a_total_is_used_up_by_what_completes() {
    let bench = bench(vec![rated(None, Some(2))]);
    for _ in 0..2 {
        bench.sign(ECDSA, "granted").unwrap();
        assert!(bench.resume(Function::C_Sign).unwrap().is_ok());
        bench.complete(Use::Sign);
    }
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
    pass(LIFETIME_MS / 2);
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
}

#[test]
fn what_runs_counts_until_it_fails() {
    let bench = bench(vec![rated(None, Some(1))]);
    for _ in 0..3 {
        bench.sign(ECDSA, "granted").unwrap();
        is_refused(bench.sign(ECDSA, "granted"), "G-1");
        bench.fail(Use::Sign);
    }
    bench.sign(ECDSA, "granted").unwrap();
    bench.session().all_displaced();
    bench.sign(ECDSA, "granted").unwrap();
    bench.complete(Use::Sign);
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
}

#[test]
fn an_operation_is_limited_where_it_has_a_place_in_a_rate() {
    let is_limited = |grants| {
        let bench = bench(grants);
        bench.sign(ECDSA, "granted").unwrap();
        bench.session().running(Use::Sign, Form::Plain).unwrap().is_limited()
    };
    assert!(is_limited(vec![rated(None, Some(1))]));
    assert!(!is_limited(vec![grant(&[Operation::Sign])]));
}

#[test]
fn an_init_that_the_real_module_refuses_is_given_back() {
    let bench = bench(vec![rated(None, Some(1))]);
    for _ in 0..3 {
        let mut session = bench.session();
        let look = bench.gate.look(&mut session).unwrap();
        let mechanism = gate::Mechanism { kind: ECDSA, names: &[] };
        let of = (look, &key("granted"));
        drop(
            bench.gate.begin((bench.place(), &mut session), Function::C_SignInit, mechanism, 7, of).unwrap(),
        );
    }
}

#[test]
fn a_session_that_is_closed_gives_back_what_ran() {
    let bench = bench(vec![rated(None, Some(1))]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.close();
    assert!(bench.sessions.opened(crate::world::SESSION, crate::world::SLOT));
    bench.sign(ECDSA, "granted").unwrap();
}

#[test]
fn an_init_under_a_rate_is_asked_each_time() {
    let bench = bench(vec![rated(None, Some(5))]);
    bench.sign(ECDSA, "granted").unwrap();
    assert!(bench.begin_again(Function::C_SignInit, ECDSA).is_none());
}

#[test]
fn no_second_has_more_than_its_rate() {
    let bench = bench(vec![rated(Some(2), None)]);
    let sign = || {
        let begun = bench.sign(ECDSA, "granted");
        if begun.is_ok() {
            bench.complete(Use::Sign);
        }
        begun
    };
    sign().unwrap();
    pass(500);
    sign().unwrap();
    is_refused(sign(), "G-1");
    pass(499);
    is_refused(sign(), "G-1");
    pass(1);
    sign().unwrap();
    is_refused(sign(), "G-1");
    pass(500);
    sign().unwrap();
}

#[test]
fn calls_of_their_own_count_too() {
    let bench = bench(vec![rated(None, Some(2))]);
    let destroy = rules::destroy(Function::C_DestroyObject, gate::ObjectKind::PrivateKey, &key("granted"));
    for _ in 0..3 {
        // Dropped: the real module has refused.
        drop(bench.gate.permit(Some(bench.place()), &destroy).unwrap());
    }
    bench.once(&destroy).unwrap();
    bench.sign(ECDSA, "granted").unwrap();
    let denial = bench.once(&destroy).unwrap_err();
    assert_eq!(denial.refusal().code(), "rate-exceeded");
    bench.fail(Use::Sign);
    bench.once(&destroy).unwrap();
}

#[test]
fn a_new_token_does_not_start_anew() {
    let bench = bench(vec![rated(None, Some(2))]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.complete(Use::Sign);
    hand_in(&bench, Ok(token_with(vec![rated(None, Some(2))])));
    bench.sign(ECDSA, "granted").unwrap();
    bench.complete(Use::Sign);
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
    // Another grant on the same key is counted apart, and one with more room has more.
    hand_in(&bench, Ok(token_with(vec![Grant { id: "G-2".into(), ..rated(None, Some(1)) }])));
    bench.sign(ECDSA, "granted").unwrap();
    bench.complete(Use::Sign);
    is_refused(bench.sign(ECDSA, "granted"), "G-2");
    hand_in(&bench, Ok(token_with(vec![rated(None, Some(3))])));
    bench.sign(ECDSA, "granted").unwrap();
}

#[test]
fn what_runs_over_a_renewal_counts_once() {
    let bench = bench(vec![rated(None, Some(1))]);
    bench.sign(ECDSA, "granted").unwrap();
    hand_in(&bench, Ok(token_with(vec![rated(None, Some(1))])));
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok(), "it has its place already");
    assert!(bench.resume(Function::C_SignFinal).unwrap().is_ok());
    bench.complete(Use::Sign);
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
}

#[test]
fn a_grant_without_a_rate_makes_the_others_idle() {
    let free = Grant { id: "G-2".into(), ..grant(&[Operation::Sign]) };
    for grants in [vec![rated(None, Some(0)), free.clone()], vec![free, rated(None, Some(0))]] {
        let bench = bench(grants);
        bench.sign(ECDSA, "granted").unwrap();
        assert!(bench.begin_again(Function::C_SignInit, ECDSA).is_some());
    }
}

#[test]
fn of_several_grants_with_rates_each_gives_its_room() {
    let second = Grant { id: "G-2".into(), ..rated(None, Some(1)) };
    let bench = bench(vec![rated(None, Some(1)), second]);
    for _ in 0..2 {
        bench.sign(ECDSA, "granted").unwrap();
        bench.complete(Use::Sign);
    }
    is_refused(bench.sign(ECDSA, "granted"), "G-2");
}

#[test]
fn a_call_with_several_demands_takes_from_each_grant_once() {
    let wrap = Grant { id: "G-wrap".into(), ..rated(None, Some(2)) };
    let wrap = Grant { operations: vec![Operation::Wrap], ..wrap };
    let extract = Grant { id: "G-extract".into(), key: "pkcs11:object=wrapped".into(), ..wrap.clone() };
    let extract = Grant { operations: vec![Operation::Extract], ..extract };
    let extract = Grant { rate: Some(Rate { per_second: None, total: Some(1) }), ..extract };
    let bench = bench(vec![wrap, extract]);
    let mechanism = gate::Mechanism { kind: ECDSA, names: &[] };
    let demands = |wrapped| rules::wrap(Function::C_WrapKey, mechanism, &key("granted"), &key(wrapped));
    bench.once(&demands("wrapped")).unwrap();
    // The second demand has no room any more; what the first one took is given back each time.
    for _ in 0..3 {
        let denial = bench.once(&demands("wrapped")).unwrap_err();
        assert_eq!(denial.refusal(), &gate::Refusal::RateExceeded("G-extract".into()));
    }
    let larger = |id: &str, key: &str, operation, total| Grant {
        id: id.into(),
        key: key.into(),
        operations: vec![operation],
        ..rated(None, Some(total))
    };
    let grants = vec![
        larger("G-wrap", "pkcs11:object=granted", Operation::Wrap, 2),
        larger("G-extract", "pkcs11:object=wrapped", Operation::Extract, 9),
    ];
    hand_in(&bench, Ok(token_with(grants)));
    bench.once(&demands("wrapped")).unwrap();
    let denial = bench.once(&demands("wrapped")).unwrap_err();
    assert_eq!(denial.refusal(), &gate::Refusal::RateExceeded("G-wrap".into()));
}

#[test]
fn demands_under_one_and_the_same_grant_count_as_one_operation() {
    let bench =
        bench(vec![Grant { operations: vec![Operation::Sign, Operation::Decrypt], ..rated(None, Some(2)) }]);
    for _ in 0..2 {
        bench.sign(crate::world::RSA_X_509, "granted").unwrap();
        bench.complete(Use::Sign);
    }
    is_refused(bench.sign(crate::world::RSA_X_509, "granted"), "G-1");
}

#[test]
fn a_stream_that_is_never_finished_is_used_all_the_same() {
    // Each part of the plain text is out before the operation could be said to have failed.
    let bench = bench(vec![Grant {
        key: "pkcs11:object=aes".into(),
        operations: vec![Operation::Decrypt, Operation::Encrypt],
        ..rated(None, Some(5))
    }]);
    let aes = Arc::new(Subject::of(named(ObjectClass::Secret, "aes")));
    for (init, update) in [
        (Function::C_DecryptInit, Function::C_DecryptUpdate),
        (Function::C_DecryptInit, Function::C_DecryptDigestUpdate),
        (Function::C_EncryptInit, Function::C_EncryptUpdate),
        (Function::C_EncryptInit, Function::C_DigestEncryptUpdate),
    ] {
        bench.begin(init, AES_CTR, &aes).unwrap();
        assert!(bench.resume(update).unwrap().is_ok());
        bench.session().all_displaced();
    }
    // What gives nothing before it ends may still fail.
    bench.begin(Function::C_DecryptInit, AES_CTR, &aes).unwrap();
    assert!(bench.resume(Function::C_Decrypt).unwrap().is_ok());
    bench.fail(Use::Decrypt);
    bench.begin(Function::C_DecryptInit, AES_CTR, &aes).unwrap();
    assert!(bench.resume(Function::C_DecryptUpdate).unwrap().is_ok());
    assert!(bench.resume(Function::C_DecryptUpdate).unwrap().is_ok(), "it is counted once, and goes on");
    assert!(bench.resume(Function::C_DecryptFinal).unwrap().is_ok());
    bench.complete(Use::Decrypt);
    is_refused(bench.begin(Function::C_DecryptInit, AES_CTR, &aes), "G-1");
}

#[test]
fn of_two_operations_at_once_the_cipher_is_used_and_the_signature_is_not() {
    let sign = rated(None, Some(1));
    let aes_grant = Grant {
        id: "G-aes".into(),
        key: "pkcs11:object=aes".into(),
        operations: vec![Operation::Encrypt],
        ..rated(None, Some(1))
    };
    let bench = bench(vec![sign, aes_grant]);
    let aes = Arc::new(Subject::of(named(ObjectClass::Secret, "aes")));
    bench.begin(Function::C_EncryptInit, AES_CTR, &aes).unwrap();
    bench.sign(ECDSA, "granted").unwrap();
    assert!(bench.resume(Function::C_SignEncryptUpdate).unwrap().is_ok());
    bench.session().all_displaced();
    bench.sign(ECDSA, "granted").unwrap();
    is_refused(bench.begin(Function::C_EncryptInit, AES_CTR, &aes), "G-aes");
}

#[test]
fn what_goes_on_under_a_grant_with_a_rate_takes_its_place_there() {
    let ends = Some(clock().unwrap() + 500);
    let free = Grant { id: "G-2".into(), deadline_boottime_ms: ends, ..grant(&[Operation::Sign]) };
    let bench = bench(vec![rated(None, Some(1)), free]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(500);
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    assert!(bench.resume(Function::C_SignFinal).unwrap().is_ok());
    bench.complete(Use::Sign);
    is_refused(bench.sign(ECDSA, "granted"), "G-1");
}

#[test]
fn what_goes_on_under_a_grant_whose_rate_is_used_up_is_refused() {
    let bench = bench(vec![grant(&[Operation::Sign])]);
    bench.sign(ECDSA, "granted").unwrap();
    hand_in(&bench, Ok(token_with(vec![rated(None, Some(0))])));
    let denial = bench.resume(Function::C_SignFinal).unwrap().unwrap_err();
    assert_eq!(denial.refusal(), &gate::Refusal::RateExceeded("G-1".into()));
}

#[test]
fn a_place_under_one_grant_is_none_under_another() {
    let other = |total| Ok(token_with(vec![Grant { id: "G-2".into(), ..rated(None, Some(total)) }]));
    let bench = bench(vec![rated(None, Some(1))]);
    bench.sign(ECDSA, "granted").unwrap();
    hand_in(&bench, other(1));
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    is_refused(bench.sign(ECDSA, "granted"), "G-2");
    hand_in(&bench, other(0));
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok(), "it has its place there, too");
    bench.fail(Use::Sign);
    hand_in(&bench, Ok(token_with(vec![rated(None, Some(1))])));
    bench.sign(ECDSA, "granted").unwrap();
    hand_in(&bench, other(0));
    let denial = bench.resume(Function::C_SignFinal).unwrap().unwrap_err();
    assert_eq!(denial.refusal(), &gate::Refusal::RateExceeded("G-2".into()));
}
