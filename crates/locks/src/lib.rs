//! The locks of what runs in other people's processes: all their state is in themselves, and a panic does not poison
//! them.
//!
//! A process may fork while any thread is anywhere. Locks that keep their waiting threads in a table of the process
//! (`parking_lot`) leave that table locked, or full of threads that the child does not have. These are words that the
//! kernel waits on: a lock made in the child owes nothing to the parent's.

#![forbid(unsafe_code)]

use std::sync::{self, PoisonError, TryLockError};

pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// Lets one in.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

/// Lets one in who writes, or any number who read.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> Mutex<T> {
    /// Open.
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits until nobody else has it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not wait.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        at_once(self.0.try_lock())
    }
}

impl<T> RwLock<T> {
    /// Open.
    pub const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not wait.
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        at_once(self.0.try_write())
    }
}

fn at_once<G>(tried: Result<G, TryLockError<G>>) -> Option<G> {
    match tried {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics_with<G>(guard: G) {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = guard;
            panic!("while it is held");
        }));
        assert!(panicked.is_err());
    }

    #[test]
    fn a_panic_leaves_them_usable() {
        let (mutex, lock) = (Mutex::new(1), RwLock::new(1));
        panics_with(mutex.lock());
        panics_with(lock.write());
        assert_eq!(mutex.try_lock().map(|guard| *guard), Some(1));
        assert_eq!(lock.try_write().map(|guard| *guard), Some(1));
        *mutex.lock() += 1;
        *lock.write() += 1;
        assert_eq!((*mutex.lock(), *lock.read()), (2, 2));
    }

    #[test]
    fn who_does_not_wait_is_turned_away_while_they_are_held() {
        let (mutex, lock) = (Mutex::new(()), RwLock::new(()));
        let (held, read) = (mutex.lock(), lock.read());
        assert!(mutex.try_lock().is_none() && lock.try_write().is_none());
        drop((held, read));
        assert!(mutex.try_lock().is_some() && lock.try_write().is_some());
    }
}
