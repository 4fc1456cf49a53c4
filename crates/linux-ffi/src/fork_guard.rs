//! A page that the kernel wipes in a forked child: how a process notices that it is a copy.
//!
//! `getpid` would tell the same, at the price of a system call for each question.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::error::LinuxError;
use crate::memory::{Advice, Page};

const MARK: u8 = 0xa5;

/// A mark that this process can see and a child made by `fork` cannot (`MADV_WIPEONFORK`, Linux 4.14).
///
/// A child that shares its parent's memory (`vfork`, `CLONE_VM`) sees the mark: it is the same memory.
#[derive(Debug)]
pub(crate) struct ForkGuard {
    page: Page,
}

// SAFETY: the page is only reached through an atomic, and unmapped only by the owner's drop.
unsafe impl Send for ForkGuard {}
// SAFETY: as above; shared references give nothing but atomic loads and stores.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// Maps the page; not yet marked.
    ///
    /// # Errors
    /// [`LinuxError`] where the kernel does not give the page, or cannot wipe it on fork.
    pub(crate) fn new() -> Result<Self, LinuxError> {
        let page = Page::new()?;
        page.advise(Advice::WipeOnFork)?;
        Ok(Self { page })
    }

    /// Marks this process.
    pub(crate) fn mark(&self) {
        self.flag().store(MARK, Ordering::Release);
    }

    /// Whether this process was marked; false in a child, until it marks itself.
    pub(crate) fn is_marked(&self) -> bool {
        self.flag().load(Ordering::Acquire) == MARK
    }

    fn flag(&self) -> &AtomicU8 {
        // SAFETY: the page is mapped readable and writable from `new` to `drop`, zero bytes are a valid
        // `AtomicU8`, and nothing reaches it otherwise.
        unsafe { self.page.address().cast::<AtomicU8>().as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a forked child sees, asked twice: before and after it marked itself.
    fn in_a_child(guard: &ForkGuard) -> (bool, bool) {
        // SAFETY: the child calls nothing but atomics and `_exit`, which are safe after fork in any process.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let before = guard.is_marked();
            guard.mark();
            let code = i32::from(before) | i32::from(guard.is_marked()) << 1;
            // SAFETY: ends the child at once, without running anything of the test harness.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        let code = libc::WEXITSTATUS(status);
        (code & 1 != 0, code & 2 != 0)
    }

    #[test]
    fn a_child_is_not_marked_and_its_parent_stays_so() {
        let guard = ForkGuard::new().unwrap();
        assert!(!guard.is_marked());
        guard.mark();
        assert!(guard.is_marked());
        assert_eq!(in_a_child(&guard), (false, true));
        assert!(guard.is_marked());
    }

    #[test]
    fn a_mark_set_in_a_child_does_not_reach_its_parent() {
        let guard = ForkGuard::new().unwrap();
        assert_eq!(in_a_child(&guard), (false, true));
        assert!(!guard.is_marked());
    }
}
