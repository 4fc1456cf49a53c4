//! Frames of clients: read within bounds, piece by piece from the one process that may send them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guard_wire::{Code, Control, HEADER, Header, Writer};
use linux_ffi::socket::{self, Descriptors};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel::send_all;
use crate::error::GuardError;
use crate::large::{Large, Part};

/// Most frames are smaller; a buffer that has become larger is given back after its frame.
const USUAL: usize = 64 << 10;
/// How long what has begun to come may take: the largest frame comes in a few milliseconds.
const BEGUN: Duration = Duration::from_secs(10);

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
    let mut incoming = Incoming { until: Some(until), ..Incoming::new(pid, &Arc::default()) };
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
    /// When it must have come, begun or not.
    until: Option<Instant>,
    /// When it must have come because it has begun.
    begun_until: Option<Instant>,
    large: Arc<Large>,
    part: Option<Part>,
    buffer: Vec<u8>,
    filled: usize,
    /// Of the frame that was given out last.
    given: usize,
}

impl Incoming {
    /// Nothing yet. Only the process `pid` may send.
    pub(crate) fn new(pid: u32, large: &Arc<Large>) -> Self {
        let large = Arc::clone(large);
        let (until, begun_until, part) = (None, None, None);
        Self { pid, until, begun_until, large, part, buffer: Vec::new(), filled: 0, given: 0 }
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
        if whole > USUAL {
            self.part = Some(self.large.part(whole)?);
            // It was not the client that was slow.
            self.begun_until = None;
        }
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

    /// The frame that was given out is done with: its memory is somebody else's.
    pub(crate) fn forget(&mut self) {
        self.begun_until = None;
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        if self.filled <= USUAL && self.buffer.len() > USUAL {
            self.buffer.truncate(USUAL);
            self.buffer.shrink_to_fit();
        }
        self.part = None;
    }

    /// Reads until so many bytes are there; false where the stream ends before.
    fn fill(&mut self, stream: &OwnedFd, wanted: usize) -> Result<bool, GuardError> {
        while self.filled < wanted {
            if self.filled == self.buffer.len() {
                // Not at once to the length that the frame states: memory is for what has come.
                self.buffer.resize((2 * self.filled).min(wanted).max(USUAL), 0);
            }
            let until = self.must_have_come();
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let received = match until {
                Some(until) => {
                    wait(stream, until)?;
                    socket::receive_at_once(stream.as_fd(), room, Descriptors::Refused)?
                }
                None => socket::receive(stream.as_fd(), room, Descriptors::Refused)?,
            };
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

    /// A connection on which nothing has begun may be silent for as long as its client likes.
    fn must_have_come(&mut self) -> Option<Instant> {
        if self.until.is_none() && self.filled > 0 {
            return Some(*self.begun_until.get_or_insert_with(|| Instant::now() + BEGUN));
        }
        self.until
    }
}

/// Waits for what comes next.
fn wait(stream: &OwnedFd, until: Instant) -> Result<(), GuardError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(GuardError::Slow);
        }
        let left = Timespec::try_from(left).map_err(|_| GuardError::Slow)?;
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&left)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(GuardError::channel(errno.into())),
        }
    }
}
