//! Client and guard take turns, in every order of their steps that the memory model allows: no frame is lost, taken twice or
//! taken in parts, and no side sleeps for ever.

use core::time::Duration;

use guard_wire_model::{Passed, Side, Sleep, Slot};
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// As futex(2) does it: whether the word is as expected, is looked at and slept on as one.
#[derive(Default)]
struct Futex {
    asleep: Mutex<()>,
    woken: Condvar,
}

impl Sleep for Futex {
    /// For as long as it takes, or for no time.
    fn sleep(&self, turn: &AtomicU32, expected: u32, at_most: Duration) {
        if at_most.is_zero() {
            return;
        }
        let asleep = self.asleep.lock().unwrap();
        if turn.load(Ordering::Acquire) == expected {
            drop(self.woken.wait(asleep).unwrap());
        }
    }

    fn wake(&self, _: &AtomicU32) {
        let _awake = self.asleep.lock().unwrap();
        self.woken.notify_one();
    }
}

struct Memory {
    turn: AtomicU32,
    words: Vec<AtomicU64>,
    futex: Futex,
}

impl Memory {
    fn new() -> Arc<Self> {
        let words = (0..4).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { turn: AtomicU32::new(0), words, futex: Futex::default() })
    }

    fn slot(&self) -> Slot<'_> {
        Slot::over(&self.turn, &self.words).unwrap()
    }

    /// Waits for its turn, once for too short a time, takes what is there, and puts something else in its place.
    fn exchange(&self, side: Side, expected: u8, given: u8) {
        let slot = self.slot();
        slot.sleep_until(side, &self.futex, Duration::ZERO);
        while !slot.sleep_until(side, &self.futex, Duration::MAX) {}
        let mut taken = Vec::new();
        assert_eq!(slot.take(&mut taken), Ok(Passed::Here));
        assert_eq!(taken, [expected; 16]);
        self.pass(other(side), given);
    }

    fn pass(&self, to: Side, given: u8) {
        assert!(self.slot().put(&[given; 16]));
        self.slot().pass(to, &self.futex);
    }
}

/// Every order with up to three changes between the two that neither waits for: more find nothing new in a protocol of one
/// word, and take days.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

#[test]
fn every_call_is_answered_and_nobody_sleeps_for_ever() {
    model(|| {
        let memory = Memory::new();
        let servers = Arc::clone(&memory);
        let server = thread::spawn(move || {
            servers.exchange(Side::Server, 1, 11);
            servers.exchange(Side::Server, 2, 12);
        });
        memory.pass(Side::Server, 1);
        memory.exchange(Side::Client, 11, 2);
        let slot = memory.slot();
        while !slot.sleep_until(Side::Client, &memory.futex, Duration::MAX) {}
        let mut taken = Vec::new();
        assert_eq!(slot.take(&mut taken), Ok(Passed::Here));
        assert_eq!(taken, [12; 16]);
        server.join().unwrap();
    });
}

#[test]
fn a_client_that_writes_when_it_is_not_its_turn_confuses_nobody_but_itself() {
    model(|| {
        let memory = Memory::new();
        let servers = Arc::clone(&memory);
        let server = thread::spawn(move || {
            let slot = servers.slot();
            while !slot.sleep_until(Side::Server, &servers.futex, Duration::MAX) {}
            let mut taken = Vec::new();
            // A frame of the length that was read, or an error: nothing else.
            if let Ok(Passed::Here) = slot.take(&mut taken) {
                assert!(taken.len() <= slot.room());
            }
            servers.pass(Side::Client, 11);
        });
        memory.pass(Side::Server, 1);
        memory.words[0].store(u64::MAX - 1, Ordering::Relaxed);
        memory.words[2].store(7, Ordering::Relaxed);
        let slot = memory.slot();
        while !slot.sleep_until(Side::Client, &memory.futex, Duration::MAX) {}
        server.join().unwrap();
    });
}
