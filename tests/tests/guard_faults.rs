//! Faults of the parts: whoever is concerned gets a clean error and can begin anew, everybody else is served as before.

use std::time::{Duration, Instant};

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::processes::{children, eventually, is_alive};
use e2e::{Approval, Guarded, Probe};
use serde_json::{Value, json};

/// A program that is approved for signatures with `demo-ec`. Its probes have sessions of their own.
fn approve(guarded: &Guarded, name: &str) {
    let mut probe = guarded.probe(name);
    probe.initialize();
    let slot = probe.slot("sandbox").unwrap();
    let session = probe.open(slot);
    let login = json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") });
    assert_eq!(probe.call("C_Login", login).rv, CKR_FUNCTION_REJECTED);
    guarded.approve_last(&Approval::of(name, DEMO_EC, "sign"));
}

#[track_caller]
fn signs(guarded: &Guarded, probe: &mut Probe, session: u64) {
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    let rv = probe.call("C_SignInit", json!({ "session": session, "mechanism": CKM_ECDSA, "key": key })).rv;
    assert_eq!(rv, CKR_OK, "{:#?}", guarded.log().last());
    let signature = probe.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) }));
    assert_eq!(signature.bytes("output").len(), 64);
}

/// Every function answers that what the process had of the token is gone.
fn must_be_gone(probe: &mut Probe, session: u64) {
    for (function, arguments) in [
        ("C_GetSessionInfo", json!({ "session": session })),
        ("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) })),
        ("C_GetSlotList", json!({})),
    ] {
        assert_eq!(probe.call(function, arguments).rv, CKR_DEVICE_REMOVED, "{function}");
    }
}

#[test]
fn a_vendors_module_that_crashes_takes_one_client_along() {
    let mut guarded = Guarded::up();
    guarded.spy(&[("SPY_CRASH", "C_SeedRandom")]);
    approve(&guarded, "signer");
    let mut other = guarded.probe("signer");
    let others_session = other.session();
    signs(&guarded, &mut other, others_session);
    let mut struck = guarded.probe("signer");
    for finalize in [true, false] {
        let session = struck.session();
        signs(&guarded, &mut struck, session);
        let crash = json!({ "session": session, "seed": "01" });
        assert_eq!(struck.call("C_SeedRandom", crash).rv, CKR_DEVICE_REMOVED);
        must_be_gone(&mut struck, session);
        if finalize {
            struck.must("C_Finalize", json!({}));
            let arguments = json!({ "session": session });
            assert_eq!(struck.call("C_GetSessionInfo", arguments).rv, CKR_CRYPTOKI_NOT_INITIALIZED);
        }
    }
    // The third life of one process; the session of the other is the one that it had.
    let session = struck.session();
    signs(&guarded, &mut struck, session);
    signs(&guarded, &mut other, others_session);
    let log = guarded.application_log();
    assert_eq!(events(&log, "guard-gone"), 2, "{log:#?}");
    struck.must("C_Finalize", json!({}));
    eventually("workers for the other and for the next", || guarded.role("worker").len() == 2);
}

fn events(log: &[Value], event: &str) -> usize {
    log.iter().filter(|line| line["event"] == event).count()
}

/// Its calls go over the socket, and it says so once.
#[test]
fn a_process_that_cannot_share_memory_is_served_all_the_same() {
    let guarded = Guarded::up();
    let application = guarded.approved_application();
    for (scene, unshared) in [("sign", 0), ("without-seals", 1)] {
        let mut command = guarded.scene(&application, &[scene]);
        if scene == "without-seals" {
            // The filter is part of what is measured.
            assert!(run(&mut command).must_fail().all_text().contains("0x200"));
            guarded.approve_last(&Approval::of("unsealed", DEMO_EC, "sign").with(&["--any-arguments"]));
        }
        let before = events(&guarded.application_log(), "memory-not-shared");
        assert_eq!(run(&mut command).must_succeed().text(), "signed\n");
        assert_eq!(events(&guarded.application_log(), "memory-not-shared") - before, unshared, "{scene}");
    }
}

#[test]
fn a_guard_that_is_started_again_serves_the_same_application() {
    let mut guarded = Guarded::up();
    approve(&guarded, "signer");
    let mut probe = guarded.probe("signer");
    for finalize in [true, false] {
        let session = probe.session();
        signs(&guarded, &mut probe, session);
        let workers = guarded.role("worker");
        if finalize {
            guarded.stop("guard")
        } else {
            guarded.kill("guard")
        }
        must_be_gone(&mut probe, session);
        // None of its processes outlives it, and what they know.
        eventually("the end of the workers", || !workers.iter().any(|worker| is_alive(*worker)));
        if finalize {
            probe.must("C_Finalize", json!({}));
        }
        assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR);
        guarded.start("guard");
    }
    let session = probe.session();
    signs(&guarded, &mut probe, session);
}

#[test]
fn a_client_that_is_killed_in_the_middle_leaves_nothing_behind() {
    let mut guarded = Guarded::up();
    guarded.spy(&[("SPY_STALL", "C_DigestKey")]);
    approve(&guarded, "signer");
    eventually("only a worker for the next client", || guarded.role("worker").len() == 1);
    for stalled in [false, true] {
        let mut probe = guarded.probe("signer");
        let session = probe.session();
        let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
        probe.must("C_SignInit", json!({ "session": session, "mechanism": CKM_ECDSA, "key": key }));
        if stalled {
            // The vendor's module never returns: only an end of the worker ends that call.
            let request = json!({ "call": "C_DigestKey", "session": session, "key": key });
            probe.must("thread", json!({ "request": request }));
            std::thread::sleep(Duration::from_millis(200));
        }
        eventually("two workers", || guarded.role("worker").len() == 2);
        let descriptors = descriptors(guarded.pid("guard"));
        // The probe is killed.
        drop(probe);
        let began = Instant::now();
        eventually("one worker", || guarded.role("worker").len() == 1);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let guard = guarded.pid("guard");
        eventually("the guard's descriptors", || self::descriptors(guard) < descriptors);
    }
    let mut probe = guarded.probe("signer");
    let session = probe.session();
    signs(&guarded, &mut probe, session);
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the guard").count()
}

#[test]
fn an_attester_or_a_measurer_that_has_ended_is_started_again() {
    let guarded = Guarded::up();
    approve(&guarded, "signer");
    eventually("only a worker for the next client", || guarded.role("worker").len() == 1);
    let probes = guarded.role("worker");
    let mut probe = guarded.probe("signer");
    let session = probe.session();
    signs(&guarded, &mut probe, session);
    for role in ["attester", "measurer", "worker"] {
        for process in guarded.role(role).into_iter().filter(|process| !probes.contains(process)) {
            // It may be ending by itself, as that of a client that has left.
            run(e2e::root::as_root("kill").args(["-KILL", &process.to_string()]));
            eventually("its end", || !is_alive(process));
        }
        let mut next = guarded.probe("signer");
        let session = next.session();
        signs(&guarded, &mut next, session);
    }
    signs(&guarded, &mut probe, session);
    assert!(!children(guarded.pid("guard")).is_empty());
}

#[test]
fn without_the_guard_there_is_nothing_and_the_log_says_why() {
    let mut guarded = Guarded::up();
    approve(&guarded, "signer");
    let initialize = |group: &str, expected: &str| {
        let lines = guarded.application_log().len();
        let mut command = guarded.client_in(group, guarded.file("signer"));
        command.arg(guarded.shim());
        let mut probe = Probe::spawn(command);
        let began = Instant::now();
        assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR);
        assert_eq!(probe.call("C_GetSlotList", json!({})).rv, CKR_CRYPTOKI_NOT_INITIALIZED);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let log = guarded.application_log();
        let line = &log[lines..];
        assert_eq!(line.len(), 1, "{line:#?}");
        assert!(line[0].to_string().contains(expected), "{line:#?}");
        assert!(line[0].to_string().contains("guard.sock"), "{line:#?}");
    };
    initialize("nogroup", "is this user in the group that the guard serves?");
    let killed = guarded.pid("guard");
    run(e2e::root::as_root("kill").args(["-KILL", &killed.to_string()])).must_succeed();
    eventually("its end", || !is_alive(killed));
    // The socket is there, and nobody listens.
    initialize("trustshim-clients", "does trustshim-guard run?");
    run(e2e::root::as_root("rm").arg(guarded.directory().join("guard.sock"))).must_succeed();
    initialize("trustshim-clients", "does trustshim-guard run?");
    guarded.start("guard");
    let mut probe = guarded.probe("signer");
    let session = probe.session();
    signs(&guarded, &mut probe, session);
}
