//! The last report, before the process ends.

use attestation::grant::Operation;

use crate::world::{Bench, ECDSA, LIFETIME_MS, pass, refused, set_clock, token, token_with, unavailable};

#[test]
fn who_has_nothing_to_report_asks_nothing() {
    let bench = Bench::new([Ok(token(&[Operation::Sign]))]);
    bench.gate.say_farewell();
    assert_eq!(bench.asked(), 0);
    bench.sign(ECDSA, "granted").unwrap();
    bench.gate.say_farewell();
    assert_eq!(bench.asked(), 1);
}

#[test]
fn what_was_refused_is_delivered_once_and_within_bounds() {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), Ok(token(&[Operation::Sign]))]);
    let refused = bench.sign(ECDSA, "other").unwrap_err();
    bench.gate.say_farewell();
    {
        let asked = bench.world.asked.lock();
        let [_, farewell] = asked.as_slice() else { panic!("{asked:?}") };
        let reported: Vec<_> = farewell.report.decisions.iter().map(|decision| decision.id).collect();
        assert_eq!((reported, farewell.report.lost), (vec![refused.id()], 0));
        assert_eq!(farewell.within_ms, Some(500));
        assert_eq!(farewell.beyond_ms, u64::MAX, "a token from a file would deliver nothing");
    }
    bench.gate.say_farewell();
    assert_eq!(bench.asked(), 2);
}

#[test]
fn what_cannot_be_delivered_waits_on() {
    let bench = Bench::new([Ok(token_with(vec![])), Err(unavailable()), Ok(token_with(vec![]))]);
    bench.sign(ECDSA, "other").unwrap_err();
    bench.gate.say_farewell();
    bench.gate.say_farewell();
    let asked = bench.world.asked.lock();
    let reported: Vec<_> = asked.iter().map(|request| request.report.decisions.len()).collect();
    assert_eq!(reported, [0, 1, 1]);
}

#[test]
fn without_a_clock_there_is_no_farewell() {
    let bench = Bench::new([Ok(token_with(vec![]))]);
    bench.sign(ECDSA, "other").unwrap_err();
    set_clock(None);
    bench.gate.say_farewell();
    assert_eq!(bench.asked(), 1);
}

#[test]
fn what_the_server_itself_refused_is_nothing_to_report() {
    let bench = Bench::new([Err(refused(0x10))]);
    bench.sign(ECDSA, "granted").unwrap_err();
    bench.gate.say_farewell();
    assert_eq!(bench.asked(), 1);
}

#[test]
fn a_process_that_goes_on_after_its_farewell_has_what_came_of_it() {
    let bench = Bench::new([Ok(token(&[Operation::Sign])), Err(refused(0x10))]);
    bench.sign(ECDSA, "granted").unwrap();
    bench.sign(ECDSA, "other").unwrap_err();
    bench.gate.say_farewell();
    assert!(bench.resume(pkcs11_table::Function::C_Sign).unwrap().is_err(), "the token was withdrawn");
    assert_eq!(bench.sign(ECDSA, "granted").unwrap_err().refusal().code(), "library-unknown");
    pass(LIFETIME_MS);
    bench.world.answers.lock().push_back(Ok(token(&[Operation::Sign])));
    bench.sign(ECDSA, "granted").unwrap();
}
