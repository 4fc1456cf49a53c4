//! Whoever asks without end keeps itself waiting, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cryptoki_sys::*;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::processes::eventually;
use e2e::stack::build;
use e2e::{Approval, Guarded, Probe};
use serde_json::json;

const STRANGER: u32 = 65_533;
/// So many attestations wait at any time.
const FLOOD: usize = 24;
/// After it a process whose attestation has failed is attested again.
const FAILED: Duration = Duration::from_millis(1100);

/// A process of the user's that measures like no other.
fn probe_of(guarded: &Guarded, uid: u32, argument: &str) -> Probe {
    let program = guarded.install(&build().join("probe"), "signer");
    let mut command = guarded.client_as(uid, "trustshim-clients", program);
    command.arg(guarded.shim()).arg(argument);
    Probe::spawn(command)
}

/// What a login gives, for which the process has to be attested.
fn login(probe: &mut Probe) -> u64 {
    let slot = probe.slot("sandbox").unwrap();
    let session = probe.open(slot);
    let login = json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") });
    probe.call("C_Login", login).rv
}

#[test]
fn a_user_who_has_himself_attested_without_end_keeps_no_other_from_its_token() {
    let mut guarded = Guarded::up();
    // One attestation after the other takes a third of a second.
    guarded.spy(&[("SPY_SLOW", "C_Sign")]);
    let mut first = guarded.probe("signer");
    first.initialize();
    assert_eq!(login(&mut first), CKR_FUNCTION_REJECTED);
    guarded.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));

    let (attested, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let flood: Vec<_> = (0..FLOOD)
        .map(|number| {
            let mut probe = probe_of(&guarded, STRANGER, &number.to_string());
            let (attested, is_over) = (Arc::clone(&attested), Arc::clone(&is_over));
            thread::spawn(move || {
                probe.initialize();
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(login(&mut probe), CKR_FUNCTION_REJECTED);
                    attested.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(FAILED);
                }
            })
        })
        .collect();
    let count = || attested.load(Ordering::Relaxed);
    eventually("the flood", || count() >= 4);
    for round in 0..3 {
        let before = count();
        let mut probe = probe_of(&guarded, e2e::guarded::CLIENT, &format!("round {round}"));
        probe.initialize();
        assert_eq!(login(&mut probe), CKR_OK);
        let others = count() - before;
        println!("{others} attestations of another user went before");
        assert!(others <= FLOOD / 3, "{others}");
    }
    is_over.store(true, Ordering::Relaxed);
    for flood in flood {
        flood.join().unwrap();
    }
}
