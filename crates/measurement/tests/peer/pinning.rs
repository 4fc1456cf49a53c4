//! Who is measured is who has connected, and nobody in its place: not after exec, not with its number, not with its socket.

use std::path::Path;

use attestation::digest::Digest;
use measurement::MeasurementError;
use measurement::peer::{Confirmed, Connected, Pinned};

use crate::stage::{Client, Stage, WAYS, component, measure};

fn is_missing<T: std::fmt::Debug>(result: Result<T, MeasurementError>) {
    assert!(matches!(result, Err(MeasurementError::NonceMissing)), "{result:?}");
}

fn has_ended<T: std::fmt::Debug>(result: Result<T, MeasurementError>) {
    assert!(matches!(result, Err(MeasurementError::Ended)), "{result:?}");
}

fn nothing_is_found(confirmed: &Confirmed, check: impl Fn(Result<Digest, MeasurementError>)) {
    check(confirmed.holds().map(|()| Digest::of(b"")));
    check(confirmed.look(&[]));
    check(measure(confirmed, &[]).map(|measurement| measurement.state));
}

#[test]
fn who_has_connected_and_answers_is_measured() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let connected = client.connected(way).unwrap();
        assert_eq!(connected.credentials().pid, client.child.id());
        let confirmed = client.confirmed(way).unwrap();
        confirmed.holds().unwrap();
        assert_eq!(confirmed.pinned().pid(), client.child.id());
        assert_eq!(component(&confirmed).executable.path, stage.program.to_str().unwrap());
    }
}

#[test]
fn nothing_is_left_of_a_process_that_executes_a_program_be_it_the_same() {
    let stage = Stage::new();
    for way in WAYS {
        for program in [stage.program.as_path(), Path::new("/usr/bin/sleep")] {
            let mut client = stage.start();
            let confirmed = client.confirmed(way).unwrap();
            assert_eq!(client.tell(&format!("execute {}", program.display())), "executing");
            wait_until(|| confirmed.holds().is_err());
            nothing_is_found(&confirmed, is_missing);
            assert!(confirmed.pinned().is_alive().unwrap());
        }
    }
}

#[test]
fn a_program_executed_between_connection_and_answer_does_not_get_its_predecessors_place() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let pinned = client.connected(way).unwrap().pin().unwrap();
        assert_eq!(client.tell(&format!("execute {}", stage.program.display())), "executing");
        // The new program answers as it should, with its own memory.
        let (address, nonce) = client.challenge();
        is_missing(pinned.confirm(address, nonce));
    }
}

#[test]
fn a_program_executed_while_a_sibling_shares_the_memory_is_seen_at_the_next_look() {
    let stage = Stage::new();
    let mut client = stage.start();
    let confirmed = client.confirm();
    let before = confirmed.look(&[]).unwrap();
    client.tell(&format!("executes-with-sibling {}", stage.program.display()));
    // It answers, so it has executed the program.
    client.tell("text");
    match confirmed.look(&[]) {
        Ok(state) => assert_ne!(state, before),
        other => is_missing(other),
    }
}

#[test]
fn a_process_that_has_ended_is_found_by_none_of_its_holds() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let (connected, pinned) =
            (client.connected(way).unwrap(), client.connected(way).unwrap().pin().unwrap());
        let confirmed = client.confirmed(way).unwrap();
        let (address, nonce) = client.challenge();
        client.end();
        has_ended(client.connected(way));
        has_ended(connected.pin());
        assert!(!pinned.is_alive().unwrap());
        has_ended(Pinned::from_parts(client_parts(&confirmed)));
        has_ended(pinned.confirm(address, nonce));
        nothing_is_found(&confirmed, has_ended);
    }
}

fn client_parts(confirmed: &Confirmed) -> measurement::peer::Parts {
    measurement::peer::Parts {
        pid: confirmed.pinned().pid(),
        pidfd: confirmed.pinned().pidfd().try_clone_to_owned().unwrap(),
        memory: confirmed.pinned().memory().try_clone_to_owned().unwrap(),
    }
}

#[test]
fn a_later_process_with_the_same_number_is_not_taken_for_the_first() {
    let stage = Stage::new();
    for (way, is_by_number) in WAYS.into_iter().zip([false, true]) {
        let mut client = stage.start();
        let connected = client.connected(way).unwrap();
        let confirmed = client.confirmed(way).unwrap();
        client.end();
        // Start times are in hundredths of a second.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let namesake = Namesake::start(client.child.id());
        assert!(Path::new(&format!("/proc/{}/maps", namesake.pid)).exists());
        match connected.pin() {
            Err(MeasurementError::NumberReused) if is_by_number => {}
            other => has_ended(other),
        }
        nothing_is_found(&confirmed, has_ended);
        // A hold that the kernel gives for the socket is of the one that has connected.
        if !is_by_number {
            has_ended(client.connected(way));
        }
    }
}

/// A process whose number is chosen (`clone3` with `set_tid`), killed at the end.
struct Namesake {
    pid: libc::pid_t,
}

impl Namesake {
    fn start(pid: u32) -> Self {
        let pid = libc::pid_t::try_from(pid).unwrap();
        // SAFETY: all zeros are valid arguments, of a plain fork.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.set_tid = (&raw const pid).expose_provenance() as u64;
        arguments.set_tid_size = 1;
        // SAFETY: as fork; the child only waits, and ends without returning.
        let child =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
        if child == 0 {
            // SAFETY: both take numbers.
            unsafe {
                libc::sleep(60);
                libc::_exit(0)
            }
        }
        assert_eq!(child, i64::from(pid), "{}", std::io::Error::last_os_error());
        Self { pid }
    }
}

impl Drop for Namesake {
    fn drop(&mut self) {
        // SAFETY: kills and waits for our own child.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

#[test]
fn a_forked_child_cannot_answer_for_its_parent() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let pinned = client.connected(way).unwrap().pin().unwrap();
        let child = client.tell("fork");
        assert_ne!(child, client.child.id().to_string());
        let (address, nonce) = client.challenge();
        is_missing(pinned.confirm(address, nonce));
    }
}

#[test]
fn a_child_that_keeps_the_socket_of_a_parent_that_has_ended_is_nobody() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let pinned = client.connected(way).unwrap().pin().unwrap();
        client.tell("fork-and-exit");
        client.child.wait().unwrap();
        has_ended(client.connected(way));
        let (address, nonce) = client.challenge();
        has_ended(pinned.confirm(address, nonce));
    }
}

#[test]
fn a_child_that_keeps_the_socket_of_a_parent_that_executes_a_program_does_not_have_the_nonce() {
    let stage = Stage::new();
    for way in WAYS {
        let mut client = stage.start();
        let confirmed = client.confirmed(way).unwrap();
        client.tell("fork-and-execute /usr/bin/sleep");
        wait_until(|| confirmed.holds().is_err());
        nothing_is_found(&confirmed, is_missing);
    }
}

#[test]
fn a_nonce_in_another_processs_memory_is_not_found() {
    let stage = Stage::new();
    let (mut client, mut accomplice) = (stage.start(), stage.start());
    for way in WAYS {
        let pinned = client.connected(way).unwrap().pin().unwrap();
        // The other one is told the nonce, and where it is there is what the client says.
        let (address, nonce) = accomplice.challenge();
        is_missing(pinned.confirm(address, nonce));
        let pinned = client.connected(way).unwrap().pin().unwrap();
        let (address, nonce) = client.challenge();
        for address in [0, 1, address + 1, u64::MAX, u64::MAX - 31, 1 << 63] {
            let again = client.connected(way).unwrap().pin().unwrap();
            is_missing(again.confirm(address, nonce));
        }
        pinned.confirm(address, nonce).unwrap();
    }
}

#[test]
fn parts_that_are_handed_on_are_the_same_process() {
    let stage = Stage::new();
    let mut client: Client = stage.start();
    let pinned = client.connected(Connected::of).unwrap().pin().unwrap();
    let (address, nonce) = client.challenge();
    let handed = Pinned::from_parts(pinned.into_parts()).unwrap().confirm(address, nonce).unwrap();
    assert_eq!(component(&handed).executable.path, stage.program.to_str().unwrap());
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never happened");
}
