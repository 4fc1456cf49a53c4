//! Hostile use of the memory that the guard shares with a client: the client's own connection is closed, or its own call
//! answered, and nobody else notices. And nobody else gets to that memory.

use std::env;

use e2e::attacked::{Approved, Guarded, SERVICE, STRANGER};
use e2e::processes::eventually;

use crate::frames::{attack, beside_a_client};

/// Seconds that bits are flipped, in place of a few.
const SECONDS: &str = "TRUSTSHIM_FLIP_SECONDS";

fn with_memory() -> Approved {
    let guarded = Guarded::up();
    // Workers have an environment of their own. Where the guard is built for AddressSanitizer, they are to end at once.
    if let Ok(options) = env::var("ASAN_OPTIONS") {
        let with = format!("worker_environment = {{ ASAN_OPTIONS = \"{options}\", ");
        guarded.restart_with(|text| text.replace("worker_environment = { ", &with));
    }
    Approved::on(guarded, &[])
}

/// How many connections were closed, calls answered, and how many were neither.
fn fates(said: &str) -> [u32; 3] {
    let line = said.lines().last().unwrap_or_default();
    let numbers = line.split(' ').filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{said}"))
}

#[test]
fn frames_in_memory_that_are_none_close_their_connection_and_nothing_else() {
    let approved = with_memory();
    beside_a_client(&approved, || {
        for (kind, times) in [
            ("lengths", 40),
            ("lying", 8),
            ("lying-inside", 6),
            ("random", 20),
            ("empty", 2),
            ("again", 2),
            ("other-by-socket", 4),
            ("unplaced", 2),
            ("dying", 12),
        ] {
            let said = attack(&approved, "slot", kind, times);
            assert_eq!(fates(&said), [times, 0, 0], "{kind}: {said}");
        }
        let said = attack(&approved, "slot", "good", 3);
        assert_eq!(fates(&said), [0, 3, 0], "what is in order is answered: {said}");
    });
    eventually("the end of the workers", || approved.guarded.workers() == 1);
}

#[test]
fn turns_that_are_none_harm_their_connection_and_nothing_else() {
    let approved = with_memory();
    beside_a_client(&approved, || {
        for (kind, times) in [("turns", 12), ("unread", 6)] {
            let said = attack(&approved, "slot", kind, times);
            assert!(matches!(fates(&said), [_, _, 0]), "{kind}: closed, or good for another call: {said}");
        }
        // It waits for itself, and has other connections.
        let said = attack(&approved, "slot", "silent", 3);
        assert_eq!(fates(&said), [0, 0, 3], "{said}");
    });
    eventually("the end of the workers", || approved.guarded.workers() == 1);
}

#[test]
fn bits_that_are_flipped_during_a_call_harm_their_connection_and_nothing_else() {
    const PART: usize = 60;
    let seconds: usize = env::var(SECONDS).map_or(5, |seconds| seconds.parse().expect("seconds"));
    let approved = with_memory();
    // In parts: between two of them, another client has to be served.
    for began in (0..seconds).step_by(PART) {
        beside_a_client(&approved, || {
            let said = attack(&approved, "slot", "flipping", PART.min(seconds - began) as u32);
            println!("{}", said.trim());
            assert_eq!(fates(&said), [0, 1, 0], "{said}");
            assert!(
                !said.contains(": 0 answered") && !said.contains(", 0 closed"),
                "not as it is meant: {said}"
            );
        });
        let said = approved.guarded.said();
        assert!(!said.contains("AddressSanitizer"), "{said}");
    }
    eventually("the end of the workers", || approved.guarded.workers() == 1);
}

#[test]
fn the_memory_is_not_opened_by_any_name_of_it() {
    let approved = with_memory();
    let mut service = approved.signing();
    let pid = service.own_pid().to_string();
    for user in [STRANGER, SERVICE] {
        let said = approved.attack(user, &["open-memory", &pid]).must_succeed().text();
        println!("{user}: {}", said.trim());
        let is_seen = user == SERVICE;
        // Its own user sees where it is mapped; no descriptor of it is left, and the mapping is not to be opened.
        assert!(said.contains(&format!("mapped {} descriptors 0 opened 0", u32::from(is_seen))), "{said}");
    }
    assert_eq!(service.ask("sign"), "sign 0x0");
    // The control: what has kept its descriptor has a name.
    let kept = approved.attack(SERVICE, &["open-kept-memory"]).must_succeed().text();
    assert!(kept.contains("descriptors 1 opened 1"), "{kept}");
}
