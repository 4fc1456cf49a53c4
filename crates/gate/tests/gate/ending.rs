//! The token in hand is ended from outside: what rested on it is judged anew.

use std::sync::Arc;

use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::ObjectClass;
use gate::{Refusal, Subject};
use pkcs11_table::{Function, Use};

use crate::world::{Bench, ECDSA, grant, named, refused, token, token_with, unavailable};

fn signing(next: crate::world::Answer) -> Bench {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), next]);
    bench.sign(ECDSA, "granted").unwrap();
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    bench
}

#[test]
fn a_token_that_was_ended_carries_no_operation_any_further() {
    let bench = signing(Ok(token(&[Operation::Sign])));
    bench.gate.end_token();
    assert!(bench.begin_again(Function::C_SignInit, ECDSA).is_none(), "an init like the one before");
    let resumed = bench.resume(Function::C_SignUpdate).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::TokenExpired);
    assert_eq!(bench.asked(), 1, "a continuation does not attest");
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 2, "an init does");
}

#[test]
fn what_runs_goes_on_under_the_next_token_if_that_grants_it() {
    let bench = signing(Ok(token(&[Operation::Sign])));
    bench.gate.end_token();
    bench.gate.prepare();
    assert_eq!(bench.asked(), 2);
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    let bench = signing(Ok(token(&[Operation::Decrypt])));
    bench.gate.end_token();
    bench.gate.prepare();
    let resumed = bench.resume(Function::C_SignUpdate).unwrap();
    assert_eq!(resumed.unwrap_err().refusal().code(), "not-granted");
}

#[test]
fn where_no_other_token_comes_nothing_goes_on() {
    for (failure, code) in [(unavailable(), "policy-server-unavailable"), (refused(0x10), "library-unknown")]
    {
        let bench = signing(Err(failure));
        bench.gate.end_token();
        bench.gate.prepare();
        assert!(bench.resume(Function::C_SignUpdate).unwrap().is_err());
        assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), code);
    }
}

#[test]
fn to_end_a_token_where_there_is_none_changes_nothing() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.gate.end_token();
    bench.sign(ECDSA, "granted").unwrap();
    let public = Arc::new(Subject::of(named(ObjectClass::Public, "anything")));
    bench.begin(Function::C_VerifyInit, ECDSA, &public).unwrap();
    bench.gate.end_token();
    assert!(bench.resume(Function::C_Verify).unwrap().is_ok(), "it rests on no token");
    assert_eq!(bench.asked(), 1);
}

#[test]
fn what_a_rate_has_counted_stays_counted() {
    let once = || {
        let rate = Some(Rate { per_second: None, total: Some(1) });
        Ok(token_with(vec![Grant { rate, ..grant(&[Operation::Sign]) }]))
    };
    let bench = Bench::new([once(), once()]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.complete(Use::Sign);
    bench.gate.end_token();
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "rate-exceeded");
    assert_eq!(bench.asked(), 2);
}
