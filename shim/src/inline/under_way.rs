//! Which calls are under way: the library is finalised under none of them. What a call has judged are handles, and the
//! real module gives those out anew to whoever initialises it again.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Threads are spread over so many counters, so that hardly two of them write to the same.
const COUNTERS: usize = 64;
/// Between two looks whether the last call has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

/// The entrance of an instance.
#[derive(Debug)]
pub(super) struct UnderWay {
    open: AtomicBool,
    counters: [Counter; COUNTERS],
}

/// A call that is under way, until dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a AtomicUsize);

impl UnderWay {
    /// Closed.
    pub(super) fn new() -> Self {
        Self { open: AtomicBool::new(false), counters: core::array::from_fn(|_| Counter::default()) }
    }

    /// Whether calls are let in.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Lets calls in.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Lets a call in, unless it is closed.
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        let counter = &self.counters.get(own_counter())?.0;
        // In this order, as `close` has it the other way round: one of the two sees the other.
        counter.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(counter);
        self.is_open().then_some(entered)
    }

    /// Lets no more calls in, and waits until none is under way. False, and open again, where that takes longer than
    /// `patience`.
    pub(super) fn close(&self, patience: Duration) -> bool {
        self.open.store(false, Ordering::SeqCst);
        let began = Instant::now();
        while self.counters.iter().any(|counter| counter.0.load(Ordering::SeqCst) != 0) {
            if began.elapsed() >= patience {
                self.open();
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The counter of this thread.
fn own_counter() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    // Where a thread is so far gone that it has no memory of its own any more, any counter will do.
    OWN.try_with(|own| {
        own.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS;
            own.set(Some(number));
            number
        })
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_closed_under_a_call() {
        let under_way = UnderWay::new();
        assert!(under_way.enter().is_none(), "not open yet");
        under_way.open();
        let call = under_way.enter().unwrap();
        let other = std::thread::scope(|scope| scope.spawn(|| under_way.enter()).join().unwrap());
        assert!(!under_way.close(Duration::ZERO));
        drop(call);
        assert!(!under_way.close(Duration::ZERO), "the other thread's call");
        assert!(under_way.is_open(), "what could not be closed stays open");
        drop(other);
        assert!(under_way.close(Duration::ZERO));
        assert!(under_way.enter().is_none());
        under_way.open();
        assert!(under_way.enter().is_some());
    }

    #[test]
    fn threads_that_come_and_go_meet_the_library_open_or_not_at_all() {
        let under_way = UnderWay::new();
        let initialised = AtomicBool::new(false);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        while !done.load(Ordering::SeqCst) {
                            if let Some(_call) = under_way.enter() {
                                assert!(initialised.load(Ordering::SeqCst));
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..50 {
                initialised.store(true, Ordering::SeqCst);
                under_way.open();
                while !under_way.close(Duration::from_secs(60)) {}
                initialised.store(false, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }
}
