//! What can go wrong in a call to the kernel.

use std::io;

use rustix::io::Errno;

/// A call to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// The call exists and answered with an error.
    #[error("{call}: {source}")]
    Call {
        /// Name of the call.
        call: &'static str,
        /// `errno` as it was left.
        source: io::Error,
    },
    /// The other end of a socket is a process that this one has no number for: of another PID namespace, or of none.
    #[error("the process at the other end is in a PID namespace that cannot be seen from here")]
    PeerUnseen,
    /// The answer is outside the range that the call's documentation allows.
    #[error("{call} answered with a value out of its range")]
    Range {
        /// Name of the call.
        call: &'static str,
    },
    /// What counts for a thread only was to hold for the process, which has several.
    #[error("{call}: the process has more than one thread")]
    Threads {
        /// Name of the call.
        call: &'static str,
    },
    /// A message came with more control data or descriptors than there was room for; they are lost.
    #[error("a message came with more descriptors than are allowed")]
    Truncated,
}

impl LinuxError {
    /// The calling thread's `errno`, right after `call` failed.
    pub(crate) fn last(call: &'static str) -> Self {
        Self::Call { call, source: io::Error::last_os_error() }
    }

    /// What `call` answered.
    pub(crate) fn of(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { call, source: errno.into() }
    }
}
