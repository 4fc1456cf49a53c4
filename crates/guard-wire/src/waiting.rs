//! How a side waits for its turn: awake as long as the other is likely to be quick, so that neither has to be woken. Where
//! others need the processors, it sleeps at once: the time that a waiting thread takes from them they get back in slices of
//! milliseconds. To yield is no middle way: whoever has something to calculate then has a slice before the other side's turn.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::slot::{Side, Sleep, Slot};

/// Longer than most signatures take; waking a sleeper takes half of it.
const AWAKE: Duration = Duration::from_micros(100);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// Whoever was away for so long had to leave the processor to somebody else: there are more of those than processors.
const AWAY: Duration = Duration::from_micros(30);
/// For so long everybody sleeps at once then.
const REST_NS: u64 = 50_000_000;
/// For so long if it is so each time.
const LONGEST_REST_NS: u64 = 1_000_000_000;

/// What the threads of a process have learnt about waiting.
#[derive(Debug)]
pub struct Waiting {
    began: Instant,
    /// Until then the processors are needed by others, as far as is known.
    crowded_until_ns: AtomicU64,
    /// How long that was.
    rest_ns: AtomicU64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { began: Instant::now(), crowded_until_ns: AtomicU64::new(0), rest_ns: AtomicU64::new(REST_NS) }
    }
}

impl Waiting {
    /// Waits until it is `side`'s turn, at last asleep and then as long as that sleep lasts: whether it is.
    pub fn wait(&self, slot: &Slot<'_>, side: Side, sleep: &impl Sleep) -> bool {
        slot.is_turn_of(side) || self.look(slot, side) || slot.sleep_until(side, sleep)
    }

    /// Looks until it is `side`'s turn, for a while, and not where somebody else needs the processor.
    fn look(&self, slot: &Slot<'_>, side: Side) -> bool {
        let began = Instant::now();
        if self.is_crowded(self.ns(began)) {
            return false;
        }
        let mut last = began;
        loop {
            for _ in 0..LOOKS {
                if slot.is_turn_of(side) {
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            if now.duration_since(last) > AWAY {
                self.was_away(self.ns(now));
                return false;
            }
            // Another thread may have learnt it meanwhile.
            if now.duration_since(began) > AWAKE || self.is_crowded(self.ns(now)) {
                return false;
            }
            last = now;
        }
    }

    fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_crowded(&self, now_ns: u64) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_away_rests_and_longer_if_soon_again() {
        let waiting = Waiting::default();
        assert!(!waiting.is_crowded(0));
        let start = 10;
        waiting.was_away(start);
        assert!(waiting.is_crowded(start) && !waiting.is_crowded(start + REST_NS));
        waiting.was_away(start + REST_NS / 2);
        assert!(!waiting.is_crowded(start + REST_NS), "another thread has learnt the same");
        let again = start + REST_NS;
        waiting.was_away(again);
        assert!(waiting.is_crowded(again + REST_NS) && !waiting.is_crowded(again + 2 * REST_NS));
        let later = again + 10 * REST_NS;
        waiting.was_away(later);
        assert!(!waiting.is_crowded(later + REST_NS), "that was long ago");
        let mut now = later;
        for _ in 0..20 {
            now += LONGEST_REST_NS;
            waiting.was_away(now);
        }
        assert!(!waiting.is_crowded(now + LONGEST_REST_NS));
    }
}
