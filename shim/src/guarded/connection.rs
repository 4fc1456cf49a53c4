//! One connection for calls: a frame out, a frame in, for one thread at a time.

use std::os::fd::{AsFd as _, OwnedFd};

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::Remote;
use cryptoki_ffi::calls;
use guard_wire::{Code, HEADER, Header, Reader, WireError, Writer};
use linux_ffi::LinuxError;
use linux_ffi::socket::{self, Descriptors};

/// Buffers that have become larger are given back after the call.
const USUAL: usize = 64 << 10;

/// The connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The kernel says so.
    #[error(transparent)]
    Socket(#[from] LinuxError),
    /// The guard has closed it.
    #[error("the guard has closed the connection")]
    Closed,
    /// What came is no answer to what was asked.
    #[error("the guard's answer cannot be read: {0}")]
    Answer(#[from] WireError),
    /// It answers another call.
    #[error("the guard has answered another call")]
    OutOfOrder,
}

/// A connection that the guard has handed out.
pub(super) struct Connection {
    stream: OwnedFd,
    sequence: u64,
    out: Writer,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) fn over(stream: OwnedFd) -> Self {
        Self { stream, sequence: 0, out: Writer::new(), answer: Vec::new() }
    }

    /// Has the guard answer a call.
    pub(super) fn call<C: Remote>(&mut self, call: &C) -> Result<CK_RV, Broken> {
        self.out.clear(USUAL);
        // Nothing has been sent: the answer is the application's, and the connection as good as before.
        if let Err(rv) = call.encode(&mut self.out) {
            return Ok(rv);
        }
        let answer = self.exchange(Code::Call(C::FUNCTION))?;
        Ok(call.deliver(&mut Reader::new(answer))?)
    }

    /// Has the guard answer a `C_GetInfo` of the lists of 3.x.
    pub(super) fn newest_info(&mut self, call: &calls::C_GetInfo) -> Result<CK_RV, Broken> {
        self.out.clear(USUAL);
        if let Err(rv) = call.encode(&mut self.out) {
            return Ok(rv);
        }
        let answer = self.exchange(Code::NewestInfo)?;
        Ok(call.deliver(&mut Reader::new(answer))?)
    }

    fn exchange(&mut self, code: Code) -> Result<&[u8], Broken> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut frame = self.out.frame(code, self.sequence)?;
        while !frame.is_empty() {
            let sent = socket::send(self.stream.as_fd(), frame, &[])?;
            frame = frame.get(sent..).unwrap_or_default();
        }
        self.receive()
    }

    fn receive(&mut self) -> Result<&[u8], Broken> {
        if self.answer.len() > USUAL {
            self.answer.truncate(USUAL);
            self.answer.shrink_to_fit();
        }
        let filled = self.fill(0, HEADER)?;
        let header = *self.answer.first_chunk::<HEADER>().ok_or(Broken::Closed)?;
        let header = Header::decode(header)?;
        if header.code() != Code::Answer || header.sequence() != self.sequence {
            return Err(Broken::OutOfOrder);
        }
        let whole = HEADER + header.length();
        if self.fill(filled, whole)? > whole {
            return Err(Broken::OutOfOrder);
        }
        self.answer.get(HEADER..whole).ok_or(Broken::Closed)
    }

    /// Reads on from `filled` until there are `wanted` bytes; how many there are.
    fn fill(&mut self, mut filled: usize, wanted: usize) -> Result<usize, Broken> {
        self.answer.resize(self.answer.len().max(wanted).max(USUAL), 0);
        while filled < wanted {
            let room = self.answer.get_mut(filled..).unwrap_or_default();
            match socket::receive(self.stream.as_fd(), room, Descriptors::Refused)?.bytes {
                0 => return Err(Broken::Closed),
                more => filled += more,
            }
        }
        Ok(filled)
    }
}
