//! The way in to what is initialised, without a lock: nothing is taken away while a call is inside.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use crate::counters::{CALL, Counters, IN_THE_MODULE, Tally};

/// Between two looks whether the last call has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// Leads to a value while it is open.
///
/// What a call has judged are handles, and a module gives those out anew to whoever initialises it again: it is closed
/// under no call. That makes it known, too, when nobody can reach the value any more.
#[derive(Debug)]
pub struct Entrance<T> {
    /// Null where it is closed; else from `Arc::into_raw`, and one strong count is the entrance's.
    inside: AtomicPtr<T>,
    counters: Counters,
    /// It owns what is inside.
    _owns: PhantomData<Arc<T>>,
}

/// A call that is inside, until dropped.
#[derive(Debug)]
pub struct Entered<'a, T> {
    tally: Tally<'a>,
    inside: *const T,
}

/// A call that is under way, but not in the module, until dropped.
#[derive(Debug)]
pub struct Away<'a>(Tally<'a>);

impl<T: Send + Sync> Entrance<T> {
    /// Closed.
    pub fn new() -> Self {
        Self { inside: AtomicPtr::new(ptr::null_mut()), counters: Counters::new(), _owns: PhantomData }
    }

    /// Whether calls are let in.
    pub fn is_open(&self) -> bool {
        !self.inside.load(Ordering::SeqCst).is_null()
    }

    /// Lets calls in to `value`.
    ///
    /// # Errors
    /// It is open already; `value` comes back.
    pub fn open(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let value = Arc::into_raw(value).cast_mut();
        match self.inside.compare_exchange(ptr::null_mut(), value, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            // SAFETY: from `Arc::into_raw` above, and seen by nobody.
            Err(_) => Err(unsafe { Arc::from_raw(value) }),
        }
    }

    /// Lets a call in, unless it is closed.
    pub fn enter(&self) -> Option<Entered<'_, T>> {
        let tally = self.counters.of_this_thread()?;
        // In this order, as `close` has it the other way round: one of the two sees the other.
        tally.add(CALL);
        let entered = Entered { tally, inside: self.inside.load(Ordering::SeqCst) };
        (!entered.inside.is_null()).then_some(entered)
    }

    /// Lets no more calls in, waits until none is inside, and gives the value back. `None`, and open again, where that takes
    /// longer than `patience`; `None` too where it was closed.
    pub fn close(&self, patience: Duration) -> Option<Arc<T>> {
        let inside = self.inside.swap(ptr::null_mut(), Ordering::SeqCst);
        if inside.is_null() {
            return None;
        }
        // SAFETY: from `Arc::into_raw` in `open`; the swap has taken over the entrance's count, once.
        let value = unsafe { Arc::from_raw(inside) };
        let began = Instant::now();
        while self.counters.counts().any(|count| count % IN_THE_MODULE != 0) {
            if began.elapsed() >= patience {
                // Calls are inside, so it has to stay: if somebody else has opened it meanwhile, for ever.
                if let Err(value) = self.open(value) {
                    core::mem::forget(value);
                }
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        Some(value)
    }

    /// The call that this thread is in leaves the module alone for a while.
    pub fn step_away(&self) -> Option<Away<'_>> {
        let tally = self.counters.of_this_thread()?;
        tally.take_away(IN_THE_MODULE);
        Some(Away(tally))
    }

    /// Whether some call may be in the module: a process that is forked now has a copy of the module in the middle of it.
    pub fn is_module_busy(&self) -> bool {
        self.counters.counts().any(|count| count >= IN_THE_MODULE)
    }
}

impl<T: Send + Sync> Default for Entrance<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Entrance<T> {
    fn drop(&mut self) {
        let inside = *self.inside.get_mut();
        if !inside.is_null() {
            // SAFETY: from `Arc::into_raw` in `open`, with the entrance's own count; nobody is inside, for a call borrows
            // the entrance.
            drop(unsafe { Arc::from_raw(inside) });
        }
    }
}

impl<T> Entered<'_, T> {
    /// A share of the value, for a call that must not hold up `close`.
    pub fn share(&self) -> Arc<T> {
        // SAFETY: from `Arc::into_raw` in `open`. `close` gives its count back only when this call's counter is 0 again, so
        // that there is one at least, and the one that is added here becomes that of the new `Arc`.
        unsafe {
            Arc::increment_strong_count(self.inside);
            Arc::from_raw(self.inside)
        }
    }
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: from `Arc::into_raw` in `open`, not null (`enter`). It was loaded after this call was counted, and `close`
        // gives its count back only when it has seen all counters at 0 after it closed: not before `self` is dropped.
        unsafe { &*self.inside }
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        self.tally.take_away(CALL);
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.add(IN_THE_MODULE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::counters::{OWN, SHARED};

    #[test]
    fn nothing_is_closed_under_a_call() {
        let entrance = Entrance::new();
        assert!(entrance.enter().is_none() && !entrance.is_open(), "not open yet");
        assert!(entrance.close(Duration::ZERO).is_none());
        entrance.open(Arc::new(1)).unwrap();
        assert_eq!(entrance.open(Arc::new(2)).unwrap_err(), Arc::new(2));
        let call = entrance.enter().unwrap();
        let meeting = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _call = entrance.enter();
                meeting.wait();
                meeting.wait();
            });
            meeting.wait();
            assert!(entrance.close(Duration::ZERO).is_none());
            assert_eq!(*call, 1);
            drop(call);
            assert!(entrance.close(Duration::ZERO).is_none(), "the other thread's call");
            assert!(entrance.is_open(), "what could not be closed stays open");
            meeting.wait();
        });
        assert_eq!(entrance.close(Duration::ZERO), Some(Arc::new(1)));
        assert!(entrance.enter().is_none());
        entrance.open(Arc::new(3)).unwrap();
        assert_eq!(*entrance.enter().unwrap(), 3);
    }

    #[test]
    fn a_call_that_steps_away_is_under_way_but_not_in_the_module() {
        let entrance = Entrance::new();
        entrance.open(Arc::new(())).unwrap();
        assert!(!entrance.is_module_busy());
        let call = entrance.enter().unwrap();
        assert!(entrance.is_module_busy());
        let away = entrance.step_away().unwrap();
        assert!(!entrance.is_module_busy());
        assert!(entrance.close(Duration::ZERO).is_none());
        drop(away);
        assert!(entrance.is_module_busy());
        drop(call);
        assert!(!entrance.is_module_busy());
        assert!(entrance.close(Duration::ZERO).is_some());
    }

    #[test]
    fn the_value_goes_with_its_last_holder_and_no_sooner() {
        let value = Arc::new(());
        let entrance = Entrance::new();
        entrance.open(Arc::clone(&value)).unwrap();
        let shared = entrance.enter().unwrap().share();
        assert_eq!(Arc::strong_count(&value), 3);
        drop(entrance.close(Duration::ZERO).expect("a share holds up nobody"));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(shared);
        entrance.open(Arc::clone(&value)).unwrap();
        drop(entrance);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// More than there are counters are inside at once; each is waited for.
    #[test]
    fn more_threads_than_have_a_counter_of_their_own_are_counted() {
        const THREADS: usize = OWN + 3 * SHARED;
        let entrance = Entrance::new();
        entrance.open(Arc::new(())).unwrap();
        let (inside, leave) = (Barrier::new(THREADS + 1), Barrier::new(2));
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..THREADS)
                .map(|number| {
                    let (entrance, inside, leave) = (&entrance, &inside, &leave);
                    scope.spawn(move || {
                        let call = entrance.enter().unwrap();
                        inside.wait();
                        if number == THREADS - 1 {
                            leave.wait();
                        }
                        drop(call);
                    })
                })
                .collect();
            inside.wait();
            let mut callers = callers.into_iter();
            let last = callers.next_back().unwrap();
            callers.for_each(|caller| caller.join().unwrap());
            assert!(entrance.is_module_busy() && entrance.close(Duration::ZERO).is_none());
            leave.wait();
            last.join().unwrap();
        });
        assert!(!entrance.is_module_busy() && entrance.close(Duration::ZERO).is_some());
    }

    #[test]
    fn threads_that_come_and_go_meet_the_value_whole_or_not_at_all() {
        struct Whole(AtomicBool);
        impl Drop for Whole {
            fn drop(&mut self) {
                self.0.store(false, Ordering::SeqCst);
            }
        }
        let entrance = Entrance::<Whole>::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        while !done.load(Ordering::SeqCst) {
                            if let Some(inside) = entrance.enter() {
                                assert!(inside.0.load(Ordering::SeqCst));
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..50 {
                assert!(entrance.open(Arc::new(Whole(AtomicBool::new(true)))).is_ok());
                while entrance.close(Duration::from_secs(60)).is_none() {}
            }
            done.store(true, Ordering::SeqCst);
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }
}
