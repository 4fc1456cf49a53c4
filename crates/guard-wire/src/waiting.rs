//! How a side waits for its turn: awake as long as the other is likely to be quick, so that neither has to be woken. At first
//! it only looks; then it offers its processor between two looks to whoever else wants it, which may be the other side. Where
//! others have more to do than that, it sleeps at once: the time that a waiting thread takes from them they get back in slices
//! of milliseconds.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::slot::{Side, Sleep, Slot};

/// Longer than most signatures take; waking a sleeper takes half of it.
const AWAKE: Duration = Duration::from_micros(100);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// For so long it only looks: to offer the processor takes half a microsecond, for which the other side's turn goes unseen.
const ONLY_LOOKS: Duration = Duration::from_micros(5);
/// Whoever has the processor back sooner has offered it to nobody.
const NOBODY: Duration = Duration::from_nanos(1500);
/// So many times in a row it may be taken, then this side sleeps instead: whoever wakes it does so on a processor that is idle, if
/// there is one. Two that pass the turn to each other on one processor never leave it.
const TAKEN: u32 = 16;
/// Whoever offered the processor and was away for so long had to leave it to somebody with much to calculate.
const AWAY: Duration = Duration::from_millis(2);
/// Whoever was away for so long and offered nothing has either been interrupted, or somebody was given the processor.
const INTERRUPTED: Duration = Duration::from_micros(30);
/// For so long everybody sleeps at once then.
const REST_NS: u64 = 10_000_000;
/// For so long if it is so each time.
const LONGEST_REST_NS: u64 = 200_000_000;

/// What the threads of a process have learnt about waiting.
#[derive(Debug)]
pub struct Waiting {
    began: Instant,
    processors: usize,
    /// Threads that wait without being asleep, or are about what they have waited for.
    awake: AtomicUsize,
    /// Until then the processors are needed by others, as far as is known.
    crowded_until_ns: AtomicU64,
    /// How long that was.
    rest_ns: AtomicU64,
}

/// One side of one slot, which waits for its turn.
#[derive(Debug)]
pub struct Waiter {
    waiting: Arc<Waiting>,
    side: Side,
    is_counted: bool,
    /// It was woken, and nothing was there: it is not kept awake by that.
    was_woken_in_vain: bool,
    /// How often others were given the processor of the calling thread.
    preemptions: fn() -> u64,
    /// That number when it was last looked at.
    preempted: u64,
    /// In how many waits in a row the processor was taken when it was offered. Then it is offered before anything is looked at: it
    /// may be the other side that waits for it.
    taken: u32,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            awake: AtomicUsize::new(0),
            crowded_until_ns: AtomicU64::new(0),
            rest_ns: AtomicU64::new(REST_NS),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.count(false);
    }
}

impl Waiter {
    /// Of that side. `preemptions` tells how often others were given the processor of the thread that calls it: a machine that
    /// stands still for a moment is none that is crowded.
    pub const fn new(waiting: Arc<Waiting>, side: Side, preemptions: fn() -> u64) -> Self {
        Self {
            waiting,
            side,
            is_counted: false,
            was_woken_in_vain: false,
            preemptions,
            preempted: 0,
            taken: 0,
        }
    }

    /// Waits until it is this side's turn, at last asleep and then as long as that sleep lasts: whether it is.
    pub fn wait(&mut self, slot: &Slot<'_>, sleep: &impl Sleep) -> bool {
        let was_woken_in_vain = core::mem::take(&mut self.was_woken_in_vain);
        if slot.is_turn_of(self.side) {
            return true;
        }
        if !was_woken_in_vain {
            self.count(true);
            if self.look(slot) {
                // The guard's side is busy with the call now, the application's with what it likes.
                self.count(self.side == Side::Server);
                return true;
            }
            self.count(false);
        }
        let is_its_turn = slot.sleep_until(self.side, sleep);
        self.was_woken_in_vain = !is_its_turn;
        is_its_turn
    }

    /// Whether others were given this thread's processor since this was last asked.
    fn was_preempted(&mut self) -> bool {
        let before = core::mem::replace(&mut self.preempted, (self.preemptions)());
        self.preempted != before
    }

    fn count(&mut self, is_awake: bool) {
        match (self.is_counted, is_awake) {
            (false, true) => _ = self.waiting.awake.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.waiting.awake.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        self.is_counted = is_awake;
    }

    /// Looks until it is this side's turn, for a while, and not where somebody else needs the processor.
    fn look(&mut self, slot: &Slot<'_>) -> bool {
        if self.taken == TAKEN {
            self.taken = 0;
            return false;
        }
        let began = Instant::now();
        let mut last = began;
        // Another thread may have learnt it meanwhile.
        while last.duration_since(began) <= AWAKE && !self.waiting.is_crowded(last) {
            if self.taken == 0 && (0..LOOKS).any(|_| is_turn(slot, self.side)) {
                return true;
            }
            let now = Instant::now();
            if now.duration_since(last) > INTERRUPTED && self.was_preempted() {
                self.waiting.was_away(self.waiting.ns(now));
            }
            last = now;
            let has_looked = self.taken > 0 || now.duration_since(began) > ONLY_LOOKS;
            if has_looked && self.waiting.has_more_threads_than_processors() {
                thread::yield_now();
                last = Instant::now();
                let offered = last.duration_since(now);
                if offered > AWAY {
                    self.waiting.was_away(self.waiting.ns(last));
                }
                if offered > NOBODY {
                    self.taken += 1;
                    // What was offered was not taken against its will.
                    self.was_preempted();
                    // Where it is not, the other side has more to do than pass the turn on.
                    return slot.is_turn_of(self.side);
                }
            }
            self.taken = 0;
        }
        slot.is_turn_of(self.side)
    }
}

impl Waiting {
    /// To each that is awake belongs one at the other side.
    fn has_more_threads_than_processors(&self) -> bool {
        2 * self.awake.load(Ordering::Relaxed) > self.processors
    }

    fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_crowded(&self, now: Instant) -> bool {
        self.is_crowded_at(self.ns(now))
    }

    fn is_crowded_at(&self, now_ns: u64) -> bool {
        now_ns < self.crowded_until_ns.load(Ordering::Relaxed)
    }

    /// Soon again is longer: each time, the processor was gone for a slice. What threads learn at once counts once.
    fn was_away(&self, now_ns: u64) {
        let until_ns = self.crowded_until_ns.load(Ordering::Relaxed);
        if now_ns < until_ns {
            return;
        }
        let rest_ns = match self.rest_ns.load(Ordering::Relaxed) {
            rest_ns if until_ns > 0 && now_ns - until_ns < rest_ns => (2 * rest_ns).min(LONGEST_REST_NS),
            _ => REST_NS,
        };
        let further = now_ns.saturating_add(rest_ns);
        let learnt =
            self.crowded_until_ns.compare_exchange(until_ns, further, Ordering::Relaxed, Ordering::Relaxed);
        if learnt.is_ok() {
            self.rest_ns.store(rest_ns, Ordering::Relaxed);
        }
    }
}

fn is_turn(slot: &Slot<'_>, side: Side) -> bool {
    spin_loop();
    slot.is_turn_of(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_away_rests_and_longer_if_soon_again() {
        let waiting = Waiting::default();
        assert!(!waiting.is_crowded_at(0));
        let start = 10;
        waiting.was_away(start);
        assert!(waiting.is_crowded_at(start) && !waiting.is_crowded_at(start + REST_NS));
        waiting.was_away(start + REST_NS / 2);
        assert!(!waiting.is_crowded_at(start + REST_NS), "another thread has learnt the same");
        let again = start + REST_NS;
        waiting.was_away(again);
        assert!(waiting.is_crowded_at(again + REST_NS) && !waiting.is_crowded_at(again + 2 * REST_NS));
        let later = again + 10 * REST_NS;
        waiting.was_away(later);
        assert!(!waiting.is_crowded_at(later + REST_NS), "that was long ago");
        let mut now = later;
        for _ in 0..20 {
            now += LONGEST_REST_NS;
            waiting.was_away(now);
        }
        assert!(!waiting.is_crowded_at(now + LONGEST_REST_NS));
    }
}
