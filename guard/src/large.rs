//! Memory for frames that are larger than usual, of all connections of one process together: a part for each, and who finds
//! none left waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use guard_wire::{HEADER, MAX_BODY};
use locks::Mutex;

use crate::error::GuardError;

/// Of a process that has a trust token, in bytes.
const TRUSTED: usize = 128 << 20;
/// Of any other: one frame at a time. What is free takes no trust token, such as verifying a document by a public key.
const ANYBODYS: usize = HEADER + MAX_BODY;
/// How long a frame may wait for its part.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of it is in use, and whose it is.
#[derive(Debug, Default)]
pub(crate) struct Large {
    used: Mutex<usize>,
    freed: Condvar,
    /// Until then there is a trust token, `CLOCK_BOOTTIME` in milliseconds.
    trusted_until_ms: AtomicU64,
}

/// A part of it, until dropped.
#[derive(Debug)]
pub(crate) struct Part {
    of: Arc<Large>,
    bytes: usize,
}

impl Large {
    /// The process has a trust token until then; 0 is none any more.
    pub(crate) fn trust_until(&self, boottime_ms: u64) {
        self.trusted_until_ms.store(boottime_ms, Ordering::Release);
    }

    /// As much as a frame states that it has, all at once: frames that each have a half would wait for each other.
    pub(crate) fn part(self: &Arc<Self>, bytes: usize) -> Result<Part, GuardError> {
        self.part_within(bytes, PATIENCE)
    }

    fn part_within(self: &Arc<Self>, bytes: usize, time: Duration) -> Result<Part, GuardError> {
        let is_full = |used: &mut usize| used.saturating_add(bytes) > self.most();
        let waited = self.freed.wait_timeout_while(self.used.lock(), time, is_full);
        let (mut used, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(GuardError::TooMuchAtOnce);
        }
        *used += bytes;
        Ok(Part { of: Arc::clone(self), bytes })
    }

    fn most(&self) -> usize {
        let until_ms = self.trusted_until_ms.load(Ordering::Acquire);
        // A clock that cannot be read trusts nobody.
        let is_trusted = linux_ffi::boottime_ms().is_ok_and(|now_ms| now_ms < until_ms);
        if is_trusted { TRUSTED } else { ANYBODYS }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut used = self.of.used.lock();
        *used = used.saturating_sub(self.bytes);
        drop(used);
        self.of.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const MIB: usize = 1 << 20;
    const AT_ONCE: Duration = Duration::ZERO;

    fn has_room(large: &Arc<Large>, bytes: usize) -> bool {
        large.part_within(bytes, AT_ONCE).is_ok()
    }

    #[test]
    fn who_has_no_trust_token_has_one_large_frame_at_a_time() {
        let large = Arc::<Large>::default();
        let largest = large.part_within(ANYBODYS, AT_ONCE).unwrap();
        assert!(!has_room(&large, 65 << 10));
        drop(largest);
        let parts = [9, 7].map(|mib| large.part_within(mib * MIB, AT_ONCE).unwrap());
        assert!(!has_room(&large, MIB));
        drop(parts);
        assert!(has_room(&large, ANYBODYS), "all of it was given back");
    }

    #[test]
    fn who_has_one_has_more_until_it_ends() {
        let large = Arc::<Large>::default();
        large.trust_until(u64::MAX);
        let parts: Vec<_> = (0..8).map(|_| large.part_within(16 * MIB, AT_ONCE).unwrap()).collect();
        assert!(!has_room(&large, 65 << 10));
        drop(parts);
        for ended_ms in [0, 1] {
            large.trust_until(ended_ms);
            let _one = large.part_within(16 * MIB, AT_ONCE).unwrap();
            assert!(!has_room(&large, MIB));
        }
    }

    #[test]
    fn who_finds_nothing_left_waits_for_it() {
        let large = Arc::<Large>::default();
        let first = large.part(ANYBODYS).unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let large = Arc::clone(&large);
                thread::spawn(move || large.part(ANYBODYS).map(drop))
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        assert!(waiting.iter().all(|thread| !thread.is_finished()));
        drop(first);
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap().is_ok()));
        assert!(has_room(&large, ANYBODYS));
    }
}
