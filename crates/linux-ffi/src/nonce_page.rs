//! The page in which a client shows the guard's nonce: the guard reads it in the memory of the process that it has
//! pinned, and so knows that this very process has answered.

use core::ptr;

use crate::error::LinuxError;
use crate::memory::{Advice, Page};

/// Bytes of a nonce.
pub const NONCE: usize = 32;

/// A nonce in this process's memory.
///
/// A forked child has zeros there, and core files do not contain it. Written once: the page is read-only afterwards.
#[derive(Debug)]
pub struct NoncePage {
    page: Page,
}

// SAFETY: after `holding` nobody writes to the page, and only the owner's drop unmaps it.
unsafe impl Send for NoncePage {}
// SAFETY: as above; a shared reference gives nothing but the address.
unsafe impl Sync for NoncePage {}

impl NoncePage {
    /// A page that holds `nonce` at its beginning.
    ///
    /// # Errors
    /// [`LinuxError`] where the kernel does not give such a page.
    pub fn holding(nonce: &[u8; NONCE]) -> Result<Self, LinuxError> {
        let page = Page::new()?;
        // Before the nonce is there, so that no child ever has it.
        page.advise(Advice::WipeOnFork)?;
        page.advise(Advice::DontDump)?;
        // SAFETY: the page is new, writable, longer than a nonce, and nobody else knows it yet.
        unsafe { ptr::copy_nonoverlapping(nonce.as_ptr(), page.address().as_ptr(), NONCE) };
        page.make_read_only()?;
        Ok(Self { page })
    }

    /// Where the nonce is, as the guard has to be told.
    pub fn address(&self) -> u64 {
        self.page.address().as_ptr().addr() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const NONCE_BYTES: [u8; NONCE] = *b"0123456789abcdef0123456789abcdef";

    /// What is in the memory of this process there.
    fn at(address: u64) -> [u8; NONCE] {
        let mut found = [0xff; NONCE];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut found, address).unwrap();
        found
    }

    #[test]
    fn it_is_found_in_this_process_and_not_in_a_child() {
        let page = NoncePage::holding(&NONCE_BYTES).unwrap();
        assert_eq!(at(page.address()), NONCE_BYTES);
        // SAFETY: the child reads memory that is mapped, and ends itself without running anything of the harness.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: mapped readable in the parent, and so in the child; aligned to a page.
            let found = unsafe { page.page.address().cast::<[u8; NONCE]>().read() };
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(found != [0; NONCE])) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    }

    #[test]
    fn the_page_is_read_only_wiped_on_fork_and_left_out_of_core_files() {
        let page = NoncePage::holding(&NONCE_BYTES).unwrap();
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", page.address());
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        assert!(lines.next().unwrap().contains(" r--p "));
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags: ")).unwrap();
        for flag in ["wf", "dd"] {
            assert!(flags.split(' ').any(|found| found == flag), "{flag}: {flags}");
        }
    }

    #[test]
    fn it_is_gone_with_its_owner() {
        let page = NoncePage::holding(&NONCE_BYTES).unwrap();
        let address = page.address();
        drop(page);
        let mut found = [0; NONCE];
        let read = File::open("/proc/self/mem").unwrap().read_at(&mut found, address);
        // Another thread of the test may have got the page meanwhile; the nonce is not in it.
        assert!(read.is_err() || found != NONCE_BYTES);
    }
}
