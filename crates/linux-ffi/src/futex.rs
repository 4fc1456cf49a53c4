//! Waiting for another process at a word of shared memory.

use core::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

/// Sleeps while `word` is `expected`, at most for `time`; it may also return without a reason.
pub fn sleep_while(word: &AtomicU32, expected: u32, time: Duration) {
    let time =
        Timespec { tv_sec: time.as_secs().try_into().unwrap_or(1), tv_nsec: time.subsec_nanos().into() };
    // Why it returned does not matter: the caller looks at the word.
    let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&time));
}

/// Wakes one that sleeps at `word`, in whatever process.
pub fn wake(word: &AtomicU32) {
    // Where nobody sleeps, nobody is woken; there is nothing else that can go wrong with a word of our own.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}
