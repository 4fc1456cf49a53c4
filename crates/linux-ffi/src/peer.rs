//! Who is at the other end of a local socket, and a hold on that process that its number gives to nobody else.

use core::ffi::c_int;
use core::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::LinuxError;

/// Process, user and group as the kernel names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process's number in our PID namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Credentials {
    /// Not rustix's type, which has no room for the 0 that stands for a process of another PID namespace.
    pub(crate) fn from_kernel(raw: libc::ucred) -> Result<Self, LinuxError> {
        match u32::try_from(raw.pid) {
            Ok(0) => Err(LinuxError::PeerUnseen),
            Ok(pid) => Ok(Self { pid, uid: raw.uid, gid: raw.gid }),
            Err(_) => Err(LinuxError::Range { call: "SO_PEERCRED" }),
        }
    }
}

/// The process that has connected, as it was then (`SO_PEERCRED`). It may have ended since, and another one may have
/// its number.
///
/// # Errors
/// [`LinuxError::PeerUnseen`] for a process of another PID namespace; [`LinuxError::Call`] for what is no local socket.
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, LinuxError> {
    Credentials::from_kernel(as_connected(socket)?)
}

/// The effective user of the process that has connected or listens, whatever PID namespace it is in: a process in a container
/// has no number for one outside.
///
/// # Errors
/// [`LinuxError::Call`] for what is no local socket.
pub fn user(socket: BorrowedFd<'_>) -> Result<u32, LinuxError> {
    Ok(as_connected(socket)?.uid)
}

fn as_connected(socket: BorrowedFd<'_>) -> Result<libc::ucred, LinuxError> {
    // SAFETY: `ucred` is three integers, which any bytes are valid for.
    let raw = unsafe { option::<libc::ucred>(socket, libc::SO_PEERCRED) };
    raw.map_err(LinuxError::of("SO_PEERCRED"))
}

/// A hold on the process that has connected (`SO_PEERPIDFD`), close-on-exec; nothing where the kernel has no such
/// option (before Linux 6.5). Some kernels give one of a process that has ended, others an error.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn pidfd(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, LinuxError> {
    // SAFETY: any bytes are a valid integer.
    match unsafe { option::<c_int>(socket, libc::SO_PEERPIDFD) } {
        // SAFETY: the kernel has made this descriptor for us; nobody else has it.
        Ok(descriptor) if descriptor >= 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        Ok(_) => Err(LinuxError::Range { call: "SO_PEERPIDFD" }),
        Err(Errno::NOPROTOOPT) => Ok(None),
        Err(errno) => Err(LinuxError::of("SO_PEERPIDFD")(errno)),
    }
}

/// A hold on the process that has the number `pid` now, close-on-exec.
///
/// # Errors
/// [`LinuxError::Call`], among others where there is none.
pub fn open_pidfd(pid: u32) -> Result<OwnedFd, LinuxError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(LinuxError::PeerUnseen)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(LinuxError::of("pidfd_open"))
}

/// Whether the process lives. One that has ended stays so, whoever gets its number.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn is_alive(pidfd: BorrowedFd<'_>) -> Result<bool, LinuxError> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        // Readable once all of its threads have ended, waited for or not.
        match poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&at_once)) {
            Ok(ready) => return Ok(ready == 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(LinuxError::of("poll")(errno)),
        }
    }
}

/// One option of a socket.
///
/// # Safety
/// Any bytes must be a valid `T`.
unsafe fn option<T>(socket: BorrowedFd<'_>, name: c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    #[allow(clippy::cast_possible_truncation, reason = "a few bytes")]
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match status {
        // SAFETY: zeroed, written in part or whole; the caller says that any bytes are valid.
        0 => Ok(unsafe { value.assume_init() }),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    use rustix::io::{FdFlags, fcntl_getfd};

    use super::*;

    fn pid_of(pidfd: &OwnedFd) -> String {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        info.lines().find_map(|line| line.strip_prefix("Pid:\t")).unwrap().to_owned()
    }

    #[test]
    fn the_peer_is_the_process_that_has_connected() {
        let keep = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(keep.path().join("socket")).unwrap();
        let _client = UnixStream::connect(keep.path().join("socket")).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let found = credentials(socket.as_fd()).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert_eq!((found.uid, found.gid), rustix_ids());
        assert_eq!(user(socket.as_fd()).unwrap(), found.uid);
        // This kernel has the option; an old one is tested by those who look for the process by its number.
        let pidfd = pidfd(socket.as_fd()).unwrap().unwrap();
        assert_eq!(pid_of(&pidfd), std::process::id().to_string());
        assert!(fcntl_getfd(&pidfd).unwrap().contains(FdFlags::CLOEXEC));
        assert!(is_alive(pidfd.as_fd()).unwrap());
    }

    fn rustix_ids() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn a_socket_of_the_network_has_no_peer_here() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(credentials(client.as_fd()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(credentials(file.as_fd()), Err(LinuxError::Call { call: "SO_PEERCRED", .. })));
        assert!(matches!(user(file.as_fd()), Err(LinuxError::Call { call: "SO_PEERCRED", .. })));
        assert!(matches!(pidfd(file.as_fd()), Err(LinuxError::Call { call: "SO_PEERPIDFD", .. })));
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive_before_and_after_it_is_waited_for() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pidfd = open_pidfd(child.id()).unwrap();
        assert!(is_alive(pidfd.as_fd()).unwrap());
        drop(child.stdin.take());
        // At the end of its output the process is about to end; the hold says when it has.
        std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        let ended = |_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !is_alive(pidfd.as_fd()).unwrap()
        };
        assert!((0..500).any(ended));
        assert!(std::path::Path::new(&format!("/proc/{}", child.id())).exists(), "not waited for");
        child.wait().unwrap();
        assert!(!is_alive(pidfd.as_fd()).unwrap());
    }

    #[test]
    fn numbers_of_no_process_are_errors() {
        assert!(matches!(open_pidfd(0), Err(LinuxError::PeerUnseen)));
        assert!(matches!(open_pidfd(u32::MAX), Err(LinuxError::PeerUnseen)));
        assert!(matches!(open_pidfd(i32::MAX as u32), Err(LinuxError::Call { call: "pidfd_open", .. })));
        let unseen = libc::ucred { pid: 0, uid: 0, gid: 0 };
        assert!(matches!(Credentials::from_kernel(unseen), Err(LinuxError::PeerUnseen)));
    }
}
