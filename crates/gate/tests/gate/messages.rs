//! Operations that take message after message: every message is judged, and counts by itself.

use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::ObjectClass;
use gate::Subject;
use pkcs11_table::{Form, Function, Use};
use std::sync::Arc;

use crate::world::{Bench, ECDSA, LIFETIME_MS, grant, key, named, pass, token, token_with};

const AES_GCM: u64 = 0x1087;

fn of_operations(operations: &[Operation], total: u64) -> Bench {
    let rate = Some(Rate { per_second: None, total: Some(total) });
    let key = "pkcs11:token=sandbox;object=granted".to_owned();
    Bench::new([Ok(token_with(vec![Grant { rate, key, ..grant(operations) }]))])
}

fn begin(bench: &Bench) -> Result<(), gate::Denial> {
    bench.begin(Function::C_MessageSignInit, ECDSA, &key("granted"))
}

/// What the layer does once the real module has answered that a message is complete.
fn completed(bench: &Bench, used: Use) {
    bench.session().running_mut(used, Form::Messages).unwrap().message_completed();
}

fn sign(bench: &Bench) -> Result<(), String> {
    match bench.resume(Function::C_SignMessage).unwrap() {
        Ok(_) => {
            completed(bench, Use::Sign);
            Ok(())
        }
        Err(denial) => Err(denial.refusal().code().to_owned()),
    }
}

#[test]
fn messages_are_gone_on_with_by_their_own_functions_only() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    begin(&bench).unwrap();
    for function in [Function::C_Sign, Function::C_SignUpdate, Function::C_SignFinal, Function::C_SignRecover]
    {
        assert!(bench.resume(function).is_none(), "{function}");
    }
    for function in [
        Function::C_SignMessage,
        Function::C_SignMessageBegin,
        Function::C_SignMessageNext,
        Function::C_MessageSignFinal,
    ] {
        assert!(bench.resume(function).unwrap().is_ok(), "{function}");
    }
    bench.sign(ECDSA, "granted").unwrap();
    assert!(bench.resume(Function::C_SignMessage).is_none(), "another operation has taken its place");
}

#[test]
fn a_signature_that_is_given_first_is_verified_by_its_own_functions_only() {
    let bench = Bench::new([Ok(token(&[Operation::Verify]))]);
    bench.begin(Function::C_VerifySignatureInit, ECDSA, &key("granted")).unwrap();
    for function in [Function::C_Verify, Function::C_VerifyMessage, Function::C_VerifyRecover] {
        assert!(bench.resume(function).is_none(), "{function}");
    }
    assert!(bench.resume(Function::C_VerifySignatureUpdate).unwrap().is_ok());
    assert!(bench.resume(Function::C_VerifySignatureFinal).unwrap().is_ok());
}

#[test]
fn messages_take_the_grant_of_their_use() {
    let bench = Bench::new([Ok(token(&[Operation::Verify]))]);
    let denial = begin(&bench).unwrap_err();
    assert_eq!(denial.refusal().code(), "not-granted");
    // A private key enciphers what only its owner can: that is a signature.
    let denial = bench.begin(Function::C_MessageEncryptInit, ECDSA, &key("granted")).unwrap_err();
    assert!(denial.refusal().to_string().starts_with("sign "), "{}", denial.refusal());
    let public = Arc::new(Subject::of(named(ObjectClass::Public, "anybody")));
    bench.begin(Function::C_MessageVerifyInit, ECDSA, &public).unwrap();
}

#[test]
fn every_message_is_judged() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    begin(&bench).unwrap();
    sign(&bench).unwrap();
    pass(LIFETIME_MS);
    assert_eq!(sign(&bench).unwrap_err(), "token-expired");
}

#[test]
fn every_message_counts() {
    let bench = of_operations(&[Operation::Sign], 3);
    begin(&bench).unwrap();
    for _ in 0..3 {
        sign(&bench).unwrap();
    }
    assert_eq!(sign(&bench).unwrap_err(), "rate-exceeded");
    drop(bench.session().ended(Use::Sign, Form::Messages));
    assert_eq!(begin(&bench).unwrap_err().refusal().code(), "rate-exceeded");
}

#[test]
fn what_was_reserved_for_a_message_that_never_came_is_given_back() {
    let bench = of_operations(&[Operation::Sign], 2);
    for _ in 0..4 {
        begin(&bench).unwrap();
        drop(bench.session().ended(Use::Sign, Form::Messages).unwrap());
    }
    begin(&bench).unwrap();
    // Asking for the size, and a message that fails, complete nothing.
    for _ in 0..4 {
        assert!(bench.resume(Function::C_SignMessage).unwrap().is_ok());
    }
    sign(&bench).unwrap();
    sign(&bench).unwrap();
    assert_eq!(sign(&bench).unwrap_err(), "rate-exceeded");
}

#[test]
fn a_message_of_which_a_part_is_out_counts_though_another_is_begun_instead() {
    let bench = of_operations(&[Operation::Decrypt], 2);
    bench.begin(Function::C_MessageDecryptInit, AES_GCM, &key("granted")).unwrap();
    for _ in 0..2 {
        assert!(bench.resume(Function::C_DecryptMessageBegin).unwrap().is_ok());
        assert!(bench.resume(Function::C_DecryptMessageNext).unwrap().is_ok());
        assert!(bench.resume(Function::C_DecryptMessageNext).unwrap().is_ok());
    }
    let denial = bench.resume(Function::C_DecryptMessageBegin).unwrap().unwrap_err();
    assert_eq!(denial.refusal().code(), "rate-exceeded");
    drop(bench.session().ended(Use::Decrypt, Form::Messages));
    let again = bench.begin(Function::C_MessageDecryptInit, AES_GCM, &key("granted"));
    assert_eq!(again.unwrap_err().refusal().code(), "rate-exceeded");
}

#[test]
fn parts_of_a_message_that_completes_count_once() {
    let bench = of_operations(&[Operation::Encrypt, Operation::Sign], 2);
    bench.begin(Function::C_MessageEncryptInit, AES_GCM, &key("granted")).unwrap();
    for _ in 0..2 {
        assert!(bench.resume(Function::C_EncryptMessageBegin).unwrap().is_ok());
        assert!(bench.resume(Function::C_EncryptMessageNext).unwrap().is_ok());
        assert!(bench.resume(Function::C_EncryptMessageNext).unwrap().is_ok());
        completed(&bench, Use::Encrypt);
    }
    assert!(bench.resume(Function::C_EncryptMessageBegin).unwrap().is_err());
}
