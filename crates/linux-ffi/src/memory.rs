//! Pages of memory: their size, and one of this process's own.

use core::ffi::c_int;
use core::ptr::{self, NonNull};

use crate::error::LinuxError;

/// Bytes in a page, by which `/proc/self/pagemap` is indexed.
///
/// # Errors
/// [`LinuxError::Range`] for an answer that is no power of two.
pub fn page_size() -> Result<u64, LinuxError> {
    // SAFETY: the call takes a number and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    match u64::try_from(size) {
        Ok(size) if size.is_power_of_two() => Ok(size),
        _ => Err(LinuxError::Range { call: "sysconf" }),
    }
}

/// One page, zeroed, readable and writable until it is said otherwise.
#[derive(Debug)]
pub(crate) struct Page {
    address: NonNull<u8>,
    length: usize,
}

impl Page {
    pub(crate) fn new() -> Result<Self, LinuxError> {
        let length = usize::try_from(page_size()?).map_err(|_| LinuxError::Range { call: "sysconf" })?;
        // SAFETY: a new private mapping at an address of the kernel's choice; no existing memory is touched.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(LinuxError::last("mmap"));
        }
        let address = NonNull::new(address.cast()).ok_or(LinuxError::Range { call: "mmap" })?;
        Ok(Self { address, length })
    }

    /// Mapped from `new` to the drop, aligned to a page, and at least one page long.
    pub(crate) const fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// `madvise(2)`, with an advice that leaves the content alone in this process.
    pub(crate) fn advise(&self, advice: Advice) -> Result<(), LinuxError> {
        let advice: c_int = match advice {
            Advice::WipeOnFork => libc::MADV_WIPEONFORK,
            Advice::DontDump => libc::MADV_DONTDUMP,
        };
        // SAFETY: the range is exactly the mapping that this page owns, and neither advice changes what is in it.
        match unsafe { libc::madvise(self.address.as_ptr().cast(), self.length, advice) } {
            0 => Ok(()),
            _ => Err(LinuxError::last("madvise")),
        }
    }

    /// Nobody writes to it any more: a stray write of the program ends it instead.
    pub(crate) fn make_read_only(&self) -> Result<(), LinuxError> {
        // SAFETY: the range is exactly the mapping that this page owns, and reading it stays possible.
        match unsafe { libc::mprotect(self.address.as_ptr().cast(), self.length, libc::PROT_READ) } {
            0 => Ok(()),
            _ => Err(LinuxError::last("mprotect")),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping is this page's own, and no reference into it outlives the owner. A failure leaves one
        // page mapped, which harms nobody.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// What the kernel is told about a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    /// A forked child finds zeros (Linux 4.14).
    WipeOnFork,
    /// It is left out of core files.
    DontDump,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_auxiliary_vector_says() {
        // SAFETY: the call takes a number.
        let told = unsafe { libc::getauxval(libc::AT_PAGESZ) };
        assert_eq!(page_size().unwrap(), told);
    }
}
