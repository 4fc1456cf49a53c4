//! A counter that several processes share: in sealed memory, which none of them can make smaller under the others.

use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU64;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};

use crate::error::LinuxError;
use crate::memory::page_size;

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The counter, as this process has it mapped.
#[derive(Debug)]
pub struct SharedCounter {
    memory: OwnedFd,
    address: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the memory is reached through an atomic alone, and unmapped by the one owner.
unsafe impl Send for SharedCounter {}
// SAFETY: as above.
unsafe impl Sync for SharedCounter {}

impl SharedCounter {
    /// A new one, at 0.
    ///
    /// # Errors
    /// [`LinuxError::Call`].
    pub fn new() -> Result<Self, LinuxError> {
        let memory = memfd_create("trustshim-counter", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(LinuxError::of("memfd_create"))?;
        ftruncate(&memory, page_size()?).map_err(LinuxError::of("ftruncate"))?;
        fcntl_add_seals(&memory, SEALS).map_err(LinuxError::of("F_ADD_SEALS"))?;
        Self::of(memory)
    }

    /// The one that another process has made.
    ///
    /// # Errors
    /// [`LinuxError::Range`] for memory that could be taken away; [`LinuxError::Call`].
    pub fn of(memory: OwnedFd) -> Result<Self, LinuxError> {
        const CALL: &str = "mmap";
        let size = page_size()?;
        let length = usize::try_from(size).map_err(|_| LinuxError::Range { call: CALL })?;
        let seals = fcntl_get_seals(&memory).map_err(LinuxError::of("F_GET_SEALS"))?;
        let found = rustix::fs::fstat(&memory).map_err(LinuxError::of("fstat"))?.st_size;
        if !seals.contains(SEALS) || u64::try_from(found) != Ok(size) {
            return Err(LinuxError::Range { call: CALL });
        }
        // SAFETY: a new mapping at an address of the kernel's choice, of memory that is as long as is mapped and, sealed,
        // stays so.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(LinuxError::last(CALL));
        }
        let address = NonNull::new(address.cast()).ok_or(LinuxError::Range { call: CALL })?;
        Ok(Self { memory, address, length })
    }
}

impl AsRef<AtomicU64> for SharedCounter {
    fn as_ref(&self) -> &AtomicU64 {
        // SAFETY: mapped from `of` to the drop, aligned to a page, and everybody who has it takes it for an atomic.
        unsafe { self.address.as_ref() }
    }
}

impl AsFd for SharedCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

impl Drop for SharedCounter {
    fn drop(&mut self) {
        // SAFETY: the mapping is this counter's own, and no reference into it outlives the owner.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
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

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let memory = memfd_create("unsealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memory, page_size().unwrap()).unwrap();
        assert!(matches!(SharedCounter::of(memory), Err(LinuxError::Range { .. })));
    }
}
