//! From a connection to a process that nobody else can be taken for.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use linux_ffi::peer::{Credentials, credentials, is_alive, open_pidfd, pidfd};

use super::{Pinned, start};
use crate::error::MeasurementError;
use crate::proc_file::ProcessDirectory;

/// A process that has connected, as the kernel names it. It may have ended since.
#[derive(Debug)]
pub struct Connected {
    credentials: Credentials,
    hold: Hold,
}

/// What keeps the process that has connected apart from a later one with its number.
#[derive(Debug)]
enum Hold {
    /// Given out by the kernel for the socket (Linux 6.5).
    Socket(OwnedFd),
    /// When the process with that number had started, read right after it had connected.
    Started(u64),
}

impl Connected {
    /// The process that has connected to `socket`; call it as soon as the connection is accepted.
    ///
    /// # Errors
    /// [`MeasurementError::Ended`] for one that has ended already; [`MeasurementError::Linux`] for one of another PID
    /// namespace, which has no number here, or for what is no local socket.
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, MeasurementError> {
        let credentials = credentials(socket)?;
        match pidfd(socket) {
            // Some kernels give one of a process that has ended, others none.
            Ok(Some(pidfd)) if !is_alive(pidfd.as_fd())? => Err(MeasurementError::Ended),
            Ok(Some(pidfd)) => Ok(Self { credentials, hold: Hold::Socket(pidfd) }),
            Ok(None) => Self::by_number(socket),
            Err(error) if is_of_no_process(&error) => Err(MeasurementError::Ended),
            Err(error) => Err(error.into()),
        }
    }

    /// The same where the kernel gives no hold for a socket (before Linux 6.5): by the process's number and by when it
    /// started.
    ///
    /// A process that has the number by now, because the one that connected has ended before this call, is taken for that
    /// one. It does not have the nonce, and does not send the connection's messages.
    ///
    /// # Errors
    /// As [`Connected::of`].
    pub fn by_number(socket: BorrowedFd<'_>) -> Result<Self, MeasurementError> {
        let credentials = credentials(socket)?;
        let started = ProcessDirectory::of(credentials.pid)
            .and_then(|directory| start::time(&directory))
            .map_err(ended)?;
        Ok(Self { credentials, hold: Hold::Started(started) })
    }

    /// Process, user and group at the time of the connection.
    pub const fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// Takes hold of the process and of its memory. Takes the right to read another user's memory (`CAP_SYS_PTRACE`).
    ///
    /// # Errors
    /// [`MeasurementError::Ended`], [`MeasurementError::NumberReused`]; [`MeasurementError::ForeignUserNamespace`].
    pub fn pin(self) -> Result<Pinned, MeasurementError> {
        let pid = self.credentials.pid;
        let (pidfd, started) = match self.hold {
            Hold::Socket(pidfd) => (pidfd, None),
            Hold::Started(started) => (open_pidfd(pid).map_err(|_| MeasurementError::Ended)?, Some(started)),
        };
        let directory = ProcessDirectory::of(pid).map_err(ended)?;
        let checked = open_checked(&directory, started);
        // The number was that process's for as long as it lives: so what was opened by it is that process's.
        match is_alive(pidfd.as_fd())? {
            true => Ok(Pinned { pid, pidfd, memory: checked? }),
            false => Err(MeasurementError::Ended),
        }
    }
}

/// Opens the memory of the process whose directory it is, if it is one that may be measured.
fn open_checked(directory: &ProcessDirectory, started: Option<u64>) -> Result<File, MeasurementError> {
    if let Some(started) = started
        && start::time(directory)? != started
    {
        return Err(MeasurementError::NumberReused);
    }
    refuse_foreign(directory)?;
    directory.open("mem")
}

pub(super) fn refuse_foreign(directory: &ProcessDirectory) -> Result<(), MeasurementError> {
    if directory.link("ns/user")? == ProcessDirectory::own()?.link("ns/user")? {
        Ok(())
    } else {
        Err(MeasurementError::ForeignUserNamespace)
    }
}

/// What the kernel answers when it is asked for a hold on a process that has ended: not all versions the same.
fn is_of_no_process(error: &linux_ffi::LinuxError) -> bool {
    matches!(error, linux_ffi::LinuxError::Call { source, .. }
        if matches!(rustix::io::Errno::from_io_error(source),
            Some(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NODATA)))
}

/// A process that cannot be found has ended.
pub(super) fn ended(error: MeasurementError) -> MeasurementError {
    match error {
        MeasurementError::Unreadable { source, .. }
            if matches!(
                rustix::io::Errno::from_io_error(&source),
                Some(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH)
            ) =>
        {
            MeasurementError::Ended
        }
        other => other,
    }
}
