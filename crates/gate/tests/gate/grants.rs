//! What grants cover: mechanisms, ends, several of them on one key, and keys that were made from others.

use std::sync::Arc;

use attestation::grant::{Grant, Operation};
use attestation::key_uri::ObjectClass;
use gate::{Ends, Mechanism, NewObject, Refusal, Subject, rules};
use pkcs11_table::Function;

use crate::world::{
    Bench, ECDSA, LIFETIME_MS, SESSION, SLOT, clock, grant, key, named, pass, token_identity, token_with,
};

const RSA_PKCS: u64 = 1;

fn bench(grants: Vec<Grant>) -> Bench {
    Bench::new([Ok(token_with(grants))])
}

fn listed(mechanisms: &[u64]) -> Grant {
    Grant { mechanisms: Some(mechanisms.to_vec()), ..grant(&[Operation::Sign, Operation::Destroy]) }
}

fn refusal(bench: &Bench, mechanism: u64) -> Refusal {
    bench.sign(mechanism, "granted").unwrap_err().refusal().clone()
}

#[test]
fn a_list_of_mechanisms_covers_these_and_no_other() {
    let bench = bench(vec![listed(&[ECDSA, RSA_PKCS])]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.sign(RSA_PKCS, "granted").unwrap();
    let refused = refusal(&bench, 0x1044);
    assert_eq!(refused.code(), "mechanism-not-granted");
    assert_eq!(
        refused,
        Refusal::MechanismNotGranted {
            mechanism: 0x1044,
            operation: Operation::Sign,
            key: key("granted").named().uri(),
        }
    );
}

#[test]
fn what_has_no_mechanism_is_covered_whatever_the_list() {
    let bench = bench(vec![listed(&[ECDSA])]);
    let kind = gate::ObjectKind::PrivateKey;
    bench.once(&rules::destroy(Function::C_DestroyObject, kind, &key("granted"))).unwrap();
}

#[test]
fn a_list_limits_every_demand_of_a_call() {
    let lists = |extract: &[u64]| {
        vec![
            Grant { operations: vec![Operation::Wrap], ..listed(&[ECDSA]) },
            Grant { operations: vec![Operation::Extract], ..listed(extract) },
        ]
    };
    let mechanism = Mechanism { kind: ECDSA, names: &[] };
    let wrap = rules::wrap(Function::C_WrapKey, mechanism, &key("granted"), &key("granted"));
    bench(lists(&[ECDSA])).once(&wrap).unwrap();
    let denial = bench(lists(&[RSA_PKCS])).once(&wrap).unwrap_err();
    assert_eq!(denial.refusal().code(), "mechanism-not-granted");
}

#[test]
fn a_grant_counts_until_its_end() {
    let now = clock().unwrap();
    let bench = bench(vec![Grant { deadline_boottime_ms: Some(now + 2_000), ..grant(&[Operation::Sign]) }]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(1_999);
    bench.sign(ECDSA, "granted").unwrap();
    pass(1);
    assert_eq!(
        refusal(&bench, ECDSA),
        Refusal::GrantExpired { operation: Operation::Sign, key: key("granted").named().uri() }
    );
    assert_eq!(bench.asked(), 1, "the token itself still counts");
}

#[test]
fn the_token_ends_grants_that_state_a_later_end() {
    let now = clock().unwrap();
    let later = Grant { deadline_boottime_ms: Some(now + 10 * LIFETIME_MS), ..grant(&[Operation::Sign]) };
    let bench = bench(vec![later]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(LIFETIME_MS);
    let denial = bench.resume(Function::C_Sign).unwrap().unwrap_err();
    assert_eq!(denial.refusal(), &Refusal::TokenExpired);
}

#[test]
fn several_grants_on_one_key_add_up() {
    let now = clock().unwrap();
    let ending = Grant { id: "G-2".into(), deadline_boottime_ms: Some(now + 500), ..listed(&[RSA_PKCS]) };
    let decrypt = Grant { id: "G-3".into(), ..grant(&[Operation::Decrypt]) };
    let bench = bench(vec![listed(&[ECDSA]), ending, decrypt]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.sign(RSA_PKCS, "granted").unwrap();
    bench.begin(Function::C_DecryptInit, 0x1044, &key("granted")).unwrap();
    assert_eq!(refusal(&bench, 0x1044).code(), "mechanism-not-granted", "each by itself, not in pieces");
    pass(500);
    bench.sign(ECDSA, "granted").unwrap();
    assert_eq!(refusal(&bench, RSA_PKCS).code(), "grant-expired");
}

#[test]
fn one_of_several_grants_that_ends_leaves_the_others() {
    let now = clock().unwrap();
    let ending =
        Grant { id: "G-2".into(), deadline_boottime_ms: Some(now + 500), ..grant(&[Operation::Sign]) };
    let bench = bench(vec![ending, grant(&[Operation::Sign])]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(500);
    assert!(bench.begin_again(Function::C_SignInit, ECDSA).is_none(), "judged anew when one ends");
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    bench.sign(ECDSA, "granted").unwrap();
}

#[test]
fn a_grant_on_a_token_covers_the_keys_on_it_and_not_the_other_way_round() {
    let whole = Grant { key: "pkcs11:token=sandbox".into(), ..grant(&[Operation::Sign, Operation::Import]) };
    let token_subject = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let unnamed = NewObject { named: token_subject.named().clone(), lasting: false };
    let import = rules::create(Function::C_CreateObject, gate::ObjectKind::Unknown, &unnamed);
    let bench_of_token = bench(vec![whole]);
    bench_of_token.sign(ECDSA, "anything").unwrap();
    bench_of_token.once(&import).unwrap();
    let elsewhere = Grant { key: "pkcs11:token=other".into(), ..grant(&[Operation::Sign]) };
    assert_eq!(refusal(&bench(vec![elsewhere]), ECDSA).code(), "not-granted");
    let denial = bench(vec![grant(&Operation::ALL)]).once(&import).unwrap_err();
    assert_eq!(denial.refusal().code(), "not-granted");
}

#[test]
fn what_has_no_class_is_no_public_key() {
    let whole = |operation| Grant { key: "pkcs11:token=sandbox".into(), ..grant(&[operation]) };
    let token_subject = Arc::new(Subject::of(gate::Named::Token(token_identity())));
    let verify = |operation| {
        bench(vec![whole(operation)]).begin(Function::C_VerifyInit, ECDSA, &token_subject).is_ok()
    };
    assert!(verify(Operation::Verify));
    assert!(!verify(Operation::Sign));
}

#[test]
fn a_token_without_grants_covers_nothing() {
    let bench = bench(vec![]);
    assert_eq!(
        refusal(&bench, ECDSA),
        Refusal::NotGranted {
            operation: Operation::Sign,
            key: key("granted").named().uri(),
            component: "demo".into(),
            version: "1".into(),
        }
    );
}

/// A key of the session called `label` that was derived from `parents`.
fn derived(bench: &Bench, label: &str, lasting: bool, parents: &[Arc<Subject>]) -> Arc<Subject> {
    let new = NewObject { named: named(ObjectClass::Private, label), lasting };
    let provenance = bench.gate.provenance();
    provenance.record((SLOT, SESSION, 20), &new, true, parents.iter().map(Arc::as_ref));
    Arc::new(provenance.subject(SLOT, 20, new.named, lasting).unwrap())
}

#[test]
fn a_derived_key_of_the_session_is_covered_by_the_grants_of_its_parents_alone() {
    let bench = bench(vec![grant(&[Operation::Sign])]);
    let sign =
        |key: &Arc<Subject>| bench.begin(Function::C_SignInit, ECDSA, key).map_err(|d| d.refusal().clone());
    // Its own name counts for nothing, neither for it nor against it.
    assert_eq!(sign(&derived(&bench, "anything", false, &[key("granted")])), Ok(()));
    let not_granted = |refused: Result<(), Refusal>, uri: &str| match refused {
        Err(Refusal::NotGranted { key, .. }) => assert_eq!(key, uri),
        other => panic!("{other:?}"),
    };
    let other = key("other").named().uri();
    not_granted(sign(&derived(&bench, "granted", false, &[key("other")])), &other);
    not_granted(sign(&derived(&bench, "granted", false, &[key("granted"), key("other")])), &other);
    // And one that lasts needs both.
    let anything = key("anything").named().uri();
    not_granted(sign(&derived(&bench, "anything", true, &[key("granted")])), &anything);
    not_granted(sign(&derived(&bench, "granted", true, &[key("other")])), &other);
    assert_eq!(sign(&derived(&bench, "granted", true, &[key("granted")])), Ok(()));
}

#[test]
fn a_public_key_that_was_made_from_others_is_still_public() {
    let bench = Bench::new([]);
    let new = NewObject { named: named(ObjectClass::Public, "public"), lasting: false };
    let provenance = bench.gate.provenance();
    provenance.record((SLOT, SESSION, 21), &new, true, [&*key("other")]);
    let public = Arc::new(provenance.subject(SLOT, 21, new.named, false).unwrap());
    bench.begin(Function::C_VerifyInit, ECDSA, &public).unwrap();
}

#[test]
fn an_object_of_a_session_that_nobody_made_is_unaccounted() {
    let bench = Bench::new([]);
    let provenance = bench.gate.provenance();
    let named = || named(ObjectClass::Private, "granted");
    assert!(provenance.subject(SLOT, 20, named(), false).is_err());
    derived(&bench, "granted", false, &[key("granted")]);
    let withdrawn = bench.gate.withdraw(Ends::Session(SESSION));
    assert!(!withdrawn.is_empty());
    assert!(bench.gate.withdraw(Ends::Session(SESSION)).is_empty(), "once");
    bench.gate.put_back(withdrawn);
    assert!(provenance.subject(SLOT, 20, named(), false).is_ok(), "the session was not closed");
    drop(bench.gate.withdraw(Ends::Session(SESSION)));
    assert!(provenance.subject(SLOT, 20, named(), false).is_err());
}

#[test]
fn handles_of_objects_that_end_lead_nowhere_unless_the_call_has_failed() {
    let bench = Bench::new([]);
    derived(&bench, "granted", false, &[key("granted")]);
    let handles = bench.gate.handles();
    let all = [(SLOT, 20), (SLOT, 99), (SLOT + 1, 20), (SLOT + 1, 99)];
    for (ends, ended) in [
        (Ends::Object { slot: SLOT, object: 20 }, &[(SLOT, 20)][..]),
        (Ends::Slot(SLOT), &[(SLOT, 20), (SLOT, 99)]),
        (Ends::Session(SESSION), &[(SLOT, 20)]),
        (Ends::Session(SESSION + 1), &[]),
    ] {
        all.into_iter().for_each(|(slot, object)| handles.give(slot, object));
        let withdrawn = bench.gate.withdraw(ends);
        for place in all {
            assert_eq!(handles.are_given(place.0, place.1), !ended.contains(&place), "{ends:?}: {place:?}");
        }
        bench.gate.put_back(withdrawn);
        assert!(all.into_iter().all(|(slot, object)| handles.are_given(slot, object)), "{ends:?}");
    }
}
