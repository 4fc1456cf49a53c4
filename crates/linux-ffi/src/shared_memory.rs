//! Memory that processes share: sealed, so that none of them can take it away under the others, and read and written by
//! atomics alone, since the others write to it at any time.

use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};

use crate::error::LinuxError;

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
/// Of the first word, on a cache line of its own.
const FIRST: usize = 64;

/// Sealed memory of `bytes`, zeroed, to be mapped here and elsewhere.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn sealed_memory(bytes: usize) -> Result<OwnedFd, LinuxError> {
    let memory = memfd_create("trustshim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(LinuxError::of("memfd_create"))?;
    ftruncate(&memory, bytes as u64).map_err(LinuxError::of("ftruncate"))?;
    fcntl_add_seals(&memory, SEALS).map_err(LinuxError::of("F_ADD_SEALS"))?;
    Ok(memory)
}

/// Shared memory as this process has it mapped. No forked child has it, and no core file.
#[derive(Debug)]
pub struct SharedMemory {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is reached through atomics alone, and unmapped by the one owner.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps `memory`, which has exactly `bytes`.
    ///
    /// # Errors
    /// [`LinuxError::Range`] for memory of another length, or that could be taken away; [`LinuxError::Call`].
    pub fn map(memory: impl AsFd, bytes: usize) -> Result<Self, LinuxError> {
        const CALL: &str = "mmap";
        let memory = memory.as_fd();
        let seals = fcntl_get_seals(memory).map_err(LinuxError::of("F_GET_SEALS"))?;
        let found = rustix::fs::fstat(memory).map_err(LinuxError::of("fstat"))?.st_size;
        if !seals.contains(SEALS) || usize::try_from(found) != Ok(bytes) || bytes < FIRST + 8 {
            return Err(LinuxError::Range { call: CALL });
        }
        // SAFETY: a new mapping at an address of the kernel's choice, of memory that is as long as is mapped and, sealed,
        // stays so.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
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
        let mapped = Self { address, length: bytes };
        for advice in [libc::MADV_DONTFORK, libc::MADV_DONTDUMP] {
            // SAFETY: the range is exactly the mapping, and neither advice changes what is in it.
            if unsafe { libc::madvise(address.as_ptr().cast(), bytes, advice) } != 0 {
                return Err(LinuxError::last("madvise"));
            }
        }
        Ok(mapped)
    }

    /// The first word, in which processes can wait for each other.
    pub const fn first(&self) -> &AtomicU32 {
        // SAFETY: mapped from `map` to the drop, aligned to a page, and longer than `FIRST` bytes; nothing else leads there.
        unsafe { self.address.cast().as_ref() }
    }

    /// The first word behind that cache line.
    pub const fn counter(&self) -> &AtomicU64 {
        // SAFETY: as above; there is at least one.
        unsafe { self.address.add(FIRST).cast().as_ref() }
    }

    /// All words behind the first one's cache line.
    pub const fn words(&self) -> &[AtomicU64] {
        // SAFETY: as above: what is behind the first bytes, as many words as there are; atomics may be shared.
        unsafe { slice::from_raw_parts(self.address.add(FIRST).cast().as_ptr(), (self.length - FIRST) / 8) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this owner's, and no reference into it outlives it.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use super::*;

    const BYTES: usize = 8192;

    #[test]
    fn what_one_writes_the_other_reads() {
        let memory = sealed_memory(BYTES).unwrap();
        let (one, other) =
            (SharedMemory::map(&memory, BYTES).unwrap(), SharedMemory::map(&memory, BYTES).unwrap());
        drop(memory);
        assert_eq!(one.words().len(), (BYTES - FIRST) / 8);
        one.first().store(7, Ordering::Release);
        one.words().last().unwrap().store(9, Ordering::Release);
        assert_eq!(other.first().load(Ordering::Acquire), 7);
        assert_eq!(other.words().last().unwrap().load(Ordering::Acquire), 9);
    }

    #[test]
    fn memory_that_could_be_taken_away_or_has_another_length_is_refused() {
        let memory = sealed_memory(BYTES).unwrap();
        assert!(ftruncate(&memory, 0).is_err());
        assert!(matches!(SharedMemory::map(&memory, BYTES / 2), Err(LinuxError::Range { .. })));
        let open = memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&open, BYTES as u64).unwrap();
        assert!(matches!(SharedMemory::map(&open, BYTES), Err(LinuxError::Range { .. })));
        let file = tempfile::tempfile().unwrap();
        assert!(SharedMemory::map(&file, BYTES).is_err());
    }

    #[test]
    fn a_forked_child_has_it_not() {
        let memory = SharedMemory::map(sealed_memory(BYTES).unwrap(), BYTES).unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", memory.address.as_ptr().addr());
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags: ")).unwrap();
        for flag in ["dc", "dd"] {
            assert!(flags.split(' ').any(|found| found == flag), "{flag}: {flags}");
        }
    }
}
