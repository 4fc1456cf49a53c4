//! Rates of what fails and of what comes out otherwise than planned: a try whose error tells something counts, and one call
//! counts once.

use std::sync::Arc;

use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::ObjectClass;
use gate::{NewObject, ObjectKind, Refusal, Subject, rules};
use pkcs11_table::{Form, Function, Use};

use crate::world::{Bench, ECDSA, grant, named, token_with};

fn rated(id: &str, key: &str, operations: &[Operation], total: u64) -> Grant {
    Grant {
        id: id.into(),
        key: key.into(),
        many: true,
        rate: Some(Rate { per_second: None, total: Some(total) }),
        ..grant(operations)
    }
}

fn secret() -> Arc<Subject> {
    Arc::new(Subject::of(named(ObjectClass::Secret, "secret")))
}

#[test]
fn a_failed_decryption_or_verification_counts_and_others_do_not() {
    for (init, call, used, operation, counts) in [
        (Function::C_DecryptInit, Function::C_Decrypt, Use::Decrypt, Operation::Decrypt, true),
        (Function::C_VerifyInit, Function::C_Verify, Use::Verify, Operation::Verify, true),
        (Function::C_SignInit, Function::C_Sign, Use::Sign, Operation::Sign, false),
        (Function::C_EncryptInit, Function::C_Encrypt, Use::Encrypt, Operation::Encrypt, false),
    ] {
        let bench = Bench::new([Ok(token_with(vec![rated("G-1", "pkcs11:token=sandbox", &[operation], 2)]))]);
        for _ in 0..2 {
            bench.begin(init, ECDSA, &secret()).unwrap();
            assert!(bench.resume(call).unwrap().is_ok());
            bench.session().running_mut(used, Form::Plain).unwrap().failed();
        }
        drop(bench.session().ended(used, Form::Plain));
        assert_eq!(bench.begin(init, ECDSA, &secret()).is_ok(), !counts, "{used:?}");
    }
}

#[test]
fn an_operation_that_outlasts_its_failure_has_a_place_for_each_try() {
    let bench =
        Bench::new([Ok(token_with(vec![rated("G-1", "pkcs11:token=sandbox", &[Operation::Decrypt], 3)]))]);
    bench.begin(Function::C_DecryptInit, ECDSA, &secret()).unwrap();
    for _ in 0..3 {
        assert!(bench.resume(Function::C_Decrypt).unwrap().is_ok());
        bench.session().running_mut(Use::Decrypt, Form::Plain).unwrap().failed();
    }
    let denial = bench.resume(Function::C_Decrypt).unwrap().unwrap_err();
    assert_eq!(denial.refusal(), &Refusal::RateExceeded("G-1".into()));
}

fn import(label: &str) -> gate::Demands {
    let new = NewObject { named: named(ObjectClass::Secret, label), lasting: true };
    rules::create(Function::C_CreateObject, ObjectKind::SecretKey, &new)
}

/// Imports what is planned as `planned` and comes out as `made`.
fn import_as(bench: &Bench, planned: &str, made: &str) -> Result<(), Refusal> {
    let refusal = |denial: gate::Denial| denial.refusal().clone();
    let (_permit, mut spending) =
        bench.gate.permit(Some(bench.place()), &import(planned)).map_err(refusal)?;
    bench.gate.confirm(bench.place(), &import(made), &mut spending).map_err(refusal)?;
    spending.complete();
    Ok(())
}

#[test]
fn what_comes_out_otherwise_than_planned_counts_once() {
    let everything = rated("G-1", "pkcs11:token=sandbox", &[Operation::Import], 2);
    let bench = Bench::new([Ok(token_with(vec![everything]))]);
    for _ in 0..2 {
        import_as(&bench, "planned", "made").unwrap();
    }
    assert_eq!(import_as(&bench, "planned", "made"), Err(Refusal::RateExceeded("G-1".into())));
}

#[test]
fn what_comes_out_under_another_grant_counts_there_too() {
    let grants = || {
        vec![
            rated("G-planned", "pkcs11:object=planned", &[Operation::Import], 9),
            rated("G-made", "pkcs11:object=made", &[Operation::Import], 1),
        ]
    };
    let bench = Bench::new([Ok(token_with(grants()))]);
    import_as(&bench, "planned", "made").unwrap();
    assert_eq!(import_as(&bench, "planned", "made"), Err(Refusal::RateExceeded("G-made".into())));
    import_as(&bench, "planned", "planned").unwrap();
    let refused = import_as(&bench, "planned", "other").unwrap_err();
    assert_eq!(refused.code(), "not-granted");
    let [.., last] = &bench.world.log.lock()[..] else { panic!("no refusal on record") };
    assert_eq!(last.0.reason.code, "not-granted");
}

#[test]
fn one_place_stands_for_one_of_two_demands() {
    // The second demand takes a place of its own where it is under other grants than the first.
    let grants = vec![
        rated("G-1", "pkcs11:object=one", &[Operation::Generate], 9),
        rated("G-2", "pkcs11:object=two", &[Operation::Generate], 1),
    ];
    let bench = Bench::new([Ok(token_with(grants))]);
    let new = |label| NewObject { named: named(ObjectClass::Secret, label), lasting: true };
    let mechanism = gate::Mechanism { kind: ECDSA, names: &[] };
    let of = |new: &[NewObject]| rules::generate(Function::C_GenerateKeyPair, mechanism, new);
    let generate = || {
        let (_, mut spending) = bench.gate.permit(Some(bench.place()), &of(&[new("one")])).unwrap();
        let confirmed = bench.gate.confirm(bench.place(), &of(&[new("one"), new("two")]), &mut spending);
        spending.complete();
        confirmed.map_err(|denial| denial.refusal().clone())
    };
    generate().unwrap();
    assert_eq!(generate(), Err(Refusal::RateExceeded("G-2".into())));
}
