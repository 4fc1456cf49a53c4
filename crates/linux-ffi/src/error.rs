//! What can go wrong in a call to the kernel.

use std::io;

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
    /// The answer is outside the range that the call's documentation allows.
    #[error("{call} answered with a value out of its range")]
    Range {
        /// Name of the call.
        call: &'static str,
    },
}

impl LinuxError {
    /// The calling thread's `errno`, right after `call` failed.
    pub(crate) fn last(call: &'static str) -> Self {
        Self::Call { call, source: io::Error::last_os_error() }
    }
}
