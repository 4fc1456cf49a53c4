//! Calls that do their work at once, calls without a key, and logins.

use std::sync::Arc;

use attestation::grant::{Grant, Operation};
use gate::{ObjectKind, Refusal, Scope, Subject, rules};
use pkcs11_table::{Class, Function};

use crate::world::{
    Bench, LIFETIME_MS, clock, grant, key, pass, set_clock, token, token_identity, token_with, unavailable,
};

fn destroy() -> gate::Demands {
    rules::destroy(Function::C_DestroyObject, ObjectKind::PrivateKey, &key("granted"))
}

#[test]
fn a_use_at_once_takes_its_grant() {
    let bench = Bench::new([Ok(token(&[Operation::Destroy]))]);
    assert_eq!(bench.once(&destroy()).unwrap(), Function::C_DestroyObject);
    assert_eq!(bench.asked(), 1);
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    assert_eq!(bench.once(&destroy()).unwrap_err().refusal().code(), "not-granted");
}

#[test]
fn a_use_at_once_takes_a_token_that_counts() {
    let bench = Bench::new([Ok(token(&[Operation::Destroy])), Err(unavailable())]);
    bench.once(&destroy()).unwrap();
    pass(LIFETIME_MS);
    assert_eq!(bench.once(&destroy()).unwrap_err().refusal().code(), "policy-server-unavailable");
    set_clock(None);
    assert_eq!(bench.once(&destroy()).unwrap_err().refusal(), &Refusal::ClockUnreadable);
}

#[test]
fn every_demand_has_to_be_granted() {
    let bench = Bench::new([Ok(token(&[Operation::Reveal]))]);
    let reveal = |labels: &[&str]| {
        let keys: Vec<_> = labels.iter().map(|label| key(label)).collect();
        bench.once(&rules::reveal(Function::C_GetOperationState, &keys))
    };
    reveal(&[]).unwrap();
    assert_eq!(bench.asked(), 0, "nothing to reveal, nothing to ask");
    reveal(&["granted"]).unwrap();
    for labels in [&["granted", "other"], &["other", "granted"]] {
        let denial = reveal(labels).unwrap_err();
        let Refusal::NotGranted { key: refused, .. } = denial.refusal() else { panic!("{denial:?}") };
        assert_eq!(refused, &key("other").named().uri());
    }
}

#[test]
fn a_refusal_without_a_session_is_on_record_too() {
    let bench = Bench::new([Ok(token_with(vec![]))]);
    let token = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let demands = rules::initialise(Function::C_InitToken, &token, &token);
    bench.gate.permit(None, &demands).unwrap_err();
    assert_eq!(bench.world.log.lock().len(), 1);
    assert_eq!(bench.place().last_denial(), 0);
}

#[test]
fn calls_without_a_key_are_open_where_keys_alone_are_gated() {
    let bench = Bench::new([]);
    for function in Function::ALL {
        let permitted = bench.gate.harmless(bench.place(), *function);
        // Whatever is gated: this is no way to what uses keys.
        assert_eq!(permitted.is_ok(), function.class() == Class::Keyless, "{function}");
        if let Err(denial) = permitted {
            assert_eq!(denial.refusal(), &Refusal::WrongClass);
        }
    }
    assert_eq!(bench.asked(), 0);
}

#[test]
fn calls_without_a_key_take_a_token_where_everything_is_gated() {
    let bench = Bench::with_scope(Scope::Everything, [Ok(token_with(vec![])), Err(unavailable())]);
    for function in Function::ALL {
        let permitted = bench.gate.harmless(bench.place(), *function);
        assert_eq!(permitted.is_ok(), function.class() == Class::Keyless, "{function}");
    }
    assert_eq!(bench.asked(), 1);
    pass(LIFETIME_MS);
    let denial = bench.gate.harmless(bench.place(), Function::C_GenerateRandom).unwrap_err();
    assert_eq!(denial.refusal().code(), "policy-server-unavailable");
    assert_eq!(bench.place().last_denial(), denial.id().number());
}

#[test]
fn harmless_calls_take_a_token_where_everything_is_gated() {
    let harmless = rules::harmless(Function::C_GetAttributeValue);
    Bench::new([]).once(&harmless).unwrap();
    let bench = Bench::with_scope(Scope::Everything, [Ok(token_with(vec![])), Err(unavailable())]);
    bench.once(&harmless).unwrap();
    assert_eq!(bench.asked(), 1);
    pass(LIFETIME_MS);
    assert_eq!(bench.once(&harmless).unwrap_err().refusal().code(), "policy-server-unavailable");
}

#[test]
fn what_begins_or_goes_on_is_never_permitted_at_once() {
    let bench = Bench::new([]);
    for function in Function::ALL {
        let at_once = matches!(function.class(), Class::Use(_) | Class::Conditional(_));
        let permitted = bench.once(&rules::harmless(*function));
        assert_eq!(permitted.is_ok(), at_once, "{function}");
        if let Err(denial) = permitted {
            assert_eq!(denial.refusal(), &Refusal::WrongClass);
        }
    }
}

#[test]
fn a_user_logs_in_with_a_token_where_everything_is_gated() {
    let subject = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let bench = Bench::with_scope(Scope::Everything, [Ok(token_with(vec![])), Err(unavailable())]);
    let login = |user| bench.gate.login(bench.place(), Function::C_Login, user, &subject);
    for user in [1, 2] {
        assert_eq!(login(user).unwrap().function(), Function::C_Login);
    }
    assert_eq!(bench.asked(), 1);
    assert_eq!(login(0).unwrap_err().refusal().code(), "not-granted");
    pass(LIFETIME_MS);
    assert_eq!(login(1).unwrap_err().refusal().code(), "policy-server-unavailable");
}

#[test]
fn a_login_of_the_security_officer_counts_in_the_rate() {
    let subject = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let whole = Grant {
        key: "pkcs11:token=sandbox".into(),
        rate: Some(attestation::grant::Rate { per_second: None, total: Some(1) }),
        ..grant(&[Operation::Administer])
    };
    let bench = Bench::new([Ok(token_with(vec![whole]))]);
    let login = || bench.gate.login(bench.place(), Function::C_Login, 0, &subject);
    assert!(login().is_ok());
    let denial = login().unwrap_err();
    assert_eq!(denial.refusal().code(), "rate-exceeded");
}

#[test]
fn preparing_obtains_a_token_once() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.gate.prepare();
    bench.gate.prepare();
    assert_eq!(bench.asked(), 1);
    bench.sign(crate::world::ECDSA, "granted").unwrap();
    assert_eq!(bench.asked(), 1);
}

#[test]
fn preparing_leaves_failures_to_the_judgement() {
    let bench = Bench::new([Err(unavailable())]);
    let now = clock();
    set_clock(None);
    bench.gate.prepare();
    assert_eq!(bench.asked(), 0);
    set_clock(now);
    bench.gate.prepare();
    assert!(bench.world.log.lock().is_empty());
    let denial = bench.sign(crate::world::ECDSA, "granted").unwrap_err();
    assert_eq!(denial.refusal().code(), "policy-server-unavailable");
    assert_eq!(bench.asked(), 1, "the failure stands for a while");
}
