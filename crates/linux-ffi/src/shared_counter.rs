//! A counter that several processes share.

use core::sync::atomic::AtomicU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::LinuxError;
use crate::shared_memory::{SharedMemory, sealed_memory};

const BYTES: usize = 4096;

/// The counter, as this process has it mapped.
#[derive(Debug)]
pub struct SharedCounter {
    memory: OwnedFd,
    mapped: SharedMemory,
}

impl SharedCounter {
    /// A new one, at 0.
    ///
    /// # Errors
    /// [`LinuxError::Call`].
    pub fn new() -> Result<Self, LinuxError> {
        Self::of(sealed_memory(BYTES)?)
    }

    /// The one that another process has made.
    ///
    /// # Errors
    /// [`LinuxError::Range`] for memory that could be taken away; [`LinuxError::Call`].
    pub fn of(memory: OwnedFd) -> Result<Self, LinuxError> {
        let mapped = SharedMemory::map(&memory, BYTES)?;
        Ok(Self { memory, mapped })
    }
}

impl AsRef<AtomicU64> for SharedCounter {
    fn as_ref(&self) -> &AtomicU64 {
        self.mapped.counter()
    }
}

impl AsFd for SharedCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_counts_the_other_sees() {
        let one = SharedCounter::new().unwrap();
        let other = SharedCounter::of(one.as_fd().try_clone_to_owned().unwrap()).unwrap();
        one.as_ref().fetch_add(3, Ordering::AcqRel);
        assert_eq!(other.as_ref().load(Ordering::Acquire), 3);
        drop(one);
        assert_eq!(other.as_ref().fetch_add(1, Ordering::AcqRel), 3);
    }
}
