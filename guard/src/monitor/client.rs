//! One client process, from the time that it is let in to its end: its worker, its connections, and what becomes of both.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use configuration::Transport;
use cryptoki_sys::{CKR_DEVICE_ERROR, CKR_HOST_MEMORY};
use guard_wire::{Control, SLOT};
use linux_ffi::{sealed_memory, socket};
use rustix::event::{PollFd, PollFlags, poll};

use super::Monitor;
use super::greeting::{PATIENCE, turn_away};
use super::role::Role;
use super::watched::Watched;
use super::workers::Ready;
use crate::channel::Channel;
use crate::error::GuardError;
use crate::frames;
use crate::messages::ToWorker;

/// A process that has shown itself to be at the other end, with the worker that serves it.
pub(super) struct Client {
    monitor: Arc<Monitor>,
    watched: Arc<Watched>,
    worker: Role,
    connections: u32,
}

impl Client {
    /// Gives the process a worker, and its first connection.
    pub(super) fn start(
        monitor: &Arc<Monitor>,
        watched: Watched,
        stream: &OwnedFd,
    ) -> Result<Self, GuardError> {
        let Ready { role: worker, flat, .. } = match monitor.workers.take() {
            Ok(ready) => ready,
            Err(error) => {
                turn_away(stream, CKR_DEVICE_ERROR, "the guard cannot start a process for this one")?;
                return Err(error);
            }
        };
        let watched = Arc::new(watched);
        monitor.living.add(&watched);
        let (questions, workers_questions) = Channel::pair()?;
        let (tokens, workers_tokens) = Channel::pair()?;
        worker.channel.send_with(
            &ToWorker::Serve(watched.served()),
            &[
                watched.process().pinned().pidfd(),
                watched.process().pinned().memory(),
                workers_questions.as_fd(),
                workers_tokens.as_fd(),
                monitor.changes.as_fd(),
                monitor.workers.administrations(),
            ],
        )?;
        let (of_questions, of_tokens) = (Arc::clone(&watched), Arc::clone(&watched));
        let (for_questions, for_tokens) = (Arc::clone(monitor), Arc::clone(monitor));
        super::thread("questions", move || of_questions.answer_questions(&for_questions, &questions))?;
        super::thread("tokens", move || of_tokens.answer_tokens(&for_tokens, &tokens))?;
        let mut client = Self { monitor: Arc::clone(monitor), watched, worker, connections: 0 };
        let theirs = client.connection()?;
        let welcome = Control::Welcome { interfaces: monitor.workers.interfaces(), flat };
        frames::send(stream, &welcome, &borrowed(&theirs))?;
        Ok(client)
    }

    /// Hands the worker one end of a new connection, and gives the other, which nobody else has: who uses it has received it
    /// on the connection that was pinned. So it is with the memory that may go with it: nobody else can map it, and it is gone
    /// from a process that executes a program, and not in its children.
    fn connection(&mut self) -> Result<Vec<OwnedFd>, GuardError> {
        let (ours, theirs) = socket::pair()?;
        // Before anything can be sent: each piece that arrives says who sent it.
        socket::ask_for_sender(ours.as_fd())?;
        let memory = match self.monitor.settings.transport {
            Transport::SharedMemory => Some(sealed_memory(SLOT)?),
            Transport::Socket => None,
        };
        let with = |first: OwnedFd, memory: &Option<OwnedFd>| -> io::Result<Vec<OwnedFd>> {
            let memory = memory.as_ref().map(OwnedFd::try_clone).transpose()?;
            Ok(core::iter::once(first).chain(memory).collect())
        };
        let (ours, theirs) = with(ours, &memory)
            .and_then(|ours| Ok((ours, with(theirs, &memory)?)))
            .map_err(GuardError::channel)?;
        self.worker.channel.send_with(&ToWorker::Connection, &borrowed(&ours))?;
        self.connections += 1;
        Ok(theirs)
    }

    /// Waits for the end of the process, of its instance of the shim, or of the worker.
    pub(super) fn attend(mut self, stream: &OwnedFd) -> Result<(), GuardError> {
        loop {
            let mut awaited = [
                PollFd::new(stream, PollFlags::IN),
                PollFd::new(&self.worker, PollFlags::IN),
                PollFd::from_borrowed_fd(self.watched.process().pinned().pidfd(), PollFlags::IN),
            ];
            match poll(&mut awaited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(GuardError::channel(errno.into())),
            }
            let [client, worker, process] = awaited.map(|awaited| !awaited.revents().is_empty());
            // A worker says nothing once it serves: it has ended, or has no business to. Where its client has ended too, that
            // may be why: it had only begun.
            if worker {
                if !process {
                    tracing::warn!(pid = self.watched.served().pid, "a worker has ended before its client");
                }
                return Ok(());
            }
            if process || (client && !self.answer(stream)?) {
                break;
            }
        }
        self.worker.channel.send(&ToWorker::End)?;
        self.worker.wait();
        Ok(())
    }

    /// Answers the client; false where it has said that it is done.
    fn answer(&mut self, stream: &OwnedFd) -> Result<bool, GuardError> {
        match frames::receive(stream, self.watched.served().pid, Instant::now() + PATIENCE)? {
            None => Ok(false),
            Some(Control::More) => {
                // Descriptors that nobody takes out count for the guard: so many, and it can send no more to anybody.
                if socket::has_unread(stream.as_fd())? {
                    return Err(GuardError::OutOfPlace);
                }
                if self.connections >= self.monitor.settings.limits.connections {
                    turn_away(stream, CKR_HOST_MEMORY, "this process has as many connections as it may")?;
                    return Ok(true);
                }
                let theirs = self.connection()?;
                frames::send(stream, &Control::Another, &borrowed(&theirs))?;
                Ok(true)
            }
            Some(_) => Err(GuardError::OutOfPlace),
        }
    }
}

fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(OwnedFd::as_fd).collect()
}
