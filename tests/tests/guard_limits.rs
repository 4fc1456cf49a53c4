//! Limits of the guard: whoever takes much is stopped at a bound of its own, and everybody else is served.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use e2e::Guarded;
use e2e::client::run;
use e2e::compiled::compile;
use e2e::processes::eventually;
use serde_json::json;

/// A process that has connected as often as it could, and keeps its connections until it is dropped.
struct Flood(Child);

impl Flood {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.trim().parse::<u32>().unwrap() > 1_000, "{line}");
        Self(child)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn thousands_of_connections_of_one_user_keep_nobody_else_out() {
    let guarded = Guarded::up();
    let application = guarded.approved_application();
    let flood = compile("flood.c", &guarded.file("flood"), &[]);
    let socket = guarded.directory().join("guard.sock");
    for bytes in ["0", "7"] {
        let floods: Vec<_> = (0..3)
            .map(|_| {
                let mut command = guarded.client_as(65_533, "trustshim-clients", &flood);
                command.arg(&socket).args(["2000", bytes]);
                Flood::of(command)
            })
            .collect();
        let began = Instant::now();
        for _ in 0..3 {
            run(&mut guarded.scene(&application, &["sign"])).must_succeed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(floods);
    }
    // What they have left is gone: no thread waits for what never comes.
    let threads = || std::fs::read_dir(format!("/proc/{}/task", guarded.pid("guard"))).unwrap().count();
    eventually("the end of the connections", || threads() < 20);
    eventually("one worker", || guarded.role("worker").len() == 1);
}

#[test]
fn a_user_with_as_many_processes_as_it_may_have_is_told_so() {
    let guarded = Guarded::up_with(|text| text.replace("group =", "max_processes_per_user = 2\ngroup ="));
    let _first = initialized(&guarded, 65_534);
    let second = initialized(&guarded, 65_534);
    let mut third = guarded.probe("probe");
    assert_eq!(third.call("C_Initialize", json!({})).rv, CKR_HOST_MEMORY);
    let log = guarded.application_log();
    let line = log.last().unwrap().to_string();
    assert!(line.contains("as many processes as it may"), "{line}");
    // Another user is none of its business, and who leaves makes room.
    let _other = initialized(&guarded, 65_533);
    drop(second);
    eventually("room", || third.call("C_Initialize", json!({})).rv == CKR_OK);
}

#[test]
fn a_user_whose_processes_come_too_fast_is_slowed_down_then_refused_and_nobody_else_is() {
    const CROWD: usize = 12;
    let guarded = Guarded::up_with(|text| {
        format!("{text}\n[guard.limits]\nstarts_at_once = 2\nstarts_per_second = 1\n")
    });
    let program = guarded.install(&e2e::stack::build().join("probe"), "probe");
    let probe_of = |uid: u32| {
        let mut command = guarded.client_as(uid, "trustshim-clients", &program);
        command.arg(guarded.shim());
        e2e::Probe::spawn(command)
    };
    let initialize = |probe: &mut e2e::Probe| probe.call("C_Initialize", json!({})).rv;
    let mut crowd: Vec<_> = (0..CROWD).map(|_| probe_of(65_534)).collect();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = crowd.iter_mut().map(|probe| scope.spawn(move || initialize(probe))).collect();
        // Meanwhile, of another user.
        assert_eq!(initialize(&mut probe_of(65_533)), CKR_OK);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |code: u64| codes.iter().filter(|other| **other == code).count();
    let (served, refused) = (count(CKR_OK), count(CKR_HOST_MEMORY));
    // Two at once, of which one may be used up, and whoever waits for its turn no longer than three seconds.
    assert!((4..CROWD).contains(&served) && served + refused == CROWD, "{codes:x?}");
    let log = guarded.application_log();
    assert!(
        log.iter().any(|line| line.to_string().contains("come faster than the guard lets them in")),
        "{log:#?}"
    );
    let said = std::fs::read_to_string(guarded.file("guard.out")).unwrap();
    assert_eq!(said.matches("come faster").count(), 1, "{said}");
    // Whoever is refused comes in when it has become quiet.
    let turned = codes.iter().position(|code| *code == CKR_HOST_MEMORY).unwrap();
    eventually("its turn", || initialize(&mut crowd[turned]) == CKR_OK);
}

fn initialized(guarded: &Guarded, uid: u32) -> e2e::Probe {
    let program = guarded.install(&e2e::stack::build().join("probe"), "probe");
    let mut command = guarded.client_as(uid, "trustshim-clients", program);
    command.arg(guarded.shim());
    let mut probe = e2e::Probe::spawn(command);
    // Whoever has just left counts until its worker has ended.
    eventually("room", || probe.call("C_Initialize", json!({})).rv == CKR_OK);
    probe
}

#[test]
fn one_process_has_as_many_sessions_as_it_may() {
    let mut guarded = Guarded::up();
    let application = guarded.application();
    let played = run(&mut guarded.scene(&application, &["sessions", "2000"])).must_succeed().text();
    assert_eq!(played.trim(), format!("1024 sessions, then {CKR_SESSION_COUNT:#x}"));
    guarded.reconfigure(|text| text.replace("group =", "max_sessions = 7\ngroup ="));
    let played = run(&mut guarded.scene(&application, &["sessions", "2000"])).must_succeed().text();
    assert_eq!(played.trim(), format!("7 sessions, then {CKR_SESSION_COUNT:#x}"));
}

/// Digests take no grant: two of these do not fit into what a process without a trust token may send at once.
#[test]
fn large_frames_of_a_process_without_a_trust_token_are_answered_one_after_the_other() {
    const THREADS: usize = 3;
    let mut guarded = Guarded::up();
    for transport in ["shared-memory", "socket"] {
        if transport == "socket" {
            guarded.reconfigure(|text| text.replace("[guard]\n", "[guard]\ntransport = \"socket\"\n"));
        }
        let mut probe = initialized(&guarded, 65_534);
        let slot = probe.slot("sandbox").unwrap();
        let data = "00".repeat(9 << 20);
        for _ in 0..THREADS {
            let session = probe.open(slot);
            probe.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
            let request = json!({ "call": "C_Digest", "session": session, "input": data, "output_len": 32 });
            probe.must("thread", json!({ "request": request }));
        }
        for thread in 0..THREADS {
            let digest = probe.must("join", json!({ "thread": thread }));
            assert_eq!(digest.bytes("output").len(), 32, "{transport}");
        }
    }
}

#[test]
fn more_threads_than_connections_share_them() {
    let mut guarded = Guarded::up();
    guarded.reconfigure(|text| text.replace("group =", "max_connections = 3\ngroup ="));
    let application = guarded.approved_application();
    for threads in ["1", "64"] {
        println!("{threads} threads: {}", crowd(&guarded, &application, threads, "10").text().trim());
    }
}

fn crowd(guarded: &Guarded, application: &Path, threads: &str, each: &str) -> e2e::Finished {
    run(&mut guarded.scene(application, &["crowd", threads, each])).must_succeed()
}

/// Twenty processes of SoftHSM itself that log in at once make an empty token: the workers take turns at it.
#[test]
fn two_hundred_processes_of_four_threads_are_served_at_once() {
    const PROCESSES: usize = 200;
    let mut guarded = Guarded::up();
    guarded.stop("guard");
    guarded.start("guard");
    let application = guarded.approved_application();
    let mut command = guarded.scene(&application, &["gathering", &PROCESSES.to_string(), "4"]);
    let mut crowd = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut tell = crowd.stdin.take().unwrap();
    let mut says = BufReader::new(crowd.stdout.take().unwrap()).lines();
    assert_eq!(says.next().unwrap().unwrap(), format!("{PROCESSES} processes are there"));
    tell.write_all(b"\n").unwrap();
    let signed = says.next().expect("all of them sign").unwrap();
    println!("{signed}");
    assert!(signed.starts_with(&format!("{PROCESSES} processes have signed")), "{signed}");
    // None has had to leave for another; and they measure alike: one token for all.
    assert!(guarded.role("worker").len() >= PROCESSES);
    assert_eq!(guarded.tokens_of("application"), 1);
    tell.write_all(b"\n").unwrap();
    assert!(crowd.wait().unwrap().success());
    eventually("one worker", || guarded.role("worker").len() == 1);
}
