//! Operations: begun, gone on with, and ended.

use std::sync::Arc;

use attestation::grant::Operation;
use attestation::key_uri::ObjectClass;
use gate::{Named, Refusal, Scope, Subject, rules};
use pkcs11_table::{Form, Function, Use};

use crate::world::{
    Bench, ECDSA, LIFETIME_MS, RSA_X_509, SESSION, SLOT, grant, grant_on, key, named, pass, token, token_for,
    token_with,
};

const AES_CTR: u64 = 0x1086;

fn secret(label: &str) -> Arc<Subject> {
    Arc::new(Subject::of(named(ObjectClass::Secret, label)))
}

fn public() -> Arc<Subject> {
    Arc::new(Subject::of(named(ObjectClass::Public, "anything")))
}

/// A bench on which the key `granted` was just used to sign.
fn signing() -> Bench {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    bench
}

#[test]
fn public_keys_are_used_again_without_any_token() {
    let bench = Bench::new([]);
    bench.begin(Function::C_VerifyInit, ECDSA, &public()).unwrap();
    assert!(bench.begin_again(Function::C_VerifyInit, ECDSA).is_some());
    assert!(bench.resume(Function::C_Verify).unwrap().is_ok());
    pass(999);
    bench.world.examined.lock().push_back(Ok(token_for(1, vec![])));
    bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap();
    assert!(bench.resume(Function::C_Verify).unwrap().is_ok(), "whatever token there is");
    pass(LIFETIME_MS);
    assert!(bench.resume(Function::C_Verify).unwrap().is_ok());
}

#[test]
fn where_everything_is_gated_public_keys_take_a_token_too() {
    let bench = Bench::with_scope(Scope::Everything, [Ok(token_for(900, vec![]))]);
    bench.begin(Function::C_VerifyInit, ECDSA, &public()).unwrap();
    assert_eq!(bench.asked(), 1);
    pass(599);
    assert!(bench.begin_again(Function::C_VerifyInit, ECDSA).is_some());
    pass(1);
    assert!(bench.begin_again(Function::C_VerifyInit, ECDSA).is_none(), "a renewal is due");
    pass(299);
    assert!(bench.resume(Function::C_VerifyUpdate).unwrap().is_ok());
    pass(1);
    let resumed = bench.resume(Function::C_VerifyFinal).unwrap();
    assert_eq!(resumed.unwrap_err().refusal(), &Refusal::TokenExpired);
}

#[test]
fn only_inits_begin() {
    let bench = Bench::new([Ok(token(&Operation::ALL))]);
    for function in Function::ALL {
        let begins = matches!(function.class(), pkcs11_table::Class::Begin(_));
        let begun = bench.begin(*function, ECDSA, &key("granted"));
        assert_eq!(begun.is_ok(), begins, "{function}");
        if let Err(denial) = begun {
            assert_eq!(denial.refusal(), &Refusal::WrongClass);
        }
    }
}

#[test]
fn recovering_and_other_continuations_do_not_mix() {
    let grants = || vec![grant(&[Operation::Sign, Operation::Verify])];
    for (init, belonging, others) in [
        (
            Function::C_SignRecoverInit,
            &[Function::C_SignRecover][..],
            &[Function::C_Sign, Function::C_SignUpdate, Function::C_SignFinal, Function::C_VerifyRecover][..],
        ),
        (
            Function::C_SignInit,
            &[Function::C_Sign, Function::C_SignUpdate, Function::C_SignFinal],
            &[Function::C_SignRecover, Function::C_Verify],
        ),
        (
            Function::C_VerifyRecoverInit,
            &[Function::C_VerifyRecover],
            &[Function::C_Verify, Function::C_VerifyUpdate, Function::C_VerifyFinal, Function::C_SignRecover],
        ),
        (
            Function::C_VerifyInit,
            &[Function::C_Verify, Function::C_VerifyUpdate, Function::C_VerifyFinal],
            &[Function::C_VerifyRecover, Function::C_Sign],
        ),
    ] {
        let bench = Bench::new([Ok(token_with(grants()))]);
        let begin_and_again = [false, true];
        for again in begin_and_again {
            if again {
                let begun = bench.begin_again(init, ECDSA).unwrap();
                bench.session().begun(begun.running);
            } else {
                bench.begin(init, ECDSA, &key("granted")).unwrap();
            }
            for function in belonging {
                assert_eq!(bench.resume(*function).unwrap().unwrap().function(), *function);
            }
            for function in others {
                assert!(bench.resume(*function).is_none(), "{init} {function}");
            }
        }
    }
}

#[test]
fn of_two_operations_at_once_both_have_to_run() {
    let grants = vec![
        grant(&[Operation::Sign, Operation::Verify]),
        grant_on("aes", &[Operation::Encrypt, Operation::Decrypt]),
    ];
    let bench = Bench::new([Ok(token_with(grants))]);
    for (dual, one, other) in [
        (Function::C_SignEncryptUpdate, Function::C_SignInit, Function::C_EncryptInit),
        (Function::C_DecryptVerifyUpdate, Function::C_DecryptInit, Function::C_VerifyInit),
    ] {
        let begin = |init| match init {
            Function::C_SignInit | Function::C_VerifyInit => bench.begin(init, ECDSA, &key("granted")),
            _ => bench.begin(init, AES_CTR, &secret("aes")),
        };
        bench.session().all_displaced();
        assert!(bench.resume(dual).is_none());
        begin(one).unwrap();
        assert!(bench.resume(dual).is_none(), "{dual} after {one}");
        begin(other).unwrap();
        assert_eq!(bench.resume(dual).unwrap().unwrap().function(), dual);
        bench.session().all_displaced();
        begin(other).unwrap();
        assert!(bench.resume(dual).is_none(), "{dual} after {other}");
    }
}

#[test]
fn of_two_operations_at_once_both_are_judged() {
    let both = || vec![grant(&[Operation::Sign]), grant_on("aes", &[Operation::Encrypt])];
    for (left, refused) in [(0, key("granted")), (1, secret("aes"))] {
        let bench = Bench::new([Ok(token_with(both()))]);
        bench.begin(Function::C_EncryptInit, AES_CTR, &secret("aes")).unwrap();
        bench.sign(ECDSA, "granted").unwrap();
        assert!(bench.resume(Function::C_SignEncryptUpdate).unwrap().is_ok());
        // Another token, in which one of the two is missing.
        let mut grants = both();
        grants.remove(left);
        bench.world.examined.lock().push_back(Ok(token_with(grants)));
        bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap();
        let denial = bench.resume(Function::C_SignEncryptUpdate).unwrap().unwrap_err();
        assert_eq!(denial.refusal().code(), "not-granted");
        let log = bench.world.log.lock();
        assert_eq!(log.last().unwrap().0.key, Some(refused.named().uri()));
    }
}

#[test]
fn what_runs_is_judged_by_the_token_of_the_moment() {
    let bench = signing();
    pass(LIFETIME_MS * 2 / 3);
    bench.world.answers.lock().push_back(Ok(token(&[Operation::Sign, Operation::Decrypt])));
    bench.begin(Function::C_DecryptInit, 1, &key("granted")).unwrap();
    pass(LIFETIME_MS / 3);
    // The token under which it began is over; the renewed one covers it still.
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    pass(LIFETIME_MS / 3);
    bench.world.answers.lock().push_back(Ok(token(&[Operation::Decrypt])));
    bench.begin(Function::C_DecryptInit, 1, &key("granted")).unwrap();
    let resumed = bench.resume(Function::C_SignFinal).unwrap();
    assert_eq!(resumed.unwrap_err().refusal().code(), "not-granted");
    assert!(bench.resume(Function::C_DecryptFinal).unwrap().is_ok());
}

#[test]
fn a_continuation_asks_for_no_attestation() {
    let bench = signing();
    pass(LIFETIME_MS - 1);
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok(), "though a renewal is due");
    pass(1);
    assert!(bench.resume(Function::C_SignFinal).unwrap().is_err());
    assert_eq!(bench.asked(), 1);
}

#[test]
fn raw_rsa_goes_on_under_both_grants() {
    let bench = Bench::new([Ok(token(&[Operation::Sign, Operation::Decrypt]))]);
    bench.begin(Function::C_DecryptInit, RSA_X_509, &key("granted")).unwrap();
    bench.world.examined.lock().push_back(Ok(token(&[Operation::Decrypt])));
    bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap();
    let resumed = bench.resume(Function::C_Decrypt).unwrap();
    assert_eq!(resumed.unwrap_err().refusal().code(), "not-granted");
}

#[test]
fn a_session_knows_what_runs_on_it() {
    let bench = Bench::new([Ok(token(&[Operation::Sign, Operation::Verify, Operation::Decrypt]))]);
    let running = || bench.session().all_running().map(gate::Running::used).collect::<Vec<_>>();
    assert_eq!(running(), []);
    bench.begin(Function::C_VerifyInit, ECDSA, &key("granted")).unwrap();
    bench.begin(Function::C_SignRecoverInit, ECDSA, &key("granted")).unwrap();
    bench.begin(Function::C_DecryptInit, ECDSA, &key("granted")).unwrap();
    bench.begin(Function::C_EncryptInit, ECDSA, &key("granted")).unwrap();
    assert_eq!(running(), [Use::Encrypt, Use::Decrypt, Use::Sign, Use::Verify]);
    assert_eq!(bench.session().running(Use::Sign, Form::Recover).unwrap().form(), Form::Recover);
    assert!(bench.session().running(Use::Sign, Form::Plain).is_none());
    assert!(bench.session().running(Use::Verify, Form::Plain).is_some());
    for used in [Use::Administer, Use::Derive, Use::Generate, Use::Unwrap, Use::Wrap] {
        assert!(bench.session().running(used, Form::Plain).is_none());
        assert!(bench.session().ended(used, Form::Plain).is_none());
    }
    assert_eq!(bench.session().ended(Use::Decrypt, Form::Plain).unwrap().used(), Use::Decrypt);
    assert!(bench.session().ended(Use::Decrypt, Form::Plain).is_none());
    assert_eq!(running(), [Use::Encrypt, Use::Sign, Use::Verify]);
    bench.session().all_displaced();
    assert_eq!(running(), []);
    assert!(bench.resume(Function::C_SignRecover).is_none());
}

#[test]
fn keys_that_go_into_a_digest_stay_with_it() {
    let bench = Bench::new([]);
    let mut session = bench.session();
    session.digests(key("one"));
    session.digests(key("two"));
    assert_eq!(session.digested(), [key("one"), key("two")]);
    session.all_displaced();
    assert_eq!(session.digested().len(), 2, "a digest is none of the operations with a key");
    session.digest_begun();
    assert!(session.digested().is_empty());
}

/// The labels of what the state of the bench's session may hold something of.
fn in_state(bench: &Bench) -> Vec<String> {
    let session = bench.session();
    let label = |subject: &Arc<Subject>| match subject.named() {
        Named::Object(object) => String::from_utf8_lossy(&object.label).into_owned(),
        Named::Token(_) => panic!("no object"),
    };
    session.keys_in_state().map(label).collect()
}

/// A bench with grants on the keys `one` and `two` to sign and to verify.
fn of_two_keys() -> Bench {
    let uses = [Operation::Sign, Operation::Verify];
    Bench::new([Ok(token_with(vec![grant_on("one", &uses), grant_on("two", &uses)]))])
}

#[test]
fn what_a_restored_state_need_not_have_ended_is_in_the_state() {
    let bench = of_two_keys();
    bench.begin(Function::C_SignInit, ECDSA, &key("one")).unwrap();
    for _ in 0..3 {
        bench.session().all_displaced();
        assert!(bench.resume(Function::C_SignUpdate).is_none());
        assert_eq!(in_state(&bench), ["one"]);
    }
    // It demands what an operation that runs does.
    let demands = rules::reveal(Function::C_GetOperationState, bench.session().keys_in_state());
    assert_eq!(bench.once(&demands).unwrap_err().refusal().code(), "not-granted");
    bench.session().digest_begun();
    bench.begin(Function::C_VerifyInit, ECDSA, &key("two")).unwrap();
    assert_eq!(in_state(&bench), ["two", "one"], "neither stands in the way of it");
    // An operation of the same kind does, unless it is over.
    bench.begin(Function::C_SignInit, ECDSA, &key("two")).unwrap();
    bench.complete(Use::Sign);
    assert_eq!(in_state(&bench), ["two"]);
    bench.complete(Use::Verify);
    assert_eq!(in_state(&bench), [""; 0]);
}

#[test]
fn what_another_form_took_the_place_of_is_in_the_state() {
    let bench = of_two_keys();
    bench.begin(Function::C_SignInit, ECDSA, &key("one")).unwrap();
    bench.begin(Function::C_MessageSignInit, ECDSA, &key("two")).unwrap();
    assert!(bench.resume(Function::C_Sign).is_none());
    assert_eq!(in_state(&bench), ["two", "one"]);
    assert!(bench.session().ended(Use::Sign, Form::Messages).is_some());
    assert_eq!(in_state(&bench), ["one"], "the real module may hold both");
    // As by `C_SessionCancel`, whose answer says that it is over.
    assert!(bench.session().ended(Use::Sign, Form::Recover).is_none());
    assert_eq!(in_state(&bench), ["one"]);
    assert!(bench.session().ended(Use::Sign, Form::Plain).is_none(), "it could not be gone on with");
    assert_eq!(in_state(&bench), [""; 0]);

    bench.begin(Function::C_SignInit, ECDSA, &key("one")).unwrap();
    bench.close();
    assert!(bench.sessions.opened(SESSION, SLOT));
    assert_eq!(in_state(&bench), [""; 0]);
}

#[test]
fn what_is_kept_of_operations_does_not_grow() {
    let bench = of_two_keys();
    for _ in 0..50 {
        for init in [
            Function::C_SignInit,
            Function::C_SignRecoverInit,
            Function::C_MessageSignInit,
            Function::C_VerifyInit,
            Function::C_VerifyRecoverInit,
            Function::C_MessageVerifyInit,
            Function::C_VerifySignatureInit,
        ] {
            bench.begin(init, ECDSA, &key("one")).unwrap();
            bench.session().all_displaced();
        }
    }
    assert_eq!(in_state(&bench).len(), 7);
}
