//! Hostile frames, by hand and from a user without any approval: the connection that they come over is closed, and nobody
//! else notices. Over the socket; those in memory are in `slots.rs`.

use std::time::Duration;

use e2e::attacked::Approved;
use e2e::client::run;
use e2e::compiled::compile;

use crate::signed::Signed;

/// What is sent, how often, and whether that is answered; else the connection is closed. What is neither within the time that
/// the attacker waits is not closed by the guard: it is the client's own connection, and its own worker.
const CLOSED: &str = "closed";
const ANSWERED: &str = "answered";
const NEITHER: &str = "neither";

fn must_become(approved: &Approved, kinds: &[(&str, u32, &str)]) {
    beside_a_client(approved, || {
        for (kind, times, fate) in kinds {
            let said = attack(approved, "hostile", kind, *times);
            assert!(said.contains(&format!("{fate} {times}")), "{kind}: {said}");
        }
    });
}

/// What `tests/programs/attacks/PROGRAM.c` says that has carried out an attack of this kind.
pub(crate) fn attack(approved: &Approved, program: &str, kind: &str, times: u32) -> String {
    let path = approved.guarded.file(program);
    if !path.exists() {
        compile(&format!("attacks/{program}.c"), &path, &["-pthread"]);
    }
    let mut command = approved.guarded.of_user(e2e::attacked::STRANGER, &path);
    command.arg(approved.guarded.socket()).arg(kind).arg(times.to_string());
    run(&mut command).must_succeed().text()
}

/// Attacks while another client signs, which has to go on, as the guard has.
pub(crate) fn beside_a_client(approved: &Approved, attacks: impl FnOnce()) {
    let guard = approved.guarded.guard_pid();
    let mut service = approved.signing();
    service.tell("sign-on 3000");
    attacks();
    let signed = Signed::of(&service.hear());
    assert!(signed.rv == "0x0" && signed.all > 10, "{} then {}", signed.all, signed.rv);
    assert_eq!(service.ask("sign"), "sign 0x0", "the other client goes on");
    approved.must_be_permitted();
    let said = approved.guarded.said();
    assert!(!said.contains("panicked") && !said.contains("has ended before its client"), "{said}");
    assert_eq!(approved.guarded.guard_pid(), guard);
}

#[test]
fn frames_of_strangers_close_their_connection_and_nothing_else() {
    must_become(
        &Approved::up(),
        &[
            ("random", 30, CLOSED),
            ("truncated", 3, CLOSED),
            ("oversized", 4, CLOSED),
            ("version", 3, CLOSED),
            ("code", 10, CLOSED),
            ("length", 5, CLOSED),
            ("two", 3, CLOSED),
            ("descriptor", 3, CLOSED),
            // It is told that the nonce is not there.
            ("address", 6, ANSWERED),
        ],
    );
}

#[test]
fn frames_of_clients_close_their_connection_and_nothing_else() {
    must_become(
        &Approved::up(),
        &[
            ("calls-random", 20, CLOSED),
            ("calls-likely", 40, CLOSED),
            ("calls-truncated", 3, CLOSED),
            ("calls-oversized", 3, CLOSED),
            ("calls-code", 8, CLOSED),
            ("calls-lying", 5, CLOSED),
            ("calls-descriptor", 3, CLOSED),
            ("calls-more", 1, CLOSED),
            ("calls-ahead", 3, ANSWERED),
            ("calls-unread", 3, ANSWERED),
            ("calls-stalled", 3, NEITHER),
        ],
    );
}

/// One frame of sixteen megabytes, and what the kernel keeps between the two for each connection.
#[test]
fn who_has_no_trust_token_has_no_more_than_one_large_frame_taken() {
    let approved = Approved::up();
    beside_a_client(&approved, || {
        let said = attack(&approved, "hostile", "calls-crowd", 1);
        let sent = said.lines().next().and_then(|line| line.strip_prefix("sent ")?.parse::<usize>().ok());
        let sent = sent.unwrap_or_else(|| panic!("{said}"));
        assert!((16 << 20..32 << 20).contains(&sent), "{sent}");
    });
}

/// Each within ten seconds, on a connection that may be idle for as long as it likes.
#[test]
fn who_does_not_go_on_with_a_frame_is_closed() {
    must_become(&Approved::up(), &[("calls-begun", 2, CLOSED), ("calls-out-of-band", 1, CLOSED)]);
}

/// Who connects and says nothing, or half of it, is closed after five seconds; meanwhile the others are served.
#[test]
fn whoever_is_slow_holds_nobody_up() {
    let approved = Approved::up();
    let began = std::time::Instant::now();
    must_become(&approved, &[("silent", 1, CLOSED), ("stalled", 1, CLOSED), ("out-of-band", 1, CLOSED)]);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());

    // As many as a user may have.
    let hostile = approved.guarded.file("hostile");
    let mut holding = Vec::new();
    for _ in 0..100 {
        let mut command = approved.guarded.of_user(e2e::attacked::STRANGER, &hostile);
        command.arg(approved.guarded.socket()).args(["silent", "3"]).stdout(std::process::Stdio::null());
        holding.push(command.spawn().unwrap());
    }
    let began = std::time::Instant::now();
    approved.must_be_permitted();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for mut child in holding {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
