//! The connection in the wrong hands: of a child, of a program that was executed, of another process. It is closed, and says
//! why; nobody signs on it.

use std::thread;
use std::time::Duration;

use e2e::attacked::{Approved, Guarded, Told};
use e2e::attacked::{FAILED, SERVICE, STRANGER};

use crate::signed::{SLACK, STANDS};

const OTHER: &str = "it came from another process";
const EXECUTED: &str = "the nonce is not in the process's memory";
/// What an attacker says whose connection was closed before it had any answer.
const CLOSED: &str = "held info -1 signed 0";

/// Connection, session and key of the approved program, as numbers.
fn handles(service: &mut Told) -> [String; 3] {
    let line = service.ask("handles");
    let words: Vec<&str> = line.split(' ').collect();
    assert_ne!(words[0], "-1", "it has a connection");
    [0, 1, 2].map(|index| words[index].to_owned())
}

#[test]
fn a_child_and_a_sibling_do_not_use_what_is_their_parents() {
    let approved = Approved::up();
    let mut service = approved.signing();
    assert_eq!(service.ask("fork"), "child 0x190", "to the shim, the child is not initialised");
    assert_eq!(service.ask("sign"), "sign 0x0");
    drop(service);
    for attack in ["fork-raw", "sibling"] {
        let mut service = approved.signing();
        assert_eq!(service.ask("raw"), "raw 0x0", "the process itself may, by the same frames");
        assert_eq!(service.ask(attack), "child closed");
        assert_eq!(service.ask("sign"), "sign 0x32", "{attack}: nor does anybody else use it after that");
    }
    approved.guarded.must_say(OTHER);
    approved.must_be_permitted();
}

#[test]
fn a_connection_that_was_handed_on_is_closed() {
    let approved = Approved::up();
    for user in [SERVICE, STRANGER] {
        let mut service = approved.signing();
        let [_, session, key] = handles(&mut service);
        let place = approved.guarded.meeting_place().join(format!("socket-{user}"));
        let place = place.to_str().unwrap();
        let mut receiver = approved.guarded.of_user(user, &approved.attacker);
        let receiver = Told::start(receiver.args(["receive", place, &session, &key]));
        assert_eq!(receiver.hear(), "listening");
        assert_eq!(service.ask(&format!("pass {place}")), "passed");
        let said = receiver.hear();
        assert!(said.contains(CLOSED), "{said}");
        assert_eq!(service.ask("sign"), "sign 0x32");
    }
    approved.guarded.must_say(OTHER);
    approved.must_be_permitted();
}

#[test]
fn a_connection_is_not_opened_by_its_number_and_a_stolen_one_is_closed() {
    let approved = Approved::up();
    let mut service = approved.signing();
    let (pid, [connection, session, key]) = (service.own_pid().to_string(), handles(&mut service));
    for (user, expected) in [(STRANGER, "Permission denied"), (SERVICE, "No such device or address")] {
        let said = approved.attack(user, &["open-fd", &pid, &connection]).must_succeed().text();
        assert!(said.contains(expected), "{said}");
    }
    let steal =
        |user| approved.attack(user, &["steal", &pid, &connection, &session, &key]).must_succeed().text();
    let said = steal(STRANGER);
    assert!(said.contains("Operation not permitted"), "{said}");
    assert_eq!(service.ask("sign"), "sign 0x0", "nothing has happened to it");
    // Prevented where Yama forbids it, closed where the kernel hands it out.
    let said = steal(SERVICE);
    assert!(said.contains("Operation not permitted") || said.contains(CLOSED), "{said}");
    approved.must_be_permitted();
}

#[test]
fn a_program_that_was_executed_does_not_use_what_was_there_before() {
    let approved = Approved::up();
    let attacker = approved.attacker.to_str().unwrap();
    let mut service = approved.signing();
    assert_eq!(
        service.ask(&format!("exec-closed {attacker} kept")),
        "kept Bad file descriptor info -1 signed 0 within 0 then -1",
        "the shim's connections close themselves"
    );
    let mut service = approved.signing();
    let said = service.ask(&format!("exec {attacker} kept"));
    assert!(said.contains(CLOSED), "{said}");
    // The same program with the same arguments is another process to the guard, too.
    let mut service = approved.signing();
    service.tell(&format!("exec {} {}", approved.service.display(), approved.module().display()));
    let said = service.ask("kept");
    assert!(said.contains(CLOSED), "{said}");
    assert_eq!([service.ask("open"), service.ask("sign")], ["open 0x0", "sign 0x0"], "it begins anew");
    approved.guarded.must_say(EXECUTED);
}

/// Where a sibling keeps the memory, the nonce stays: the next look finds the other program. It takes the approved program's
/// own help.
#[test]
fn a_program_that_was_executed_beside_a_sibling_has_no_more_than_a_quarter_of_a_second() {
    let approved = Approved::up();
    let mut service = approved.signing();
    let pid = service.own_pid();
    let said = service.ask(&format!("exec-sibling {}", approved.attacker.display()));
    // kept held info 0 signed N within MS then RV
    let words: Vec<&str> = said.split(' ').collect();
    let within = Duration::from_millis(words[7].parse().unwrap());
    assert!(within < STANDS + SLACK, "{said}");
    assert!(["-1", "512"].contains(&words[9]), "{said}");
    approved.guarded.must_say("the process has executed another program since it has connected");
    assert!(approved.guarded.log().iter().any(|line| line["pid"] == pid), "its refusal is in the log");
    approved.must_be_permitted();
}

#[test]
fn whoever_has_the_number_of_a_process_that_has_ended_is_not_taken_for_it() {
    let approved = Approved::up();
    let mut service = approved.signing();
    let [_, session, key] = handles(&mut service);
    let pid = service.own_pid().to_string();
    let place = approved.guarded.meeting_place().join("socket");
    let place = place.to_str().unwrap();
    let mut waiting = approved.guarded.of_user(SERVICE, &approved.attacker);
    let waiting = Told::start(waiting.args(["again", &pid, place, &session, &key]));
    assert_eq!(waiting.hear(), "listening");
    assert_eq!(service.ask(&format!("pass {place}")), "passed");
    assert_eq!(waiting.hear(), "waiting");
    drop(service);
    let said = waiting.hear();
    assert!(said.starts_with("again") && said.contains(CLOSED), "{said}");
    approved.must_be_permitted();
}

#[test]
fn who_connects_and_becomes_another_program_is_not_taken_for_it() {
    // The child has the socket, or memory for frames besides; it uses neither.
    for memory in [false, true] {
        let guarded = Guarded::up();
        if !memory {
            guarded.restart_with(e2e::attacked::by_socket);
        }
        let approved = Approved::on(guarded, &[]);
        // Where the approved program has the place for what it is handed, when its addresses are not chosen at random.
        let mut still = approved.guarded.of_service("setarch");
        let mut still = Told::start(still.arg("-R").arg(&approved.service).arg(approved.module()));
        let place = still.ask("where").split(' ').nth(2).unwrap().to_owned();
        still.end();
        let used = format!("welcome memory {} info -1 then -1", u32::from(memory));
        let said = relayed(&approved, &place, None);
        assert!(said.contains("turned") || said.contains(&used), "{said}");
        let guard = approved.guarded.guard_pid();
        approved.guarded.signal(guard, "STOP");
        let said = relayed(&approved, &place, Some(guard));
        assert!(said.contains(&used), "the nonce is there, and who has the connection is not: {said}");
        approved.guarded.must_say(OTHER);
        thread::sleep(FAILED);
        approved.must_be_permitted();
    }
}

/// A child of the one that has connected, which becomes the approved program, has that program say what it wants.
fn relayed(approved: &Approved, place: &str, stopped: Option<u32>) -> String {
    let mut command = approved.guarded.of_service(&approved.attacker);
    command
        .arg("relay")
        .arg(approved.guarded.socket())
        .arg(place)
        .arg(&approved.service)
        .arg(approved.module());
    let running = thread::spawn(move || e2e::client::run(&mut command));
    if let Some(guard) = stopped {
        // The approved program runs before the guard looks for the first time.
        thread::sleep(Duration::from_millis(500));
        approved.guarded.signal(guard, "CONT");
    }
    running.join().unwrap().all_text()
}

/// The memory for frames does not say who writes to it, and the nonce stays in what the sibling has: but it is not in what the
/// process has that is measured.
#[test]
fn who_leaves_its_memory_to_a_sibling_and_becomes_the_approved_program_is_not_taken_for_it() {
    let approved = Approved::on(Guarded::up(), &[]);
    let mut command = approved.guarded.of_service("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(&approved.attacker).arg("usurp");
    command.arg(approved.guarded.socket()).arg(&approved.service).arg(approved.module());
    let usurper = Told::start(&mut command);
    let said = usurper.hear();
    assert!(["sibling 0x200", "sibling 0xffffffffffffffff"].contains(&said.as_str()), "{said}");
    drop(usurper);
    thread::sleep(FAILED);
    approved.must_be_permitted();
}
