//! What the gate remembers of objects and inits, and what makes it forget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use attestation::grant::{Grant, Operation};
use gate::Mechanism;
use pkcs11_table::{Form, Function, Use};

use crate::world::{
    Bench, ECDSA, LIFETIME_MS, OBJECT, clock, grant, grant_on, key, pass, set_clock, token, token_for,
    token_with, unavailable,
};

/// A bench on which the key `granted` was just used to sign.
fn signing(lifetime_ms: u64, grants: Vec<Grant>) -> Bench {
    let bench = Bench::new([Ok(token_for(lifetime_ms, grants))]);
    bench.sign(ECDSA, "granted").unwrap();
    bench
}

fn again(bench: &Bench) -> bool {
    bench.begin_again(Function::C_SignInit, ECDSA).is_some()
}

#[test]
fn an_init_like_the_last_one_needs_no_other_look() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    let begun = bench.begin_again(Function::C_SignInit, ECDSA).unwrap();
    assert_eq!(begun.permit.function(), Function::C_SignInit);
    assert_eq!((begun.running.used(), begun.running.form()), (Use::Sign, Form::Plain));
    assert_eq!(begun.running.mechanism(), ECDSA);
    assert_eq!(begun.running.subjects().collect::<Vec<_>>(), [&key("granted")]);
    bench.session().all_displaced();
    bench.session().begun(begun.running);
    assert!(bench.resume(Function::C_Sign).unwrap().is_ok());
    assert_eq!(bench.asked(), 1);
}

#[test]
fn an_init_that_differs_in_anything_is_looked_at() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    let begin_again = |function, mechanism, object| {
        bench.gate.begin_again(&mut bench.session(), function, mechanism, object).is_some()
    };
    assert!(begin_again(Function::C_SignInit, ECDSA, OBJECT));
    for (function, mechanism, object) in [
        (Function::C_SignInit, ECDSA, OBJECT + 1),
        (Function::C_SignInit, ECDSA + 1, OBJECT),
        (Function::C_SignRecoverInit, ECDSA, OBJECT),
        (Function::C_DecryptInit, ECDSA, OBJECT),
        (Function::C_Sign, ECDSA, OBJECT),
        (Function::C_DestroyObject, ECDSA, OBJECT),
    ] {
        assert!(!begin_again(function, mechanism, object), "{function} {mechanism} {object}");
    }
}

#[test]
fn a_refused_init_is_not_remembered() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "other").unwrap_err();
    assert!(!again(&bench));
}

#[test]
fn a_change_of_any_object_makes_the_gate_look_anew() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    bench.gate.objects_changed();
    assert!(!again(&bench));
    bench.sign(ECDSA, "granted").unwrap();
    assert!(again(&bench));
}

struct Counter(Arc<AtomicU64>);

impl AsRef<AtomicU64> for Counter {
    fn as_ref(&self) -> &AtomicU64 {
        &self.0
    }
}

#[test]
fn a_change_by_another_process_that_shares_the_count_makes_the_gate_look_anew() {
    let count = Arc::new(AtomicU64::new(7));
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let bench =
        Bench { gate: bench.gate.with_shared_changes(Box::new(Counter(Arc::clone(&count)))), ..bench };
    bench.sign(ECDSA, "granted").unwrap();
    assert!(again(&bench));
    count.fetch_add(1, Ordering::AcqRel);
    assert!(!again(&bench));
    bench.gate.objects_changed();
    assert_eq!(count.load(Ordering::Acquire), 9, "the others hear of it");
}

#[test]
fn a_look_that_grew_old_under_an_attestation_is_told_from_a_recent_one() {
    let bench = Bench::new([]);
    let look = bench.gate.look(&mut bench.session()).unwrap();
    assert!(bench.gate.is_recent(look));
    pass(999);
    assert!(bench.gate.is_recent(look));
    pass(1);
    assert!(!bench.gate.is_recent(look));
    let look = bench.gate.look(&mut bench.session()).unwrap();
    assert!(bench.gate.is_recent(look));
    set_clock(None);
    assert!(!bench.gate.is_recent(look), "nobody can tell");
}

#[test]
fn a_look_counts_for_a_second_from_the_look() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    pass(999);
    assert!(again(&bench), "and being asked does not make it younger");
    pass(1);
    assert!(!again(&bench));
}

#[test]
fn another_token_makes_the_gate_judge_anew() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    bench.world.examined.lock().push_back(Ok(token(&[Operation::Decrypt])));
    bench.gate.hand_in(bench.place(), Function::C_CreateObject, "jwt").unwrap();
    assert!(!again(&bench));
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "not-granted");
}

#[test]
fn a_renewal_that_is_due_is_not_passed_by() {
    let bench = signing(900, vec![grant(&[Operation::Sign])]);
    pass(599);
    assert!(again(&bench));
    pass(1);
    assert!(!again(&bench));
}

#[test]
fn the_deadline_of_the_token_ends_what_was_judged() {
    let bench = signing(900, vec![grant(&[Operation::Sign])]);
    pass(600);
    bench.world.answers.lock().push_back(Err(unavailable()));
    bench.sign(ECDSA, "granted").unwrap();
    pass(299);
    assert!(again(&bench), "the next renewal is due after the deadline");
    pass(1);
    assert!(!again(&bench));
}

#[test]
fn the_end_of_a_grant_ends_what_was_judged() {
    let ends = Some(clock().unwrap() + 500);
    let ending = Grant { deadline_boottime_ms: ends, ..grant(&[Operation::Sign]) };
    let bench = signing(LIFETIME_MS, vec![ending]);
    pass(499);
    assert!(again(&bench));
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    pass(1);
    assert!(!again(&bench));
    let resumed = bench.resume(Function::C_SignFinal).unwrap();
    assert_eq!(resumed.unwrap_err().refusal().code(), "grant-expired");
}

#[test]
fn a_clock_that_fails_is_left_to_the_judgement() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    let now = clock();
    set_clock(None);
    assert!(!again(&bench));
    set_clock(now.map(|now| now - 1));
    assert!(!again(&bench));
    set_clock(now);
    assert!(again(&bench));
}

#[test]
fn keys_inside_a_parameter_are_asked_for_each_time() {
    let grants = vec![grant_on("granted", &[Operation::Sign]), grant_on("inside", &[Operation::Sign])];
    let bench = Bench::new([Ok(token_with(grants))]);
    let begin = |inside: &str| {
        let mut session = bench.session();
        let look = bench.gate.look(&mut session).unwrap();
        let names = [key(inside)];
        let mechanism = Mechanism { kind: ECDSA, names: &names };
        let of = (look, &key("granted"));
        bench.gate.begin((bench.place(), &mut session), Function::C_SignInit, mechanism, OBJECT, of).map(drop)
    };
    begin("inside").unwrap();
    assert!(!again(&bench), "the next parameter may name another key");
    assert_eq!(begin("other").unwrap_err().refusal().code(), "not-granted");
}

#[test]
fn a_session_remembers_the_last_eight_inits_and_objects() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let look = bench.gate.look(&mut bench.session()).unwrap();
    for object in 1..=9 {
        bench.begin_on(object, Function::C_SignInit, ECDSA, &key("granted")).unwrap();
        bench.gate.learn(&mut bench.session(), object, look, &key("granted"));
    }
    for object in 1..=9 {
        let again =
            bench.gate.begin_again(&mut bench.session(), Function::C_SignInit, ECDSA, object).is_some();
        let known = bench.gate.known(&bench.session(), object, look).is_some();
        assert_eq!((again, known), (object > 1, object > 1), "{object}");
    }
}

#[test]
fn what_is_used_again_and_again_takes_one_place_in_memory() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let look = bench.gate.look(&mut bench.session()).unwrap();
    let begin = |object| {
        bench.begin_on(object, Function::C_SignInit, ECDSA, &key("granted")).unwrap();
        bench.gate.learn(&mut bench.session(), object, look, &key("granted"));
    };
    begin(1);
    (0..20).for_each(|_| begin(2));
    assert!(bench.gate.begin_again(&mut bench.session(), Function::C_SignInit, ECDSA, 1).is_some());
    assert!(bench.gate.known(&bench.session(), 1, look).is_some());
}

#[test]
fn inits_that_differ_in_one_thing_are_remembered_side_by_side() {
    let bench = Bench::new([Ok(token(&[Operation::Sign, Operation::Decrypt]))]);
    let uses = [
        (Function::C_SignInit, ECDSA, 1),
        (Function::C_SignInit, ECDSA, 2),
        (Function::C_SignInit, ECDSA + 1, 1),
        (Function::C_DecryptInit, ECDSA, 1),
    ];
    for (function, mechanism, object) in uses {
        bench.begin_on(object, function, mechanism, &key("granted")).unwrap();
    }
    for (function, mechanism, object) in uses {
        let begun = bench.gate.begin_again(&mut bench.session(), function, mechanism, object);
        assert_eq!(begun.unwrap().permit.function(), function, "{mechanism} {object}");
    }
}

#[test]
fn an_object_is_known_for_a_second_and_until_any_object_changes() {
    let bench = Bench::new([]);
    let look = || bench.gate.look(&mut bench.session()).unwrap();
    let known = |look| bench.gate.known(&bench.session(), OBJECT, look).map(|(subject, _)| subject);
    let first = look();
    assert_eq!(known(first), None);
    bench.gate.learn(&mut bench.session(), OBJECT, first, &key("one"));
    assert_eq!(known(first), Some(key("one")));
    assert!(bench.gate.known(&bench.session(), OBJECT + 1, first).is_none());
    pass(999);
    assert_eq!(known(look()), Some(key("one")));
    pass(1);
    assert_eq!(known(look()), None);
    let second = look();
    bench.gate.learn(&mut bench.session(), OBJECT, second, &key("two"));
    assert_eq!(known(look()), Some(key("two")), "the latest look counts");
    bench.gate.objects_changed();
    assert_eq!(known(look()), None);
    // A look that began before the change may have seen what was there before.
    bench.gate.learn(&mut bench.session(), OBJECT, first, &key("one"));
    assert_eq!(known(look()), None);
}

#[test]
fn what_is_known_does_not_get_younger_by_being_used() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    let first = bench.gate.look(&mut bench.session()).unwrap();
    bench.gate.learn(&mut bench.session(), OBJECT, first, &key("granted"));
    pass(600);
    let mut session = bench.session();
    let later = bench.gate.look(&mut session).unwrap();
    let (subject, read) = bench.gate.known(&session, OBJECT, later).unwrap();
    let mechanism = Mechanism { kind: ECDSA, names: &[] };
    let place = bench.place();
    let begun =
        bench.gate.begin((place, &mut session), Function::C_SignInit, mechanism, OBJECT, (read, &subject));
    drop(begun.unwrap());
    drop(session);
    pass(399);
    assert!(again(&bench));
    pass(1);
    assert!(!again(&bench), "a second after the object was read");
}

#[test]
fn a_session_that_is_closed_takes_along_what_it_knew() {
    let bench = signing(LIFETIME_MS, vec![grant(&[Operation::Sign])]);
    let place = bench.place();
    bench.close();
    assert!(bench.sessions.opened(crate::world::SESSION, crate::world::SLOT));
    assert!(core::ptr::eq(place, bench.place()), "the same place is used again");
    assert!(!again(&bench));
    assert!(bench.resume(Function::C_Sign).is_none());
}
