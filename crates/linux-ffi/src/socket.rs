//! Local sockets: messages with descriptors and with the sender's identity.

use core::ffi::c_int;
use core::mem::{MaybeUninit, size_of, zeroed};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
};

use crate::error::LinuxError;
use crate::peer::Credentials;

/// The most descriptors that one message may bring.
pub const MAX_DESCRIPTORS: usize = 6;

/// Room for the sender and [`MAX_DESCRIPTORS`], with their headers, in words: control data is aligned to words.
const CONTROL: usize = 10;

/// A part of a stream, and what came with it.
#[derive(Debug)]
pub struct Received {
    /// Bytes that were written to the buffer; none at the end of the stream.
    pub bytes: usize,
    /// Close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Who has sent it, where the socket was told to say so. Only root can have another name put here.
    pub sender: Option<Credentials>,
}

/// Two stream sockets, each the other's end, close-on-exec.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn pair() -> Result<(OwnedFd, OwnedFd), LinuxError> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(LinuxError::of("socketpair"))
}

/// The listening socket that the service manager has passed on (sd_listen_fds(3)), if it has. To be asked once: it is taken.
///
/// # Errors
/// [`LinuxError::Range`] where there is another number of them than one; [`LinuxError::Call`] where it is none.
pub fn activated() -> Result<Option<OwnedFd>, LinuxError> {
    const CALL: &str = "LISTEN_FDS";
    const FIRST: c_int = 3;
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let stated = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if stated("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    if stated("LISTEN_FDS") != Some(1) || TAKEN.swap(true, Ordering::AcqRel) {
        return Err(LinuxError::Range { call: CALL });
    }
    // SAFETY: takes a number; it is an error where there is no such descriptor.
    if unsafe { libc::fcntl(FIRST, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(LinuxError::last(CALL));
    }
    // SAFETY: open, as just shown, and given to this process for nobody else; taken once.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(FIRST) }))
}

/// Everything that is received on `socket` from now on says who has sent it (`SO_PASSCRED`). What was sent before may
/// have no sender: call it before the other end is handed out.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn ask_for_sender(socket: BorrowedFd<'_>) -> Result<(), LinuxError> {
    set_socket_passcred(socket, true).map_err(LinuxError::of("SO_PASSCRED"))
}

/// Sends at least one of `bytes`, and `descriptors` with the first of them. How many bytes went out.
///
/// # Errors
/// [`LinuxError::Call`]; a closed other end is one (`EPIPE`), and no signal.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, LinuxError> {
    const CALL: &str = "sendmsg";
    // Descriptors travel with a byte, or not at all.
    if descriptors.len() > MAX_DESCRIPTORS || (bytes.is_empty() && !descriptors.is_empty()) {
        return Err(LinuxError::Range { call: CALL });
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(LinuxError::Range { call: CALL });
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map_err(LinuxError::of(CALL)),
        }
    }
}

/// Whether the other end has not read all that was sent, over a socket of this host (unix(7), `SIOCOUTQ`).
///
/// # Errors
/// [`LinuxError::Call`].
pub fn has_unread(socket: BorrowedFd<'_>) -> Result<bool, LinuxError> {
    let mut unread: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ`, which is `SIOCOUTQ`, writes one int, for which there is room.
    let rv = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    if rv == 0 {
        Ok(unread > 0)
    } else {
        Err(LinuxError::Call { call: "ioctl(SIOCOUTQ)", source: std::io::Error::last_os_error() })
    }
}

/// Receives what is there, at most as much as fits into `buffer`; waits where the socket does.
///
/// With parts of several senders in the stream it ends between them: one answer has one sender.
///
/// # Errors
/// [`LinuxError::Call`]; [`LinuxError::Truncated`] where descriptors came and `descriptors` are not wanted, or too
/// many; [`LinuxError::PeerUnseen`] for a sender of another PID namespace.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: Descriptors,
) -> Result<Received, LinuxError> {
    receive_by(socket, buffer, descriptors, 0)
}

/// As [`receive`], of what is there already. A socket that poll(2) says is readable may have nothing that is taken for data
/// (`MSG_OOB`), for which nobody is to wait.
///
/// # Errors
/// As of [`receive`]; [`LinuxError::Call`] also where nothing is there.
pub fn receive_at_once(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: Descriptors,
) -> Result<Received, LinuxError> {
    receive_by(socket, buffer, descriptors, libc::MSG_DONTWAIT)
}

fn receive_by(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: Descriptors,
    how: libc::c_int,
) -> Result<Received, LinuxError> {
    const CALL: &str = "recvmsg";
    let mut control = [0_u64; CONTROL];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are a valid `msghdr`, one without anything.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = match descriptors {
        // SAFETY: both only compute with the number.
        Descriptors::Refused => unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) as usize },
        Descriptors::Allowed => size_of::<[u64; CONTROL]>(),
    };
    let flags = libc::MSG_CMSG_CLOEXEC | how;
    let bytes = loop {
        // SAFETY: the header points to one part, which is `buffer`, and to `control`, with their lengths; all live
        // until the call returns.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match usize::try_from(length) {
            Ok(length) => break length,
            Err(_) => match std::io::Error::last_os_error() {
                error if error.kind() == std::io::ErrorKind::Interrupted => {}
                source => return Err(LinuxError::Call { call: CALL, source }),
            },
        }
    };
    let mut received = Received { bytes, descriptors: Vec::new(), sender: None };
    // First what is in there, so that every descriptor has an owner, who closes it.
    // SAFETY: the header is as the kernel has left it, and `control` still lives.
    let sender = unsafe { take(&message, &mut received.descriptors) };
    // Without a sender in it, the room would do for more of them.
    let limit = match descriptors {
        Descriptors::Allowed => MAX_DESCRIPTORS,
        Descriptors::Refused => 0,
    };
    if message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 || received.descriptors.len() > limit {
        return Err(LinuxError::Truncated);
    }
    // At the end of the stream nobody has sent anything.
    if bytes > 0 {
        received.sender = sender.map(Credentials::from_kernel).transpose()?;
    }
    Ok(received)
}

/// Whether a message may bring descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// Up to [`MAX_DESCRIPTORS`].
    Allowed,
    /// None; a message with some is an error.
    Refused,
}

/// Takes the control data apart: descriptors are put into `descriptors`, the sender is answered.
///
/// # Safety
/// `message` must be as the kernel has left it, and its control buffer must live.
unsafe fn take(message: &libc::msghdr, descriptors: &mut Vec<OwnedFd>) -> Option<libc::ucred> {
    let mut sender = None;
    // SAFETY: the caller's.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, and so within the control buffer, which is aligned for it.
        let header = unsafe { &*next };
        // SAFETY: as above; the data begins right behind the header.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: computes with the number.
        let length = (header.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..length / size_of::<c_int>() {
                    // SAFETY: within the data by its length; the kernel has made the descriptor for us.
                    let descriptor = unsafe { data.cast::<c_int>().add(index).read_unaligned() };
                    // SAFETY: as above; nobody else has it.
                    descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: within the data by its length; three integers, which any bytes are valid for.
                sender = Some(unsafe { ptr::read_unaligned(data.cast::<libc::ucred>()) });
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    sender
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
