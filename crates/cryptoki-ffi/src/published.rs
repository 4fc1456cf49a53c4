//! A value that every thread reads without a lock, and that stays readable after it has been replaced.

use std::sync::atomic::{AtomicPtr, Ordering};

/// Holds the current value, if there is one.
///
/// What is replaced is not freed: a thread may still be reading it, also in a forked child, where nobody can tell.
/// It is meant for values that change a few times in a process's life.
pub struct Published<T> {
    current: AtomicPtr<T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Holds nothing yet.
    pub const fn new() -> Self {
        Self { current: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// The current value.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: the pointer is null or came from `Box::into_raw` in `publish`; nobody frees or mutates behind it.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Makes `value` the current one, and gives it back.
    pub fn publish(&self, value: Box<T>) -> &'static T {
        let value = Box::into_raw(value);
        self.current.store(value, Ordering::Release);
        // SAFETY: just made from a box; nobody frees or mutates behind it.
        unsafe { &*value }
    }
}

impl<T: Send + Sync + 'static> Default for Published<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_replaced_under_its_readers_stays_readable() {
        static CURRENT: Published<Vec<u8>> = Published::new();
        assert!(CURRENT.get().is_none());
        CURRENT.publish(Box::new(vec![0]));
        let first = CURRENT.get().unwrap();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                thread::spawn(|| {
                    let mut latest = 0;
                    while latest < 20 {
                        let seen = CURRENT.get().unwrap()[0];
                        assert!(seen >= latest, "{seen} after {latest}");
                        latest = seen;
                        thread::yield_now();
                    }
                })
            })
            .collect();
        for number in 1..=20 {
            CURRENT.publish(Box::new(vec![number]));
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(first, &[0]);
    }
}
