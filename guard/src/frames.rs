//! Frames of clients: read within bounds, piece by piece from the one process that may send them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use guard_wire::{Code, Control, HEADER, Header, MAX_BODY, Writer};
use linux_ffi::socket::{self, Descriptors};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::channel::send_all;
use crate::error::GuardError;

/// Most frames are smaller; a buffer that has become larger is given back after its frame.
const USUAL: usize = 64 << 10;

/// Sends a control frame, with descriptors beside it.
pub(crate) fn send(
    stream: &OwnedFd,
    control: &Control,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), GuardError> {
    let mut body = Writer::new();
    control.encode(&mut body)?;
    send_all(stream.as_fd(), body.frame(control.code(), 0)?, descriptors)
}

/// The next control frame of the process `pid`, whole before `until`; `None` once it has closed its end.
pub(crate) fn receive(stream: &OwnedFd, pid: u32, until: Instant) -> Result<Option<Control>, GuardError> {
    let mut incoming = Incoming { until: Some(until), ..Incoming::new(pid) };
    let control = match incoming.next(stream, |code| matches!(code, Code::Control(_)))? {
        Some((header, body)) => match header.code() {
            Code::Control(kind) => Some(Control::decode(kind, body)?),
            _ => return Err(GuardError::OutOfPlace),
        },
        None => None,
    };
    // What came behind it would be lost; no client sends two without an answer.
    if incoming.is_ahead() { Err(GuardError::OutOfPlace) } else { Ok(control) }
}

/// What has come in on a connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    pid: u32,
    /// When it must have come.
    until: Option<Instant>,
    buffer: Vec<u8>,
    filled: usize,
    /// Of the frame that was given out last.
    given: usize,
}

impl Incoming {
    /// Nothing yet. Only the process `pid` may send.
    pub(crate) const fn new(pid: u32) -> Self {
        Self { pid, until: None, buffer: Vec::new(), filled: 0, given: 0 }
    }

    /// The next frame, which must be of an `expected` kind; `None` where the other side has closed its end between two.
    pub(crate) fn next(
        &mut self,
        stream: &OwnedFd,
        expected: impl FnOnce(Code) -> bool,
    ) -> Result<Option<(Header, &[u8])>, GuardError> {
        self.forget();
        if !self.fill(stream, HEADER)? {
            return if self.filled == 0 { Ok(None) } else { Err(GuardError::CutShort) };
        }
        let header = Header::decode(*self.buffer.first_chunk().ok_or(GuardError::CutShort)?)?;
        // The bound on its length is that of its kind.
        if !expected(header.code()) {
            return Err(GuardError::OutOfPlace);
        }
        let whole = HEADER + header.length();
        if !self.fill(stream, whole)? {
            return Err(GuardError::CutShort);
        }
        self.given = whole;
        Ok(Some((header, self.buffer.get(HEADER..whole).ok_or(GuardError::CutShort)?)))
    }

    /// Whether more has come than was given out.
    pub(crate) const fn is_ahead(&self) -> bool {
        self.filled > self.given
    }

    fn forget(&mut self) {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        if self.filled <= USUAL && self.buffer.len() > USUAL {
            self.buffer.truncate(USUAL);
            self.buffer.shrink_to_fit();
        }
    }

    /// Reads until so many bytes are there; false where the stream ends before.
    fn fill(&mut self, stream: &OwnedFd, wanted: usize) -> Result<bool, GuardError> {
        while self.filled < wanted {
            if self.filled == self.buffer.len() {
                // Not to the length that the frame states: memory is for what has come.
                self.buffer.resize((2 * self.filled).clamp(USUAL, HEADER + MAX_BODY), 0);
            }
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            if let Some(until) = self.until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(GuardError::Slow);
                }
                set_socket_timeout(stream, Timeout::Recv, Some(left))
                    .map_err(|errno| GuardError::channel(errno.into()))?;
            }
            let received = socket::receive(stream.as_fd(), room, Descriptors::Refused)?;
            if received.bytes == 0 {
                return Ok(false);
            }
            match received.sender {
                Some(sender) if sender.pid == self.pid => {}
                other => return Err(GuardError::OtherSender { pid: other.map(|sender| sender.pid) }),
            }
            self.filled += received.bytes;
        }
        Ok(true)
    }
}
