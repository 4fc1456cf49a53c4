//! One connection of a client: its frames in, the gate's answers out. Whatever is out of order closes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use cryptoki_ffi::{Arena, Remote as _, calls};
use guard_wire::{
    Code, HEADER, Header, Kind, OfThread, Passed, Processor, SLOT, Side, Sleep, Slot, Waiter, Writer,
};
use linux_ffi::{SharedMemory, futex, preemptions, processor};
use pkcs11_table::{Class, Function};
use rustix::net::Shutdown;

use super::Worker;
use super::processors::Processors;
use crate::channel::send_all;
use crate::error::GuardError;
use crate::frames::Incoming;

/// A buffer that has become larger is given back.
const USUAL: usize = 64 << 10;
/// The process ends with its client: nothing has to be looked after meanwhile.
const ASLEEP: Duration = Duration::from_secs(3600);
/// A thread that keeps to one processor is not to wait for that when it has slept for so long.
const ASLEEP_ON_ONE: Duration = Duration::from_millis(20);

/// What was handed out to the client.
pub(super) struct Connection {
    stream: OwnedFd,
    /// Carries the frames, but for those that are too large; where there is none, the socket does.
    memory: Option<SharedMemory>,
}

impl Connection {
    /// Over what came along: a socket, and memory or none.
    pub(super) fn over(descriptors: Vec<OwnedFd>) -> Result<Self, GuardError> {
        let mut descriptors = descriptors.into_iter();
        let stream = descriptors.next().ok_or(GuardError::OutOfPlace)?;
        let memory = descriptors.next().map(|memory| SharedMemory::map(memory, SLOT)).transpose()?;
        if descriptors.next().is_none() { Ok(Self { stream, memory }) } else { Err(GuardError::OutOfPlace) }
    }
}

/// Serves a connection until the client closes it, or is not who it was.
pub(super) fn serve(worker: &Worker, connection: &Connection) {
    let arena = Arena::taking(worker.module.flat_mechanisms().clone());
    let mut desk = Desk { worker, arena, answer: Writer::new() };
    let served = match &connection.memory {
        None => desk.over_socket(&connection.stream, Incoming::new(worker.served.pid, &worker.large)),
        Some(memory) => desk.over_memory(&connection.stream, memory),
    };
    if let Err(error) = served {
        tracing::warn!(pid = worker.served.pid, %error, "a client's connection was closed");
    }
    // The client may have handed it on.
    let _ = rustix::net::shutdown(&connection.stream, Shutdown::Both);
}

/// Where calls are answered, one at a time.
struct Desk<'a> {
    worker: &'a Worker,
    arena: Arena,
    answer: Writer,
}

impl Desk<'_> {
    fn over_socket(&mut self, stream: &OwnedFd, mut incoming: Incoming) -> Result<(), GuardError> {
        while let Some((header, body)) = incoming.next(stream, is_call)? {
            self.answer_by_socket(stream, header, body)?;
        }
        Ok(())
    }

    fn answer_by_socket(&mut self, stream: &OwnedFd, header: Header, body: &[u8]) -> Result<(), GuardError> {
        // Of another program in the same process, nothing counts. An exec during the call gains nothing: the answer goes to
        // whoever asked.
        self.worker.process.holds()?;
        send_all(stream.as_fd(), self.answer(header, body)?, &[])
    }

    /// Whoever writes to the memory is the client, once that has said, as the sender of the socket's frames, that it has the memory
    /// mapped: nothing in the memory tells who writes to it, and whoever else holds the connection that it came along with has been
    /// given it as well. A program that the client executes or a child has it not. A client that cannot map it, or not as memory that
    /// nobody takes away, goes on over the socket.
    fn over_memory(&mut self, stream: &OwnedFd, memory: &SharedMemory) -> Result<(), GuardError> {
        let slot = Slot::over(memory.first(), memory.words()).ok_or(GuardError::OutOfPlace)?;
        let mut incoming = Incoming::new(self.worker.served.pid, &self.worker.large);
        let begins = |code| code == Code::Control(Kind::Placed) || is_call(code);
        match incoming.next(stream, begins)? {
            None => return Ok(()),
            Some((header, body)) if is_call(header.code()) => {
                self.answer_by_socket(stream, header, body)?;
                return self.over_socket(stream, incoming);
            }
            Some(_) => {}
        }
        self.worker.process.holds()?;
        let mut frame = Vec::new();
        let mut waiter =
            Waiter::new(Arc::clone(&self.worker.crowd), Side::Server, OfThread { preemptions, processor });
        let mut processors = Processors::of_this_thread();
        loop {
            while !waiter.wait(&slot, &Asleep, longest_sleep(processors.are_restricted())) {
                processors.keep_to(Processor::Any);
            }
            let (header, body) = match slot.take(&mut frame)? {
                Passed::Here => split(&frame)?,
                Passed::BySocket => match incoming.next(stream, is_call)? {
                    Some(next) => {
                        self.worker.process.holds()?;
                        next
                    }
                    None => return Ok(()),
                },
            };
            processors.keep_to(if is_short(header.code()) {
                waiter.best_processor()
            } else {
                Processor::Any
            });
            let answer = self.answer(header, body)?;
            incoming.forget();
            if slot.put(answer) {
                waiter.pass(&slot, &Asleep);
            } else {
                slot.put_by_socket();
                waiter.pass(&slot, &Asleep);
                send_all(stream.as_fd(), answer, &[])?;
            }
        }
    }

    /// The frame that answers a call.
    fn answer(&mut self, header: Header, body: &[u8]) -> Result<&[u8], GuardError> {
        let Self { worker, arena, answer } = self;
        answer.clear(USUAL);
        match header.code() {
            Code::Call(function) => {
                if uses_keys(function.class()) {
                    worker.watch.look_again(|| {
                        worker.large.trust_until(0);
                        worker.module.attest_anew();
                    })?;
                }
                cryptoki_ffi::serve(function, body, &worker.module, arena, answer)?;
            }
            Code::NewestInfo => {
                let newest = |call| worker.module.newest_info(call);
                calls::C_GetInfo::serve(body, arena, answer, newest)?;
            }
            _ => return Err(GuardError::OutOfPlace),
        }
        Ok(answer.frame(Code::Answer, header.sequence())?)
    }
}

/// The call that was taken out of the memory: one frame, and nothing else.
fn split(frame: &[u8]) -> Result<(Header, &[u8]), GuardError> {
    let (header, body) = frame.split_first_chunk::<HEADER>().ok_or(GuardError::CutShort)?;
    let header = Header::decode(*header)?;
    if is_call(header.code()) && body.len() == header.length() {
        Ok((header, body))
    } else {
        Err(GuardError::OutOfPlace)
    }
}

/// A thread that keeps to one processor looks after a while whether it still should: once, and never again until the next call.
const fn longest_sleep(is_on_one: bool) -> Duration {
    if is_on_one { ASLEEP_ON_ONE } else { ASLEEP }
}

/// Sleeps until the client wakes it, or for so long.
struct Asleep;

impl Sleep for Asleep {
    fn sleep(&self, turn: &AtomicU32, expected: u32, at_most: Duration) {
        futex::sleep_while(turn, expected, at_most);
    }

    fn wake(&self, turn: &AtomicU32) {
        futex::wake(turn);
    }
}

const fn is_call(code: Code) -> bool {
    matches!(code, Code::Call(_) | Code::NewestInfo)
}

/// Whether it is soon done, changes nothing that others wait for, and is none in which a module would start threads: those
/// would begin on the processor that it keeps to.
const fn is_short(code: Code) -> bool {
    use Function as F;
    match code {
        Code::Call(
            F::C_FindObjects | F::C_FindObjectsFinal | F::C_GetAttributeValue | F::C_GetSessionInfo,
        ) => true,
        Code::Call(function) => matches!(
            function.class(),
            Class::Begin(_) | Class::Continue(_) | Class::Dual(..) | Class::Keyless
        ),
        _ => false,
    }
}

/// Whether it takes a trust token, if only under some conditions.
const fn uses_keys(class: Class) -> bool {
    !matches!(class, Class::Library | Class::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_that_may_need_a_token_has_the_client_looked_at() {
        for function in Function::ALL {
            let is_open = matches!(function.class(), Class::Library | Class::Open);
            assert_eq!(uses_keys(function.class()), !is_open, "{function}");
        }
        assert!(
            !is_short(Code::Call(Function::C_Login)) && !is_short(Code::Call(Function::C_GenerateKeyPair))
        );
        assert!(is_short(Code::Call(Function::C_Sign)) && is_short(Code::Call(Function::C_GenerateRandom)));
        assert!(uses_keys(Function::C_Sign.class()) && uses_keys(Function::C_Login.class()));
    }
}
