//! What befalls a process whose module has a fault.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// As long as an HSM may take that is far away.
const SLOW: Duration = Duration::from_millis(300);
/// For so long a call waits for another one; it is to be no matter of luck that they meet.
const MEETING: Duration = Duration::from_secs(3);
/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(600);

/// What there is at once of the memory that a fault takes, and more than it can have.
const PART: usize = 1 << 20;
const PARTS: usize = 6 << 10;

/// Takes memory without an end, keeps it, and says whether it was stopped.
pub fn eat(function: &str) -> bool {
    if !env::var("SPY_EATS").is_ok_and(|named| named == function) {
        return false;
    }
    let mut eaten = Vec::with_capacity(PARTS);
    let is_full = (0..PARTS).any(|_| {
        let mut part = Vec::<u8>::new();
        let is_refused = part.try_reserve_exact(PART).is_err();
        eaten.push(part);
        is_refused
    });
    core::mem::forget(eaten);
    is_full
}

/// Waits for another call of `function` to come into this module, and says whether one was there or came.
pub fn meet(function: &str) -> bool {
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    static CAME: AtomicU32 = AtomicU32::new(0);
    if !env::var("SPY_MEETS").is_ok_and(|named| named == function) {
        return false;
    }
    let mine = CAME.fetch_add(1, Ordering::SeqCst);
    let others = INSIDE.fetch_add(1, Ordering::SeqCst);
    let began = Instant::now();
    let has_met = || others > 0 || CAME.load(Ordering::SeqCst) != mine + 1;
    while !has_met() && began.elapsed() < MEETING {
        thread::sleep(Duration::from_millis(1));
    }
    let has_met = has_met();
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    has_met
}

/// Does to this process what the environment says of calls of `function`.
pub fn befall(function: &str) {
    let is_named = |variable: &str| env::var(variable).is_ok_and(|named| named == function);
    if is_named("SPY_CRASH") {
        let nowhere = core::ptr::null_mut::<u8>().wrapping_add(8);
        // SAFETY: this is the fault: nothing is mapped there, and the process ends.
        unsafe { nowhere.write_volatile(0) };
    }
    if is_named("SPY_SLOW") {
        thread::sleep(SLOW);
    }
    if is_named("SPY_STALL") {
        thread::sleep(FOR_EVER);
    }
}
