//! What each use of a key demands, by its class, its mechanism and what comes of it.

use attestation::key_uri::{ObjectIdentity, TokenIdentity};

use super::*;
use crate::subject::Named;

const ECDSA: u64 = 0x1041;
const RAW_RSA: u64 = 0x3;
const CONCATENATE: u64 = 0x360;
const ML_KEM: u64 = 0x17;
const PBKD2: u64 = 0x3b0;

fn named(class: ObjectClass, label: &str) -> Named {
    let token =
        TokenIdentity { label: "t".into(), serial: "1".into(), model: "m".into(), manufacturer: "v".into() };
    Named::Object(ObjectIdentity { token, class, id: vec![1], label: label.into() })
}

fn key(class: ObjectClass, label: &str) -> Arc<Subject> {
    Arc::new(Subject::of(named(class, label)))
}

fn new(label: &str, lasting: bool) -> NewObject {
    NewObject { named: named(ObjectClass::Secret, label), lasting }
}

fn plain<'a>(kind: u64) -> Mechanism<'a> {
    Mechanism { kind, names: &[] }
}

/// Operation and label of each demand; all of them must carry the mechanism.
fn shown(demands: &Demands) -> Vec<(Operation, String)> {
    demands
        .iter()
        .map(|demand| {
            let Named::Object(identity) = demand.subject.named() else { panic!("a token") };
            (demand.operation, String::from_utf8(identity.label.clone()).unwrap())
        })
        .collect()
}

fn operations(class: ObjectClass, begun: Use, mechanism: u64) -> Vec<Operation> {
    let demands = begin(Function::C_SignInit, begun, plain(mechanism), &key(class, "k"));
    assert!(demands.iter().all(|demand| demand.mechanism == Some(mechanism)));
    shown(&demands).into_iter().map(|(operation, _)| operation).collect()
}

#[test]
fn a_use_of_a_key_needs_that_use() {
    for class in [ObjectClass::Private, ObjectClass::Secret] {
        assert_eq!(operations(class, Use::Sign, ECDSA), [Operation::Sign]);
        assert_eq!(operations(class, Use::Decrypt, ECDSA), [Operation::Decrypt]);
        assert_eq!(operations(class, Use::Verify, ECDSA), [Operation::Verify]);
    }
    assert_eq!(operations(ObjectClass::Secret, Use::Encrypt, ECDSA), [Operation::Encrypt]);
}

#[test]
fn encryption_with_a_private_key_needs_sign() {
    assert_eq!(operations(ObjectClass::Private, Use::Encrypt, ECDSA), [Operation::Sign]);
}

#[test]
fn public_keys_are_free_to_encrypt_and_verify_and_no_more() {
    for mechanism in [ECDSA, RAW_RSA] {
        assert_eq!(operations(ObjectClass::Public, Use::Encrypt, mechanism), []);
        assert_eq!(operations(ObjectClass::Public, Use::Verify, mechanism), []);
    }
    assert_eq!(operations(ObjectClass::Public, Use::Sign, ECDSA), [Operation::Sign]);
    assert_eq!(operations(ObjectClass::Public, Use::Decrypt, ECDSA), [Operation::Decrypt]);
}

#[test]
fn raw_rsa_needs_sign_and_decrypt_whatever_was_begun() {
    let needs = |begun| operations(ObjectClass::Private, begun, RAW_RSA);
    assert_eq!(needs(Use::Sign), [Operation::Sign, Operation::Decrypt]);
    assert_eq!(needs(Use::Decrypt), [Operation::Decrypt, Operation::Sign]);
    assert_eq!(needs(Use::Encrypt), [Operation::Sign, Operation::Decrypt]);
    assert_eq!(needs(Use::Verify), [Operation::Verify, Operation::Sign, Operation::Decrypt]);
}

#[test]
fn verifying_a_part_of_a_code_needs_sign() {
    const HMAC: u64 = 0x251;
    const HMAC_GENERAL: u64 = 0x252;
    const GMAC: u64 = 0x108e;
    let needs = |begun, mechanism| operations(ObjectClass::Secret, begun, mechanism);
    assert_eq!(needs(Use::Verify, HMAC), [Operation::Verify]);
    for mechanism in [HMAC_GENERAL, GMAC] {
        assert_eq!(needs(Use::Verify, mechanism), [Operation::Verify, Operation::Sign]);
        assert_eq!(needs(Use::Sign, mechanism), [Operation::Sign]);
    }
}

#[test]
fn a_key_inside_the_parameter_is_used_like_the_one_in_the_argument() {
    let names = [key(ObjectClass::Secret, "inside")];
    let mechanism = Mechanism { kind: CONCATENATE, names: &names };
    let base = key(ObjectClass::Secret, "base");
    let derived = derive(Function::C_DeriveKey, mechanism, &base, &new("new", false));
    assert_eq!(shown(&derived), [(Operation::Derive, "base".into()), (Operation::Derive, "inside".into())]);
    let public = key(ObjectClass::Public, "public");
    let verified = begin(Function::C_VerifyInit, Use::Verify, mechanism, &public);
    assert_eq!(
        shown(&verified),
        [(Operation::Verify, "public".into()), (Operation::Verify, "inside".into())]
    );
    let wrapped = wrap(Function::C_WrapKey, mechanism, &base, &key(ObjectClass::Secret, "k"));
    assert_eq!(
        shown(&wrapped),
        [
            (Operation::Wrap, "base".into()),
            (Operation::Wrap, "inside".into()),
            (Operation::Extract, "k".into())
        ]
    );
    let generated = generate(Function::C_GenerateKey, mechanism, &[]);
    assert_eq!(shown(&generated), [(Operation::Generate, "inside".into())]);
}

#[test]
fn wrapping_needs_extract_on_the_wrapped_key() {
    let demands = wrap(
        Function::C_WrapKey,
        plain(ECDSA),
        &key(ObjectClass::Secret, "wrapping"),
        &key(ObjectClass::Private, "wrapped"),
    );
    assert_eq!(
        shown(&demands),
        [(Operation::Wrap, "wrapping".into()), (Operation::Extract, "wrapped".into())]
    );
    assert!(demands.iter().all(|demand| demand.mechanism == Some(ECDSA)));
    // Also with a public key, which anybody may have made.
    let public = key(ObjectClass::Public, "public");
    let demands = wrap(Function::C_WrapKey, plain(ECDSA), &public, &public);
    assert_eq!(shown(&demands), [(Operation::Wrap, "public".into()), (Operation::Extract, "public".into())]);
}

#[test]
fn a_key_that_lasts_needs_the_identity_after_and_one_of_the_session_is_its_parents() {
    let base = key(ObjectClass::Private, "base");
    let of = |lasting| {
        let derived = derive(Function::C_DeriveKey, plain(ECDSA), &base, &new("after", lasting));
        let unwrapped = unwrap(Function::C_UnwrapKey, plain(ECDSA), &base, &new("after", lasting));
        (shown(&derived), shown(&unwrapped))
    };
    let (derive, unwrap) = (Operation::Derive, Operation::Unwrap);
    assert_eq!(of(false), (vec![(derive, "base".into())], vec![(unwrap, "base".into())]));
    assert_eq!(
        of(true),
        (
            vec![(derive, "base".into()), (derive, "after".into())],
            vec![(unwrap, "base".into()), (unwrap, "after".into())]
        )
    );
}

#[test]
fn encapsulated_keys_need_the_key_that_they_are_made_with_and_a_lasting_name() {
    let (public, private) = (key(ObjectClass::Public, "kem"), key(ObjectClass::Private, "kem"));
    let made = |function, lasting| match function {
        Function::C_EncapsulateKey => encapsulate(function, plain(ML_KEM), &public, &new("n", lasting)),
        _ => decapsulate(function, plain(ML_KEM), &private, &new("n", lasting)),
    };
    for (function, operation) in [
        (Function::C_EncapsulateKey, Operation::Encapsulate),
        (Function::C_DecapsulateKey, Operation::Decapsulate),
    ] {
        assert_eq!(shown(&made(function, false)), [(operation, "kem".into())]);
        assert_eq!(shown(&made(function, true)), [(operation, "kem".into()), (operation, "n".into())]);
        assert!(made(function, true).iter().all(|demand| demand.mechanism == Some(ML_KEM)));
    }
    let data = NewObject { named: named(ObjectClass::Data, "data"), lasting: false };
    assert_eq!(
        shown(&decapsulate(Function::C_DecapsulateKey, plain(ML_KEM), &private, &data)),
        [(Operation::Decapsulate, "kem".into()), (Operation::Reveal, "kem".into())]
    );
}

#[test]
fn what_is_derived_and_is_no_key_needs_reveal() {
    let names = [key(ObjectClass::Secret, "salt")];
    let mechanism = Mechanism { kind: CONCATENATE, names: &names };
    let base = key(ObjectClass::Secret, "base");
    let data = NewObject { named: named(ObjectClass::Data, "data"), lasting: false };
    let (derive_it, reveal) = (Operation::Derive, Operation::Reveal);
    assert_eq!(
        shown(&derive(Function::C_DeriveKey, mechanism, &base, &data)),
        [
            (derive_it, "base".into()),
            (derive_it, "salt".into()),
            (reveal, "base".into()),
            (reveal, "salt".into())
        ]
    );
}

#[test]
fn what_is_unwrapped_and_is_no_key_needs_reveal() {
    let kek = key(ObjectClass::Secret, "kek");
    for class in [ObjectClass::Data, ObjectClass::Certificate] {
        let object = NewObject { named: named(class, "object"), lasting: false };
        for function in [Function::C_UnwrapKey, Function::C_UnwrapKeyAuthenticated] {
            assert_eq!(
                shown(&unwrap(function, plain(ECDSA), &kek, &object)),
                [(Operation::Unwrap, "kek".into()), (Operation::Reveal, "kek".into())]
            );
        }
    }
}

#[test]
fn a_generated_key_needs_its_identity() {
    for lasting in [false, true] {
        let pair = [new("public", lasting), new("private", lasting)];
        assert_eq!(
            shown(&generate(Function::C_GenerateKeyPair, plain(ECDSA), &pair)),
            [(Operation::Generate, "public".into()), (Operation::Generate, "private".into())]
        );
    }
}

#[test]
fn a_key_that_is_made_of_a_password_needs_import_as_well() {
    assert_eq!(
        shown(&generate(Function::C_GenerateKey, plain(PBKD2), &[new("k", false)])),
        [(Operation::Generate, "k".into()), (Operation::Import, "k".into())]
    );
}

#[test]
fn an_operation_state_needs_every_use_that_it_may_hold() {
    let (one, other) = (key(ObjectClass::Secret, "one"), key(ObjectClass::Secret, "other"));
    let state = |one, other| shown(&set_operation_state(Function::C_SetOperationState, one, other));
    assert_eq!(state(None, None), []);
    assert_eq!(
        state(Some(&one), Some(&other)),
        [
            (Operation::Reveal, "one".into()),
            (Operation::Encrypt, "one".into()),
            (Operation::Decrypt, "one".into()),
            (Operation::Reveal, "other".into()),
            (Operation::Sign, "other".into()),
            (Operation::Verify, "other".into()),
        ]
    );
}
