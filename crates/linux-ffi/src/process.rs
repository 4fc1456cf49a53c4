//! What the kernel says about this process as a whole.

use crate::error::LinuxError;

/// Whether this process was started with more rights than its caller has (setuid, setgid, file capabilities):
/// then nothing in its environment may be believed (`AT_SECURE`, as `secure_getenv` does it).
///
/// A kernel that does not say counts as yes.
pub fn is_secure_execution() -> bool {
    // SAFETY: `__errno_location` points to the calling thread's own `errno`, valid as long as the thread lives.
    let errno = unsafe { &mut *libc::__errno_location() };
    *errno = 0;
    // SAFETY: the call takes a number, and reads only the auxiliary vector that the kernel has set up.
    let value = unsafe { libc::getauxval(libc::AT_SECURE) };
    value != 0 || *errno != 0
}

/// Whether other processes of the same user may read and change the memory of this one.
///
/// The state in which only root may (`PR_GET_DUMPABLE` = 2) counts as no.
///
/// # Errors
/// [`LinuxError::Call`] where the kernel refuses to say, as under a seccomp filter.
pub fn dumpable() -> Result<bool, LinuxError> {
    // SAFETY: this option takes no pointer and changes nothing.
    match unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } {
        0 | 2 => Ok(false),
        1 => Ok(true),
        negative if negative < 0 => Err(LinuxError::last("prctl")),
        _ => Err(LinuxError::Range { call: "prctl" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_program_is_no_secure_execution() {
        assert!(!is_secure_execution());
    }

    #[test]
    fn dumpable_follows_prctl() {
        let set = |value: libc::c_ulong| {
            // SAFETY: this option takes a number and changes only this process's dumpable state.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, value, 0, 0, 0) }, 0);
        };
        set(0);
        assert!(!dumpable().unwrap());
        set(1);
        assert!(dumpable().unwrap());
    }
}
