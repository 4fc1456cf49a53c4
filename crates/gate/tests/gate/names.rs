//! Names that objects are given: only under a grant that states them whole, or is meant to be wide; and a change of name leads
//! into no grant that does not allow it.

use std::sync::Arc;

use attestation::grant::{Grant, Operation};
use attestation::key_uri::{ObjectClass, ObjectIdentity, TokenIdentity};
use gate::{Demands, Mechanism, Named, NewObject, ObjectKind, Subject, rules};
use pkcs11_table::Function;

use crate::world::{Bench, ECDSA, SESSION, SLOT, grant, pass, token_identity, token_with};

const PLAIN: Mechanism<'static> = Mechanism { kind: ECDSA, names: &[] };

fn of(class: ObjectClass, id: &[u8], label: &str) -> Named {
    Named::Object(ObjectIdentity { token: token_identity(), class, id: id.to_vec(), label: label.into() })
}

fn secret(id: &[u8], label: &str) -> Named {
    of(ObjectClass::Secret, id, label)
}

fn subject(named: &Named) -> Arc<Subject> {
    Arc::new(Subject::of(named.clone()))
}

fn new(named: &Named) -> NewObject {
    NewObject { named: named.clone(), lasting: true }
}

fn on(key: &str, operations: &[Operation]) -> Grant {
    Grant { id: format!("G-{key}"), key: format!("pkcs11:{key}"), ..grant(operations) }
}

fn wide(key: &str, operations: &[Operation]) -> Grant {
    Grant { many: true, ..on(key, operations) }
}

/// The code of the refusal, or nothing.
fn judged(grants: &[Grant], demands: &Demands) -> Option<String> {
    let bench = Bench::new([Ok(token_with(grants.to_vec()))]);
    bench.once(demands).err().map(|denial| denial.refusal().code().to_owned())
}

/// Each way to make a lasting secret key of this name, with the operation that it takes of it. The key that it is made from
/// is `base`, on which everything is granted.
fn ways(named: &Named) -> [(Operation, Demands); 6] {
    let (base, new) = (subject(&secret(&[0xba], "base")), new(named));
    [
        (Operation::Import, rules::create(Function::C_CreateObject, ObjectKind::SecretKey, &new)),
        (Operation::Generate, rules::generate(Function::C_GenerateKey, PLAIN, core::slice::from_ref(&new))),
        (Operation::Unwrap, rules::unwrap(Function::C_UnwrapKey, PLAIN, &base, &new)),
        (Operation::Derive, rules::derive(Function::C_DeriveKey, PLAIN, &base, &new)),
        (Operation::Encapsulate, rules::encapsulate(Function::C_EncapsulateKey, PLAIN, &base, &new)),
        (Operation::Modify, rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&base, true), &new)),
    ]
}

#[test]
fn who_may_make_keys_of_an_id_may_not_call_them_what_somebody_elses_grant_says() {
    // The other component's grant is on the label `good`; this one's states an id only, or the like.
    let base = on("object=base", &Operation::ALL);
    for (named, key) in [
        (secret(&[5], "good"), "id=%05"),
        (secret(&[5], "good"), "id=%05;type=secret-key"),
        (secret(&[5], "good"), "id=%05;object=good"),
        (secret(&[5], "good"), "object=good;type=secret-key"),
        (secret(&[5], "good"), "token=sandbox"),
        (secret(&[], "good"), "object=good;type=secret-key"),
        (secret(&[5], ""), "id=%05;type=secret-key"),
        (secret(&[], ""), "type=secret-key"),
    ] {
        for (operation, demands) in ways(&named) {
            let what = format!("{operation} {named:?} under {key}");
            let granted = [base.clone(), on(key, &[operation])];
            assert_eq!(judged(&granted, &demands).as_deref(), Some("name-in-part"), "{what}");
            let by_others: Vec<_> = Operation::ALL.into_iter().filter(|other| *other != operation).collect();
            let others = [base.clone(), wide(key, &by_others)];
            assert_eq!(judged(&others, &demands).as_deref(), Some("not-granted"), "{what}");
            let meant = [base.clone(), wide(key, &[operation])];
            assert_eq!(judged(&meant, &demands), None, "{what}, with the word that it is wide");
        }
    }
}

#[test]
fn a_name_that_a_grant_states_whole_is_given() {
    let base = on("object=base", &Operation::ALL);
    for (id, label, key) in [
        (&[5][..], "good", "id=%05;object=good;type=secret-key"),
        // Stated to be absent.
        (&[], "good", "id=;object=good;type=secret-key"),
        (&[5], "", "id=%05;object=;type=secret-key"),
        (&[], "", "id=;object=;type=secret-key"),
    ] {
        for (operation, demands) in ways(&secret(id, label)) {
            assert_eq!(judged(&[base.clone(), on(key, &[operation])], &demands), None, "{operation} {key}");
        }
        for other in [secret(&[6], label), secret(id, "other"), of(ObjectClass::Private, id, label)] {
            for (operation, demands) in ways(&other) {
                let refused = judged(&[base.clone(), on(key, &[operation])], &demands);
                assert_eq!(refused.as_deref(), Some("not-granted"), "{operation} {other:?} {key}");
            }
        }
    }
}

#[test]
fn the_kind_of_object_belongs_to_its_name() {
    for class in ObjectClass::ALL {
        let named = of(class, &[5], "good");
        let demands = rules::generate(Function::C_GenerateKey, PLAIN, &[new(&named)]);
        let part = on("id=%05;object=good", &[Operation::Generate]);
        assert_eq!(judged(&[part], &demands).as_deref(), Some("name-in-part"), "{class:?}");
        let whole = format!("id=%05;object=good;type={}", class.name());
        assert_eq!(judged(&[on(&whole, &[Operation::Generate])], &demands), None, "{class:?}");
    }
}

#[test]
fn a_key_that_keeps_its_name_or_has_none_that_counts_takes_no_more_than_before() {
    let granted = [on("object=base", &[Operation::Modify, Operation::Derive, Operation::Unwrap])];
    let base = secret(&[0xba], "base");
    let session = NewObject { named: secret(&[5], "good"), lasting: false };
    for demands in [
        rules::change(Function::C_SetAttributeValue, (ObjectKind::SecretKey, true), &subject(&base), None),
        rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&subject(&base), true), &new(&base)),
        rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&subject(&base), true), &session),
        rules::derive(Function::C_DeriveKey, PLAIN, &subject(&base), &session),
        rules::unwrap(Function::C_UnwrapKey, PLAIN, &subject(&base), &session),
    ] {
        assert_eq!(judged(&granted, &demands), None, "{demands:?}");
    }
}

fn renaming(before: &Named, after: &Named) -> [Demands; 2] {
    let before = subject(before);
    [
        rules::change(Function::C_SetAttributeValue, (ObjectKind::SecretKey, true), &before, Some(after)),
        rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&before, true), &new(after)),
    ]
}

#[test]
fn a_key_is_not_renamed_into_another_grant() {
    let (before, after) = (secret(&[7], "mine"), secret(&[7], "good"));
    let good = || on("object=good", &[Operation::Encrypt]);
    for demands in renaming(&before, &after) {
        let refused = |grants: &[Grant]| judged(grants, &demands);
        let part = on("id=%07", &[Operation::Modify]);
        assert_eq!(refused(&[part, good()]).as_deref(), Some("name-in-part"));
        let wide_one = wide("id=%07", &[Operation::Modify]);
        assert_eq!(refused(core::slice::from_ref(&wide_one)), None);
        let refused_by = refused(&[wide_one.clone(), good()]);
        assert_eq!(refused_by.as_deref(), Some("name-of-another-grant"));
        // A grant that has the operation itself, that covered the key before, or that is for something else.
        let modifying = on("object=good", &[Operation::Encrypt, Operation::Modify]);
        assert_eq!(refused(&[wide_one.clone(), modifying.clone()]), None);
        assert_eq!(refused(&[wide_one.clone(), on("type=secret-key", &[Operation::Encrypt])]), None);
        assert_eq!(refused(&[wide_one.clone(), on("object=else", &[Operation::Encrypt])]), None);
        // Each of them, not one.
        let several = [wide_one.clone(), modifying, good()];
        assert_eq!(refused(&several).as_deref(), Some("name-of-another-grant"));
        // Who grants this very name to modify means it.
        let very = on("id=%07;object=good;type=secret-key", &[Operation::Modify]);
        assert_eq!(refused(&[wide_one, good(), very]), None);
    }
}

#[test]
fn a_grant_that_has_ended_is_none_that_a_key_is_renamed_into() {
    let ends = Grant {
        deadline_boottime_ms: Some(crate::world::clock().unwrap() + 1_000),
        ..on("object=good", &[Operation::Encrypt])
    };
    let bench = Bench::new([Ok(token_with(vec![wide("id=%07", &[Operation::Modify]), ends]))]);
    let [rename, _] = renaming(&secret(&[7], "mine"), &secret(&[7], "good"));
    let code = |bench: &Bench| bench.once(&rename).err().map(|denial| denial.refusal().code().to_owned());
    assert_eq!(code(&bench).as_deref(), Some("name-of-another-grant"));
    pass(1_000);
    assert_eq!(code(&bench), None);
}

#[test]
fn what_was_made_from_another_key_is_renamed_by_the_grants_of_that_key() {
    // The copy of the session is called `good` already, and judged by what it was copied from.
    let good = on("object=good", &[Operation::Encrypt]);
    let grants = vec![wide("id=%07", &[Operation::Modify]), good];
    let bench = Bench::new([Ok(token_with(grants))]);
    let provenance = bench.gate.provenance();
    let called_good = NewObject { named: secret(&[7], "good"), lasting: false };
    provenance.record((SLOT, SESSION, 20), &called_good, true, [&*subject(&secret(&[7], "mine"))]);
    let copy = Arc::new(provenance.subject(SLOT, 20, called_good.named.clone(), false).unwrap());
    let lasting =
        rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&copy, false), &new(&called_good.named));
    let denial = bench.once(&lasting).unwrap_err();
    assert_eq!(denial.refusal().code(), "name-of-another-grant");
}

#[test]
fn a_token_is_given_a_new_label_by_a_grant_that_states_it() {
    let before = token_identity();
    let after = TokenIdentity { label: "other".into(), ..before.clone() };
    let as_subject = |token: &TokenIdentity| Arc::new(Subject::of(Named::Token(token.clone())));
    let initialise = |after: &TokenIdentity| {
        rules::initialise(Function::C_InitToken, &as_subject(&before), &as_subject(after))
    };
    let by_serial = on("serial=1", &[Operation::Administer]);
    assert_eq!(judged(core::slice::from_ref(&by_serial), &initialise(&before)), None);
    assert_eq!(
        judged(core::slice::from_ref(&by_serial), &initialise(&after)).as_deref(),
        Some("name-in-part")
    );
    let of_that_name = on("serial=1;token=other", &[Operation::Administer]);
    assert_eq!(judged(&[by_serial, of_that_name], &initialise(&after)), None);
    assert_eq!(judged(&[wide("serial=1", &[Operation::Administer])], &initialise(&after)), None);
}

#[test]
fn what_comes_to_last_is_given_its_name_though_it_was_made_from_a_key_of_that_name() {
    // Unwrapped with `kek`, called like it, and of a value that the caller knows.
    let kek = secret(&[5], "kek");
    let bench = |grant| Bench::new([Ok(token_with(vec![grant]))]);
    let operations = [Operation::Unwrap, Operation::Modify];
    for (grant, refused) in [
        (on("object=kek", &operations), Some("name-in-part")),
        (on("id=%05;object=kek;type=secret-key", &operations), None),
        (wide("object=kek", &operations), None),
    ] {
        let bench = bench(grant);
        let passing = NewObject { named: kek.clone(), lasting: false };
        bench.gate.provenance().record((SLOT, SESSION, 20), &passing, true, [&*subject(&kek)]);
        let passing = Arc::new(bench.gate.provenance().subject(SLOT, 20, kek.clone(), false).unwrap());
        for demands in [
            rules::copy(Function::C_CopyObject, ObjectKind::SecretKey, (&passing, false), &new(&kek)),
            rules::change(Function::C_SetAttributeValue, (ObjectKind::SecretKey, true), &passing, Some(&kek)),
        ] {
            let code = bench.once(&demands).err().map(|denial| denial.refusal().code().to_owned());
            assert_eq!(code.as_deref(), refused);
        }
    }
}
