//! What goes on record of a refusal, and how reasons read.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::decision::DecisionId;
use attestation::digest::Digest;
use attestation::grant::Operation;
use gate::{Refusal, Scope, Settings, Subject};
use pkcs11_table::Function;

use crate::world::{
    Bench, ECDSA, clock, key, refused, set_clock, token, token_identity, token_with, unavailable,
};

#[test]
fn a_refusal_says_what_was_asked_of_which_key_and_why() {
    let bench = Bench::new([Ok(token_with(vec![]))]);
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let denial = bench.sign(ECDSA, "other").unwrap_err();
    let log = bench.world.log.lock();
    let [(decision, component)] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!(component.as_deref(), Some("demo"));
    assert_eq!(decision.id, denial.id());
    assert_eq!(decision.id, DecisionId::from_random(0xabcd_0000));
    assert!(decision.at >= before && decision.at < before + 600);
    assert_eq!(decision.function, "C_SignInit");
    assert_eq!(decision.operation, "sign");
    assert_eq!(decision.key, Some(key("other").named().uri()));
    assert_eq!(decision.measurement, Some(Digest::of(b"measured")));
    assert_eq!(decision.reason.code, "not-granted");
    let uri = key("other").named().uri();
    assert_eq!(decision.reason.detail, format!("sign with {uri} is not granted to demo 1"));
    assert_eq!(bench.place().last_denial(), denial.id().number());
}

#[test]
fn keys_and_tokens_are_on_record_by_uris_that_name_them_alone() {
    let bench = Bench::new([]);
    let token = "pkcs11:token=sandbox;manufacturer=v;model=m;serial=1";
    let whole = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    for (subject, uri) in
        [(key("granted"), format!("{token};id=%01;object=granted;type=private")), (whole, token.to_owned())]
    {
        bench.gate.refuse(None, Function::C_SignInit, Some(&subject), Refusal::WrongClass);
        assert_eq!(bench.world.log.lock().last().unwrap().0.key, Some(uri));
    }
}

#[test]
fn of_several_keys_the_one_that_was_not_granted_is_on_record() {
    let bench = Bench::new([]);
    let refused = || "pkcs11:object=wrapped".to_owned();
    let (operation, mechanism) = (Operation::Extract, ECDSA);
    let not_granted = Refusal::NotGranted {
        operation,
        key: refused(),
        component: "demo".to_owned(),
        version: "1".to_owned(),
    };
    for refusal in [
        not_granted,
        Refusal::GrantExpired { operation, key: refused() },
        Refusal::MechanismNotGranted { mechanism, operation, key: refused() },
    ] {
        bench.gate.refuse(None, Function::C_WrapKey, Some(&key("wrapping")), refusal);
        assert_eq!(bench.world.log.lock().last().unwrap().0.key, Some(refused()));
    }
}

#[test]
fn without_a_token_nothing_is_said_of_the_process() {
    let bench = Bench::new([Err(unavailable())]);
    bench.sign(ECDSA, "granted").unwrap_err();
    {
        let log = bench.world.log.lock();
        let (decision, component) = log.last().unwrap();
        assert_eq!((component, decision.measurement), (&None, None));
    }
    set_clock(None);
    bench.sign(ECDSA, "granted").unwrap_err();
    let log = bench.world.log.lock();
    assert_eq!(log.last().unwrap().0.reason.code, "clock-unreadable");
}

#[test]
fn a_refusal_stands_without_randomness() {
    let settings = Settings { clock, random: || None, scope: Scope::Keys };
    let bench = Bench::with_settings(settings, [Ok(token_with(vec![]))]);
    let denial = bench.sign(ECDSA, "granted").unwrap_err();
    assert_eq!(denial.id(), DecisionId::from_random(0));
    assert_eq!(bench.world.log.lock().len(), 1);
}

#[test]
fn every_function_is_on_record_with_its_operation() {
    let bench = Bench::new([]);
    let recorded = |function| {
        bench.gate.refuse(None, function, None, Refusal::WrongClass);
        let (decision, _) = bench.world.log.lock().last().cloned().unwrap();
        assert_eq!((decision.function.as_str(), decision.key), (function.name(), None));
        decision.operation
    };
    for (function, operation) in [
        (Function::C_Decrypt, "decrypt"),
        (Function::C_DecryptVerifyUpdate, "decrypt"),
        (Function::C_DeriveKey, "derive"),
        (Function::C_DestroyObject, "destroy"),
        (Function::C_EncryptInit, "encrypt"),
        (Function::C_GenerateKeyPair, "generate"),
        (Function::C_CreateObject, "import"),
        (Function::C_CopyObject, "modify"),
        (Function::C_GetAttributeValue, "reveal"),
        (Function::C_SignEncryptUpdate, "sign"),
        (Function::C_SignInit, "sign"),
        (Function::C_UnwrapKey, "unwrap"),
        (Function::C_VerifyRecover, "verify"),
        (Function::C_WrapKey, "wrap"),
        (Function::C_Login, "administer"),
        (Function::C_InitToken, "administer"),
        (Function::C_GetInfo, "unknown"),
        (Function::C_DigestInit, "unknown"),
        (Function::C_Initialize, "unknown"),
    ] {
        assert_eq!(recorded(function), operation, "{function}");
    }
}

#[test]
fn refusals_by_the_server_are_recorded_and_not_reported_however_they_came() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    for refusal in [Refusal::Attestation(refused(0x50)), Refusal::HandedIn(refused(0x50))] {
        let denial = bench.gate.refuse(None, Function::C_SignInit, None, refusal);
        assert_eq!(denial.id(), DecisionId::from_random(0x50));
    }
    assert_eq!(bench.world.log.lock().len(), 2);
    bench.sign(ECDSA, "granted").unwrap();
    assert!(bench.world.asked.lock()[0].report.is_empty());
}

#[test]
fn every_reason_has_a_code_and_says_what_it_is_about() {
    let (operation, key) = (Operation::Sign, "pkcs11:object=k".to_owned());
    let cases = [
        (Refusal::Attestation(unavailable()), "policy-server-unavailable", "no trust token: no answer"),
        (Refusal::ClockBackwards, "clock-backwards", "CLOCK_BOOTTIME went backwards"),
        (Refusal::ClockUnreadable, "clock-unreadable", "CLOCK_BOOTTIME cannot be read"),
        (
            Refusal::GrantExpired { operation, key: key.clone() },
            "grant-expired",
            "the grant to sign with pkcs11:object=k has expired",
        ),
        (
            Refusal::HandedIn(refused(1)),
            "library-unknown",
            "the trust token that was handed in does not count: a library is unknown",
        ),
        (
            Refusal::MechanismNotGranted { mechanism: ECDSA, operation, key },
            "mechanism-not-granted",
            "CKM_ECDSA is not among the mechanisms granted to sign with pkcs11:object=k",
        ),
        (
            Refusal::MechanismUnclear(0x8000_0001),
            "mechanism-unclear",
            "the parameter of the mechanism 0x80000001 can hold keys that the gate cannot see",
        ),
        (Refusal::NoRandomness, "no-randomness", "the kernel gave no random numbers"),
        (Refusal::RateExceeded("G-9".into()), "rate-exceeded", "the rate of the grant G-9 is used up"),
        (Refusal::TokenExpired, "token-expired", "the trust token has expired"),
    ];
    for (refusal, code, detail) in cases {
        let reason = refusal.reason();
        assert_eq!((reason.code.as_str(), reason.detail.as_str()), (code, detail));
        assert_eq!(refusal.code(), code);
    }
    for (refusal, code) in [
        (Refusal::ClassChanged, "class-changed"),
        (Refusal::TemplateUnclear, "template-unclear"),
        (Refusal::Unaccounted, "object-unaccounted"),
        (Refusal::WrongClass, "wrong-class"),
    ] {
        assert_eq!(refusal.code(), code);
    }
}

#[test]
fn an_object_that_stays_is_told_of() {
    let bench = Bench::new([]);
    bench.gate.object_left(Function::C_UnwrapKey);
    assert_eq!(*bench.world.left.lock(), ["C_UnwrapKey"]);
    assert!(bench.world.log.lock().is_empty());
}
