//! How many calls are under way: each thread counts its own where only it writes, so that none waits for another.

use core::hint::cold_path;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many counters belong to one thread each, which nobody else writes to: to the first thread that came by there. One that
/// begins when it has ended has its place in memory as a rule, and its counter with it.
pub(crate) const OWN: usize = 128;
/// In so many of them a thread looks for its own.
const WAYS: usize = 4;
/// Threads that find none share so many more.
pub(crate) const SHARED: usize = 16;

/// Counts the calls that are under way in its lower half, and in its upper half those of them that may be in the module: one
/// addition for both. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter {
    count: AtomicU64,
    /// The thread that it belongs to; 0 where it belongs to none.
    owner: AtomicU64,
}

pub(crate) const IN_THE_MODULE: u64 = 1 << 32;
pub(crate) const CALL: u64 = 1 | IN_THE_MODULE;

/// What a thread counts its calls with. It stays with that thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally<'a> {
    count: &'a AtomicU64,
    /// Nobody else writes to it.
    is_own: bool,
    _of_this_thread: PhantomData<*const ()>,
}

/// Of one entrance.
#[derive(Debug)]
pub(crate) struct Counters {
    own: [Counter; OWN],
    shared: [Counter; SHARED],
}

impl Counter {
    const fn tally(&self, is_own: bool) -> Tally<'_> {
        Tally { count: &self.count, is_own, _of_this_thread: PhantomData }
    }
}

impl Tally<'_> {
    /// Adds before anything that follows is read.
    pub(crate) fn add(self, what: u64) {
        if self.is_own {
            self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(what), Ordering::SeqCst);
        } else {
            cold_path();
            self.count.fetch_add(what, Ordering::SeqCst);
        }
    }

    /// Takes away once all that went before is done. Where nobody else writes, nothing has to be waited for: to add waits for
    /// everything that the module has written meanwhile to get out of the processor, which is the dearest part of a cheap call.
    pub(crate) fn take_away(self, what: u64) {
        if self.is_own {
            self.count.store(self.count.load(Ordering::Relaxed).wrapping_sub(what), Ordering::Release);
        } else {
            cold_path();
            self.count.fetch_sub(what, Ordering::Release);
        }
    }
}

impl Counters {
    /// Nothing is under way.
    pub(crate) fn new() -> Self {
        Self {
            own: core::array::from_fn(|_| Counter::default()),
            shared: core::array::from_fn(|_| Counter::default()),
        }
    }

    /// That of this thread: the same whenever it asks, since none is given back.
    #[inline]
    pub(crate) fn of_this_thread(&self) -> Option<Tally<'_>> {
        let thread = linux_ffi::this_thread();
        // Fibonacci hashing: these are addresses that lie apart by the size of a stack.
        let place = (thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let counter = self.own.get(place % OWN)?;
        if counter.owner.load(Ordering::Relaxed) == thread {
            return Some(counter.tally(true));
        }
        cold_path();
        match self.claim(place, thread) {
            Some(counter) => Some(counter.tally(true)),
            None => self.shared.get(place % SHARED).map(|counter| counter.tally(false)),
        }
    }

    /// A counter that belongs to this thread, from now on if from no sooner.
    #[inline(never)]
    fn claim(&self, place: usize, thread: u64) -> Option<&Counter> {
        let mut near = (0..WAYS).filter_map(|way| self.own.get((place + way) % OWN));
        near.find(|Counter { owner, .. }| match owner.load(Ordering::Relaxed) {
            // A handler of a signal to this very thread may have been quicker.
            0 => match owner.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(other) => other == thread,
            },
            other => other == thread,
        })
    }

    /// What they count.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.own.iter().chain(&self.shared).map(|counter| counter.count.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_have_ended_leave_counters_to_those_that_come() {
        let counters = Counters::new();
        for _ in 0..4 * OWN {
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(counters.of_this_thread().is_some()));
            });
        }
        let taken = counters.own.iter().filter(|counter| counter.owner.load(Ordering::Relaxed) != 0).count();
        assert!((1..OWN).contains(&taken), "{taken}");
    }

    #[test]
    fn a_thread_takes_away_from_the_counter_that_it_has_added_to() {
        let counters = Counters::new();
        // All that it may have but the last are another's.
        let thread = linux_ffi::this_thread();
        let first = counters.of_this_thread().unwrap();
        let place =
            counters.own.iter().position(|counter| counter.owner.load(Ordering::Relaxed) == thread).unwrap();
        for way in 0..WAYS - 1 {
            counters.own[(place + way) % OWN].owner.store(thread + 1, Ordering::Relaxed);
        }
        let second = counters.of_this_thread().unwrap();
        assert!(second.is_own && !core::ptr::eq(first.count, second.count));
        second.add(CALL);
        counters.of_this_thread().unwrap().take_away(CALL);
        assert_eq!(counters.counts().max(), Some(0));
        counters.own[(place + WAYS - 1) % OWN].owner.store(thread + 1, Ordering::Relaxed);
        let third = counters.of_this_thread().unwrap();
        assert!(!third.is_own);
        third.add(CALL);
        assert_eq!(counters.counts().max(), Some(CALL));
        counters.of_this_thread().unwrap().take_away(CALL);
        assert_eq!(counters.counts().max(), Some(0));
    }
}
