//! The token in hand, deadlines, renewal, outages, and what goes on record.

use std::sync::Arc;

use attestation::decision::DecisionId;
use attestation::grant::{Grant, Operation};
use attestation::key_uri::ObjectClass;
use gate::{Refusal, Subject};
use pkcs11_table::Function;

use crate::world::{
    Bench, ECDSA, LIFETIME_MS, RSA_X_509, clock, grant, key, named, pass, refused, set_clock, token,
    token_identity, token_with, unavailable,
};

#[test]
fn a_granted_use_is_permitted_and_another_key_is_not() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    let denial = bench.sign(ECDSA, "other").unwrap_err();
    assert_eq!(denial.refusal().code(), "not-granted");
    assert_eq!(bench.asked(), 1);
}

#[test]
fn a_grant_to_sign_is_none_to_decrypt() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let denial = bench.begin(Function::C_DecryptInit, 1, &key("granted")).unwrap_err();
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
fn a_continuation_after_the_deadline_is_refused() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    let resume = || bench.resume(Function::C_SignFinal).unwrap();
    assert!(resume().is_ok());
    pass(LIFETIME_MS - 1);
    assert!(resume().is_ok());
    pass(1);
    assert_eq!(resume().unwrap_err().refusal(), &Refusal::TokenExpired);
}

#[test]
fn without_a_clock_nothing_passes() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    set_clock(None);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal(), &Refusal::ClockUnreadable);
    let resumed = bench.resume(Function::C_Sign).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::ClockUnreadable);
}

#[test]
fn a_refusal_by_the_server_keeps_its_id_and_is_not_reported_back() {
    let bench = Bench::new([Err(refused(0x70)), Err(unavailable()), Ok(token(&[Operation::Sign]))]);
    let denial = bench.sign(ECDSA, "granted").unwrap_err();
    assert_eq!(denial.id(), DecisionId::from_random(0x70));
    assert_eq!(bench.place().last_denial(), denial.id().number());
    // The same answer stands for a second, and is nothing to report either.
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().id(), denial.id());
    assert_eq!(bench.asked(), 1);
    pass(1_000);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "policy-server-unavailable");
    pass(1_000);
    bench.sign(ECDSA, "granted").unwrap();
    let asked = bench.world.asked.lock();
    let reported: Vec<_> = asked.iter().map(|request| request.report.decisions.len()).collect();
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
    bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS * 2 / 3);
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "library-unknown");
    let resumed = bench.resume(Function::C_Sign).unwrap();
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
fn a_continuation_of_another_family_has_no_answer() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    for function in
        [Function::C_Decrypt, Function::C_SignRecover, Function::C_SignInit, Function::C_SignEncryptUpdate]
    {
        assert!(bench.resume(function).is_none(), "{function}");
    }
}

#[test]
fn public_keys_verify_and_encrypt_openly_but_never_sign() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let public = Arc::new(Subject::of(named(ObjectClass::Public, "anything")));
    for function in [Function::C_EncryptInit, Function::C_VerifyInit, Function::C_VerifyRecoverInit] {
        bench.begin(function, 1, &public).unwrap();
    }
    assert_eq!(bench.asked(), 0);
    assert!(bench.begin(Function::C_SignInit, 1, &public).is_err());
}

#[test]
fn a_clock_that_goes_backwards_denies() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    set_clock(clock().map(|now| now - 1));
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal(), &Refusal::ClockBackwards);
    let resumed = bench.resume(Function::C_Sign).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::ClockBackwards);
}

#[test]
fn the_security_officer_needs_a_grant_on_the_token_and_a_user_none() {
    let whole = |operations: &[Operation]| Grant { key: "pkcs11:token=sandbox".into(), ..grant(operations) };
    let token_subject = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let bench = Bench::new([Ok(token_with(vec![whole(&[Operation::Sign])]))]);
    let login =
        |bench: &Bench, user| bench.gate.login(bench.place(), Function::C_Login, user, &token_subject);
    for user in [1, 2] {
        assert!(login(&bench, user).is_ok());
    }
    assert_eq!(bench.asked(), 0);
    for user in [0, 3, u64::MAX] {
        assert_eq!(login(&bench, user).unwrap_err().refusal().code(), "not-granted");
    }
    let bench = Bench::new([Ok(token_with(vec![whole(&[Operation::Administer])]))]);
    assert!(login(&bench, 0).is_ok());
}
