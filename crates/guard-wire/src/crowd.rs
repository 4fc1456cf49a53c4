//! What the threads of a process know of others that need the processors: nobody stays awake in their way.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// So many times as long as somebody else had a processor, a slice for each that waits for it: others are to get their share, and
/// to try again costs as much.
const RESTS: u64 = 4;
/// For no longer, also if it is so each time.
const LONGEST_REST_NS: u64 = 200_000_000;

/// What they have learnt.
#[derive(Debug)]
pub struct Crowd {
    began: Instant,
    processors: usize,
    /// Threads that wait without being asleep, or whose call is under way.
    at_work: AtomicUsize,
    /// Until then there are more threads at work than processors, as far as is known.
    shared_until_ns: AtomicU64,
    /// Until then the processors are needed by others, as far as is known.
    crowded_until_ns: AtomicU64,
    /// How long that was.
    rest_ns: AtomicU64,
}

impl Default for Crowd {
    fn default() -> Self {
        Self::on(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Crowd {
    /// For so long everybody sleeps at once where this process alone has more threads at work than there are processors: then it
    /// is looked again.
    pub(crate) const SHARED: Duration = Duration::from_millis(2);

    /// Of a process that may run on so many processors.
    pub(crate) fn on(processors: usize) -> Self {
        Self {
            began: Instant::now(),
            processors,
            at_work: AtomicUsize::new(0),
            shared_until_ns: AtomicU64::new(0),
            crowded_until_ns: AtomicU64::new(0),
            rest_ns: AtomicU64::new(0),
        }
    }

    /// Threads that are at work.
    pub(crate) fn at_work(&self) -> usize {
        self.at_work.load(Ordering::Relaxed)
    }

    /// A thread is at work from now on, or is not.
    pub(crate) fn count(&self, is_at_work: bool) {
        if is_at_work {
            self.at_work.fetch_add(1, Ordering::Relaxed);
        } else {
            self.at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether there is one: to each thread that is at work belongs one at the other side.
    pub(crate) fn is_there(&self, now: Instant) -> bool {
        let now_ns = self.ns(now);
        if self.is_until(now_ns) || now_ns < self.shared_until_ns.load(Ordering::Relaxed) {
            return true;
        }
        let is_crowded = 2 * self.at_work() > self.processors;
        if is_crowded {
            let shared_ns = u64::try_from(Self::SHARED.as_nanos()).unwrap_or(u64::MAX);
            self.shared_until_ns.fetch_max(now_ns.saturating_add(shared_ns), Ordering::Relaxed);
        }
        is_crowded
    }

    fn is_until(&self, now_ns: u64) -> bool {
        now_ns < self.crowded_until_ns.load(Ordering::Relaxed)
    }

    /// Somebody was woken on another processor than it had fallen asleep on: one that was idle. Else the guard's thread would follow
    /// its client from processor to processor, and drive it away by that.
    pub(crate) fn has_room(&self) {
        if self.crowded_until_ns.load(Ordering::Relaxed) > 0 {
            self.crowded_until_ns.fetch_min(self.ns(Instant::now()), Ordering::Relaxed);
        }
    }

    /// Soon again is longer. What threads learn at once counts once.
    pub(crate) fn was_away(&self, since: Instant, now: Instant) {
        self.was_away_ns(self.ns(since), self.ns(now));
    }

    fn was_away_ns(&self, since_ns: u64, now_ns: u64) {
        let until_ns = self.crowded_until_ns.load(Ordering::Relaxed);
        if now_ns < until_ns {
            return;
        }
        let before_ns = self.rest_ns.load(Ordering::Relaxed);
        let again_ns = if now_ns - until_ns < before_ns { 2 * before_ns } else { 0 };
        let rest_ns =
            now_ns.saturating_sub(since_ns).saturating_mul(RESTS).max(again_ns).min(LONGEST_REST_NS);
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
        const AWAY: u64 = 3_000_000;
        const REST: u64 = RESTS * AWAY;
        let crowd = Crowd::default();
        assert!(!crowd.is_until(0));
        let start = 10 * AWAY;
        crowd.was_away_ns(start - AWAY, start);
        assert!(crowd.is_until(start) && !crowd.is_until(start + REST));
        crowd.was_away_ns(start - AWAY, start + REST / 2);
        assert!(!crowd.is_until(start + REST), "another thread has learnt the same");
        let again = start + REST + AWAY;
        crowd.was_away_ns(again - AWAY, again);
        assert!(crowd.is_until(again + REST) && !crowd.is_until(again + 2 * REST));
        let later = again + 5 * REST;
        crowd.was_away_ns(later - AWAY, later);
        assert!(!crowd.is_until(later + REST), "that was long ago");
        let mut now = later;
        for _ in 0..20 {
            now += LONGEST_REST_NS;
            crowd.was_away_ns(now - AWAY, now);
        }
        assert!(!crowd.is_until(now + LONGEST_REST_NS));
    }
}
