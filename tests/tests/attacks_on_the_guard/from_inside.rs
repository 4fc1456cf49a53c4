//! Code that gets into the approved program: it is denied at the next look, a quarter of a second later at the most.

use std::time::{Duration, Instant};

use e2e::attacked::Approved;
use e2e::compiled::compile_library;

use crate::signed::{SLACK, STANDS, Signed};

#[test]
fn code_that_comes_later_is_denied_within_a_quarter_of_a_second() {
    let approved = Approved::up();
    let library = approved.guarded.file("libprivate.so");
    compile_library("private.c", &library, &["-DNUMBER=1"]);
    let dlopen = format!("dlopen {}", library.display());
    for (attack, answer, reason) in [
        (dlopen.as_str(), "dlopen 1", "library-unknown"),
        ("anonymous", "code 42", "code-anonymous"),
        ("memfd", "code 42", "code-memfd"),
        ("patch", "code 42", "text-modified"),
    ] {
        let mut service = approved.signing();
        let began = Instant::now();
        assert_eq!(service.ask(attack), answer);
        let signed = Signed::by(&mut service, Duration::from_secs(5));
        let took = began.elapsed();
        assert_eq!(signed.rv, "0x200", "{attack}");
        assert!(took < STANDS + SLACK, "{attack}: refused after {took:?}");
        assert_eq!(service.ask("sign"), "sign 0x200", "{attack}: it stays refused");
        approved.guarded.must_have_refused(service.own_pid(), reason);
        drop(service);
        approved.must_be_permitted();
    }
    approved.guarded.must_say("a client is not what it was measured as");
}

#[test]
fn a_preloaded_library_is_denied() {
    let approved = Approved::up();
    let library = approved.guarded.file("libprivate.so");
    compile_library("private.c", &library, &["-DNUMBER=1"]);
    // The one is loaded; the other is no auditor, and was to be one.
    for (name, reason) in [("LD_PRELOAD", "library-unknown"), ("LD_AUDIT", "environment-mismatch")] {
        let mut command = approved.guarded.of_service("env");
        command.arg(format!("{name}={}", library.display())).arg(&approved.service).arg(approved.module());
        let mut service = e2e::attacked::Told::start(&mut command);
        assert_eq!(service.ask("open"), "open 0x200", "{name}");
        approved.guarded.must_have_refused(service.own_pid(), reason);
        drop(service);
        std::thread::sleep(e2e::attacked::FAILED);
    }
    approved.must_be_permitted();
}

/// The limit of looking every quarter of a second: this is here so that whoever changes it finds what has to be said otherwise.
#[test]
fn code_that_has_gone_before_the_next_look_is_not_found() {
    let approved = Approved::up();
    let mut service = approved.signing();
    let mut came_between = false;
    // A look may come in between, on a busy machine.
    for _ in 0..20 {
        // The first signature of these has been looked at, and that stands.
        std::thread::sleep(STANDS * 2);
        assert_eq!(service.ask("sign"), "sign 0x0");
        assert_eq!([service.ask("patch"), service.ask("sign")], ["code 42", "sign 0x0"]);
        assert_eq!([service.ask("unpatch"), service.ask("patched")], ["unpatched 0", "code 0"]);
        let signed = Signed::by(&mut service, STANDS * 2);
        if signed.rv == "0x0" {
            came_between = true;
            break;
        }
    }
    assert!(came_between, "code was run between two looks");
}

/// How much that is: printed, and said in `docs/LIMITATIONS.md`.
#[test]
fn so_many_operations_fit_between_two_looks() {
    let approved = Approved::up();
    let mut service = approved.signing();
    let mut most = 0;
    for _ in 0..4 {
        std::thread::sleep(STANDS * 2);
        assert_eq!(service.ask("sign"), "sign 0x0", "this one is looked at");
        let signed = Signed::by(&mut service, STANDS);
        assert_eq!(signed.rv, "0x0");
        most = most.max(signed.all);
    }
    println!("{most} signatures fit between two looks, by one thread");
    assert!((10..25_000).contains(&most), "{most}: docs/LIMITATIONS.md says thousands");
}
