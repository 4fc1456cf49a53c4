//! Clocks that cannot be read, or go backwards.

use attestation::grant::Operation;
use gate::{ObjectKind, Refusal, rules};
use pkcs11_table::Function;

use crate::world::{Bench, ECDSA, clock, key, pass, set_clock, token};

#[test]
fn nothing_is_looked_at_without_a_clock() {
    let bench = Bench::new([]);
    let now = clock();
    assert!(bench.gate.look(&mut bench.session()).is_ok());
    set_clock(now.map(|now| now - 1));
    assert_eq!(bench.gate.look(&mut bench.session()).unwrap_err(), Refusal::ClockBackwards);
    set_clock(None);
    assert_eq!(bench.gate.look(&mut bench.session()).unwrap_err(), Refusal::ClockUnreadable);
    set_clock(now);
    assert!(bench.gate.look(&mut bench.session()).is_ok(), "the time of before is the time of before");
}

#[test]
fn a_clock_that_stands_still_is_none_that_goes_backwards() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    for _ in 0..3 {
        bench.sign(ECDSA, "granted").unwrap();
        assert!(bench.resume(Function::C_Sign).unwrap().is_ok());
    }
}

#[test]
fn a_clock_that_went_backwards_denies_until_it_has_caught_up() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    let now = clock().unwrap();
    for (at, permitted) in [(now - 10, false), (now - 1, false), (now, true)] {
        set_clock(Some(at));
        assert_eq!(bench.sign(ECDSA, "granted").is_ok(), permitted, "{at}");
        assert_eq!(bench.resume(Function::C_Sign).unwrap().is_ok(), permitted, "{at}");
    }
}

#[test]
fn the_clock_is_watched_at_continuations_too() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.sign(ECDSA, "granted").unwrap();
    pass(10);
    assert!(bench.resume(Function::C_SignUpdate).unwrap().is_ok());
    set_clock(clock().map(|now| now - 5));
    let denial = bench.resume(Function::C_SignFinal).unwrap().unwrap_err();
    assert_eq!(denial.refusal(), &Refusal::ClockBackwards);
    assert_eq!(denial.refusal().code(), "clock-backwards");
}

#[test]
fn a_new_session_or_a_call_at_once_is_no_way_around_a_clock_that_went_backwards() {
    let bench = Bench::new([Ok(token(&[Operation::Sign, Operation::Destroy]))]);
    let destroy = rules::destroy(Function::C_DestroyObject, ObjectKind::PrivateKey, &key("granted"));
    bench.once(&destroy).unwrap();
    set_clock(clock().map(|now| now - 1));
    assert_eq!(bench.once(&destroy).unwrap_err().refusal(), &Refusal::ClockBackwards);
    bench.close();
    assert!(bench.sessions.opened(crate::world::SESSION, crate::world::SLOT));
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal(), &Refusal::ClockBackwards);
    pass(1);
    bench.once(&destroy).unwrap();
    bench.sign(ECDSA, "granted").unwrap();
}
