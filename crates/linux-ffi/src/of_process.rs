//! What belongs to this very process: a forked child finds nothing of its parent's in its place, and makes its own.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::error::LinuxError;
use crate::fork_guard::ForkGuard;

/// The place of one value, for a `static`.
///
/// Locks in the value may be held, at the moment of a fork, by threads that the child does not have. The child therefore
/// begins with a value of its own; that of its parent is never freed there, since the thread that forked may be using it.
#[derive(Debug)]
pub struct OfProcess<T: 'static> {
    latest: AtomicPtr<Marked<T>>,
}

/// A value, and the mark of the process that made it.
#[derive(Debug)]
struct Marked<T> {
    mark: ForkGuard,
    value: T,
}

impl<T: Send + Sync> OfProcess<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { latest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value, if this process has made one.
    pub fn get(&self) -> Option<&'static T> {
        self.latest().filter(|latest| latest.mark.is_marked()).map(|latest| &latest.value)
    }

    /// The value, made where this process has none yet. `make` is given a copy of what was there when the parent forked; its
    /// locks may be held by nobody, for ever.
    ///
    /// # Errors
    /// [`LinuxError`] where the kernel gives no page that it wipes on fork.
    pub fn get_or_make(&self, make: impl Fn(Option<&T>) -> T) -> Result<&'static T, LinuxError> {
        loop {
            if let Some(value) = self.get() {
                return Ok(value);
            }
            let parents = self.latest();
            let mark = ForkGuard::new()?;
            mark.mark();
            let made =
                Box::into_raw(Box::new(Marked { mark, value: make(parents.map(|marked| &marked.value)) }));
            let expected = parents.map_or(ptr::null_mut(), |marked| ptr::from_ref(marked).cast_mut());
            if self.latest.compare_exchange(expected, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // SAFETY: `made` came from `Box::into_raw`, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }

    fn latest(&self) -> Option<&'static Marked<T>> {
        // SAFETY: the pointer is null or came from `Box::into_raw` in `get_or_make`; what has once been reachable here is
        // neither freed nor changed.
        unsafe { self.latest.load(Ordering::Acquire).as_ref() }
    }
}

impl<T: Send + Sync> Default for OfProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU32;

    use super::*;

    /// What `child` answers in a forked child.
    fn in_a_child(child: impl FnOnce() -> u8) -> i32 {
        // SAFETY: the child calls nothing but what is safe in a process of one thread, and `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let code = child();
            // SAFETY: ends the child at once, without running anything of the test harness.
            unsafe { libc::_exit(i32::from(code)) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status)
    }

    fn made(parents: Option<&u8>) -> u8 {
        parents.map_or(1, |parents| parents + 1)
    }

    #[test]
    fn each_process_has_its_own_and_is_shown_its_parents() {
        static NUMBER: OfProcess<u8> = OfProcess::new();
        assert_eq!(NUMBER.get(), None);
        assert_eq!(NUMBER.get_or_make(made).ok(), Some(&1));
        assert_eq!(NUMBER.get(), Some(&1));
        let child = || {
            let nothing = NUMBER.get().is_none();
            let own = *NUMBER.get_or_make(made).unwrap();
            let grandchild = in_a_child(|| *NUMBER.get_or_make(made).unwrap());
            u8::from(nothing && own == 2 && grandchild == 3 && NUMBER.get() == Some(&2))
        };
        assert_eq!(in_a_child(child), 1);
        let of_a_child_without = || u8::try_from(in_a_child(|| *NUMBER.get_or_make(made).unwrap())).unwrap();
        assert_eq!(in_a_child(of_a_child_without), 2, "a process in between had none");
        assert_eq!(NUMBER.get(), Some(&1));
    }

    #[test]
    fn threads_that_make_it_at_once_get_the_same() {
        static MADE: OfProcess<u32> = OfProcess::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = || *MADE.get_or_make(|_| NEXT.fetch_add(1, Ordering::SeqCst)).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(number)).collect();
            let numbers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(numbers.iter().all(|number| Some(number) == MADE.get()), "{numbers:?}");
        });
    }
}
