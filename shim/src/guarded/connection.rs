//! One connection for calls: a frame out, a frame in, for one thread at a time. The frames go through shared memory where the
//! guard has given some, and over the socket where it has not, or where they are too large.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::Remote;
use cryptoki_ffi::calls;
use guard_wire::{
    Code, Control, Crowd, HEADER, Header, OfThread, Passed, Reader, SLOT, Side, Sleep, Slot, Waiter,
    WireError, Writer,
};
use linux_ffi::socket::{self, Descriptors};
use linux_ffi::this_thread;
use linux_ffi::{LinuxError, SharedMemory, futex, preemptions, processor};
use pkcs11_table::FlatMechanisms;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Buffers that have become larger are given back after the call.
const USUAL: usize = 64 << 10;

/// After so long a sleep it is looked whether the guard is still there.
const ASLEEP: Duration = Duration::from_millis(50);

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

/// What the guard has handed out.
pub(super) struct Handed {
    /// The socket.
    pub(super) stream: OwnedFd,
    /// The memory, where there is some.
    pub(super) memory: Option<OwnedFd>,
}

/// A connection that the guard has handed out.
pub(super) struct Connection {
    stream: OwnedFd,
    memory: Option<SharedMemory>,
    /// Why there is none, where the guard has offered some.
    unshared: Option<LinuxError>,
    waiter: Waiter,
    /// The thread that it has answered last.
    thread: u64,
    sequence: u64,
    out: Writer,
    answer: Vec<u8>,
}

impl Connection {
    /// The memory is mapped, and nothing else leads to it any more. The guard is told so over the socket, which tells it that it
    /// was this process. Where it cannot be mapped, or is not sealed as far as can be seen, calls go over the socket.
    pub(super) fn over(handed: Handed, crowd: Arc<Crowd>) -> Result<Self, Broken> {
        let (memory, unshared) = match handed.memory.map(|memory| SharedMemory::map(memory, SLOT)).transpose()
        {
            Ok(memory) => (memory, None),
            Err(error) => (None, Some(error)),
        };
        let (mut out, answer) = (Writer::new(), Vec::new());
        if let Some(memory) = &memory {
            let placed = Control::Placed { address: core::ptr::from_ref(memory.first()).addr() as u64 };
            placed.encode(&mut out)?;
            send(&handed.stream, out.frame(placed.code(), 0)?)?;
        }
        Ok(Self {
            stream: handed.stream,
            memory,
            unshared,
            waiter: Waiter::new(crowd, Side::Client, OfThread { preemptions, processor }),
            thread: this_thread(),
            sequence: 0,
            out,
            answer,
        })
    }

    /// Why calls go over the socket, although the guard would have it otherwise.
    pub(super) const fn unshared(&self) -> Option<&LinuxError> {
        self.unshared.as_ref()
    }

    /// Whether this thread was the last to use it: then the guard's thread at the other end has what it needs at hand, and
    /// perhaps still looks out for the next call.
    pub(super) fn is_of_this_thread(&self) -> bool {
        self.thread == this_thread()
    }

    /// Has the guard answer a call. The parameters of the mechanisms `flat` are bytes to it.
    pub(super) fn call<C: Remote>(&mut self, call: &C, flat: &FlatMechanisms) -> Result<CK_RV, Broken> {
        self.out.clear(USUAL);
        // Nothing has been sent: the answer is the application's, and the connection as good as before.
        if let Err(rv) = call.encode(flat, &mut self.out) {
            return Ok(rv);
        }
        let answer = self.exchange(Code::Call(C::FUNCTION))?;
        Ok(call.deliver(&mut Reader::new(answer))?)
    }

    /// Has the guard answer a `C_GetInfo` of the lists of 3.x.
    pub(super) fn newest_info(&mut self, call: &calls::C_GetInfo) -> Result<CK_RV, Broken> {
        self.out.clear(USUAL);
        if let Err(rv) = call.encode(&FlatMechanisms::NONE, &mut self.out) {
            return Ok(rv);
        }
        let answer = self.exchange(Code::NewestInfo)?;
        Ok(call.deliver(&mut Reader::new(answer))?)
    }

    fn exchange(&mut self, code: Code) -> Result<&[u8], Broken> {
        self.sequence = self.sequence.wrapping_add(1);
        self.thread = this_thread();
        let frame = self.out.frame(code, self.sequence)?;
        let Some(memory) = &self.memory else {
            send(&self.stream, frame)?;
            return self.receive();
        };
        let slot = Slot::over(memory.first(), memory.words()).ok_or(Broken::OutOfOrder)?;
        if slot.put(frame) {
            self.waiter.pass(&slot, &Asleep);
        } else {
            slot.put_by_socket();
            self.waiter.pass(&slot, &Asleep);
            send(&self.stream, frame)?;
        }
        while !self.waiter.wait(&slot, &Asleep, ASLEEP) {
            if is_closed(&self.stream)? {
                return Err(Broken::Closed);
            }
        }
        match slot.take(&mut self.answer)? {
            Passed::Here => self.taken(),
            Passed::BySocket => self.receive(),
        }
    }

    /// The body of the answer that was taken out of the memory.
    fn taken(&self) -> Result<&[u8], Broken> {
        let (header, body) = self.answer.split_first_chunk::<HEADER>().ok_or(Broken::OutOfOrder)?;
        let header = self.check(*header)?;
        if body.len() == header.length() { Ok(body) } else { Err(Broken::OutOfOrder) }
    }

    fn check(&self, header: [u8; HEADER]) -> Result<Header, Broken> {
        let header = Header::decode(header)?;
        let is_answer = header.code() == Code::Answer && header.sequence() == self.sequence;
        if is_answer { Ok(header) } else { Err(Broken::OutOfOrder) }
    }

    fn receive(&mut self) -> Result<&[u8], Broken> {
        if self.answer.len() > USUAL {
            self.answer.truncate(USUAL);
            self.answer.shrink_to_fit();
        }
        let filled = self.fill(0, HEADER)?;
        let header = *self.answer.first_chunk::<HEADER>().ok_or(Broken::Closed)?;
        let header = self.check(header)?;
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

/// Sleeps until the guard wakes it, or for so long.
struct Asleep;

impl Sleep for Asleep {
    fn sleep(&self, turn: &AtomicU32, expected: u32, at_most: Duration) {
        futex::sleep_while(turn, expected, at_most);
    }

    fn wake(&self, turn: &AtomicU32) {
        futex::wake(turn);
    }
}

fn send(stream: &OwnedFd, mut frame: &[u8]) -> Result<(), Broken> {
    while !frame.is_empty() {
        let sent = socket::send(stream.as_fd(), frame, &[])?;
        frame = frame.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Whether the other side of the socket is there no more.
fn is_closed(stream: &OwnedFd) -> Result<bool, Broken> {
    let mut socket = [PollFd::new(stream, PollFlags::RDHUP)];
    match poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(Broken::Socket(LinuxError::Call { call: "poll", source: errno.into() })),
    }
}
