//! One client process, from its connection to its end: who it is, its worker, and what becomes of both.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attestation::component::Component;
use attestation::digest::Digest;
use configuration::Transport;
use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_HOST_MEMORY};
use gate::{AttestationFailure, FailureKind};
use guard_wire::{Control, NONCE, SLOT};
use linux_ffi::{sealed_memory, socket};
use locks::Mutex;
use measurement::peer::{Confirmed, Connected};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::Monitor;
use super::admission::Admitted;
use super::role::Role;
use super::tokens::Standing;
use crate::channel::{Channel, Message};
use crate::error::GuardError;
use crate::frames;
use crate::messages::{
    Attest, Attested, FromMeasurer, Looked, Question, Served, Taken, ToMeasurer, ToWorker,
};

/// How long a client may take for each step of becoming one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves whoever has connected.
pub(super) fn serve(monitor: &Arc<Monitor>, stream: &OwnedFd) {
    if let Err(error) = greet(monitor, stream) {
        tracing::warn!(%error, "a client's connection was closed");
    }
}

fn greet(monitor: &Arc<Monitor>, stream: &OwnedFd) -> Result<(), GuardError> {
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(stream, timeout, Some(PATIENCE))
            .map_err(|errno| GuardError::channel(errno.into()))?;
    }
    socket::ask_for_sender(stream.as_fd())?;
    let connected = Connected::of(stream.as_fd())?;
    let Some(admitted) = monitor.admission.admit(connected.credentials().uid) else {
        return turn_away(stream, CKR_HOST_MEMORY, "the guard serves as many processes as it may");
    };
    let pinned = match connected.pin() {
        Ok(pinned) => pinned,
        Err(error) => {
            turn_away(stream, CKR_GENERAL_ERROR, &error.to_string())?;
            return Err(error.into());
        }
    };
    let (pid, nonce) = (pinned.pid(), nonce()?);
    frames::send(stream, &Control::Challenge { nonce }, &[])?;
    match frames::receive(stream, pid)? {
        Some(Control::Ask) => {
            frames::send(stream, &Control::Offer { interfaces: monitor.workers.interfaces() }, &[])
        }
        Some(Control::Placed { address }) => {
            let confirmed = match pinned.confirm(address, nonce) {
                Ok(confirmed) => confirmed,
                Err(error) => {
                    turn_away(stream, CKR_GENERAL_ERROR, &error.to_string())?;
                    return Err(error.into());
                }
            };
            let served = Served { pid, nonce, address };
            Client::start(monitor, (served, confirmed, admitted), stream)?.attend(stream)
        }
        Some(_) => Err(GuardError::OutOfPlace),
        None => Ok(()),
    }
}

fn turn_away(stream: &OwnedFd, code: CK_RV, reason: &str) -> Result<(), GuardError> {
    frames::send(stream, &Control::Turned { code, reason: reason.to_owned() }, &[])
}

fn borrowed(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(OwnedFd::as_fd).collect()
}

fn nonce() -> Result<[u8; NONCE], GuardError> {
    let mut nonce = [0; NONCE];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| GuardError::channel(errno.into()))?;
    Ok(nonce)
}

/// A process that has shown itself to be at the other end, with the worker that serves it.
struct Client {
    monitor: Arc<Monitor>,
    watched: Arc<Watched>,
    worker: Role,
    connections: u32,
}

/// The process, for those who look at it.
pub(super) struct Watched {
    served: Served,
    process: Confirmed,
    /// Counts for as long as anybody works on it: what waits for a stalled file of its own may outlive it, and is not even ended
    /// by SIGKILL.
    _admitted: Admitted,
    /// What it was when it was given a token, and which.
    known: Mutex<Option<Known>>,
}

struct Known {
    state: Digest,
    /// Those that were measured with it.
    files: Vec<PathBuf>,
    /// None of a token that the process has handed in.
    standing: Option<Standing>,
}

impl Known {
    fn is_still(&self, state: Digest) -> bool {
        self.state == state && self.standing.as_ref().is_none_or(Standing::is_good)
    }
}

impl Client {
    /// Gives the process a worker, and its first connection.
    fn start(
        monitor: &Arc<Monitor>,
        (served, process, admitted): (Served, Confirmed, Admitted),
        stream: &OwnedFd,
    ) -> Result<Self, GuardError> {
        let worker = match monitor.workers.take() {
            Ok(worker) => worker,
            Err(error) => {
                turn_away(stream, CKR_DEVICE_ERROR, "the guard cannot start a process for this one")?;
                return Err(error);
            }
        };
        let watched = Arc::new(Watched { served, process, _admitted: admitted, known: Mutex::new(None) });
        monitor.living.add(&watched);
        let (questions, workers_questions) = Channel::pair()?;
        let (tokens, workers_tokens) = Channel::pair()?;
        worker.channel.send_with(
            &ToWorker::Serve(watched.served),
            &[
                watched.process.pinned().pidfd(),
                watched.process.pinned().memory(),
                workers_questions.as_fd(),
                workers_tokens.as_fd(),
                monitor.changes.as_fd(),
            ],
        )?;
        let (of_questions, of_tokens) = (Arc::clone(&watched), Arc::clone(&watched));
        let (for_questions, for_tokens) = (Arc::clone(monitor), Arc::clone(monitor));
        super::thread("questions", move || {
            ended(answer_questions(&for_questions, &of_questions, &questions))
        })?;
        super::thread("tokens", move || ended(answer_tokens(&for_tokens, &of_tokens, &tokens)))?;
        let mut client = Self { monitor: Arc::clone(monitor), watched, worker, connections: 0 };
        let theirs = client.connection()?;
        let welcome = Control::Welcome { interfaces: monitor.workers.interfaces() };
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
    fn attend(mut self, stream: &OwnedFd) -> Result<(), GuardError> {
        loop {
            let mut awaited = [
                PollFd::new(stream, PollFlags::IN),
                PollFd::new(&self.worker, PollFlags::IN),
                PollFd::from_borrowed_fd(self.watched.process.pinned().pidfd(), PollFlags::IN),
            ];
            match poll(&mut awaited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(GuardError::channel(errno.into())),
            }
            let [client, worker, process] = awaited.map(|awaited| !awaited.revents().is_empty());
            // A worker says nothing once it serves: it has ended, or has no business to.
            if worker {
                tracing::warn!(pid = self.watched.served.pid, "a worker has ended before its client");
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
        match frames::receive(stream, self.watched.served.pid)? {
            None => Ok(false),
            Some(Control::More) => {
                self.watched.process.holds()?;
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

impl Watched {
    fn ask(&self, monitor: &Monitor, request: &ToMeasurer) -> Result<FromMeasurer, GuardError> {
        monitor.measurers.ask(request, &[self.process.pinned().pidfd(), self.process.pinned().memory()])
    }

    /// What has become of the process since it was measured, and of the token that it was given.
    fn look(&self, monitor: &Monitor) -> Looked {
        let mut known = self.known.lock();
        let Some(before) = &*known else { return Looked::Unmeasured };
        let request = ToMeasurer::Look { served: self.served, files: before.files.clone() };
        let now = match self.ask(monitor, &request) {
            Ok(FromMeasurer::State(state)) => Ok(state),
            Ok(FromMeasurer::Failed { detail }) => Err(detail),
            Ok(FromMeasurer::Measured { .. }) => Err(GuardError::OutOfPlace.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match now {
            Ok(state) if before.is_still(state) => return Looked::Same,
            Ok(_) => tracing::info!(pid = self.served.pid, "a client is not what it was measured as"),
            Err(detail) => tracing::warn!(pid = self.served.pid, detail, "a client cannot be looked at"),
        }
        *known = None;
        Looked::Changed
    }

    /// Measures the process anew, and has a token for it.
    fn attest(&self, monitor: &Monitor, asked: Attest) -> Attested {
        let (component, files, state) = match self.measure(monitor, asked.within_ms) {
            Ok(measured) => measured,
            Err(detail) => return unmeasured(asked, detail),
        };
        let (attested, standing) = monitor.tokens.obtain(*component, asked);
        // Without a new token, one that there was may go on to count: as long as the process is what it was then.
        if attested.result.is_ok() {
            *self.known.lock() = Some(Known { state, files, standing });
        }
        attested
    }

    /// Has the process's token renewed if it is time: for the process as it is now, if that is what it was.
    pub(super) fn renew_if_due(&self, monitor: &Monitor) {
        let Ok(now_ms) = linux_ffi::boottime_ms() else { return };
        let known = self.known.lock();
        let before = match &*known {
            Some(Known { state, standing: Some(standing), .. }) if standing.is_due(now_ms) => *state,
            _ => return,
        };
        drop(known);
        // What has changed is the next look's to find.
        if let Ok((component, _, state)) = self.measure(monitor, None)
            && state == before
        {
            monitor.tokens.renew(*component);
        }
    }

    fn measure(
        &self,
        monitor: &Monitor,
        within_ms: Option<u64>,
    ) -> Result<(Box<Component>, Vec<PathBuf>, Digest), String> {
        match self.ask(monitor, &ToMeasurer::Measure { served: self.served, within_ms }) {
            Ok(FromMeasurer::Measured { component, files, state }) => Ok((component, files, state)),
            Ok(FromMeasurer::Failed { detail }) => Err(detail),
            Ok(FromMeasurer::State(_)) => Err(GuardError::OutOfPlace.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn unmeasured(asked: Attest, detail: String) -> Attested {
    let failure = AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "measurement-failed".to_owned(),
        detail,
        decision: None,
    };
    Attested { result: Err(failure), undelivered: Some(asked.report).filter(|report| !report.is_empty()) }
}

fn answer_questions(monitor: &Monitor, watched: &Watched, channel: &Channel) -> Result<(), GuardError> {
    while let Some(Message { content, .. }) = channel.receive()? {
        match content {
            Question::Look => channel.send(&watched.look(monitor))?,
            Question::Take(limits) => {
                let grant = monitor.limits.take(&limits, linux_ffi::boottime_ms()?);
                channel.send(&Taken(grant))?;
            }
            Question::GiveBack(grant) => {
                monitor.limits.give_back(&grant);
                channel.send(&Taken(None))?;
            }
        }
    }
    Ok(())
}

fn answer_tokens(monitor: &Monitor, watched: &Watched, channel: &Channel) -> Result<(), GuardError> {
    while let Some(Message { content, .. }) = channel.receive::<Attest>()? {
        channel.send(&watched.attest(monitor, content))?;
    }
    Ok(())
}

fn ended(result: Result<(), GuardError>) {
    if let Err(error) = result {
        // The worker waits in vain and refuses: it was ended, or is about to be.
        tracing::debug!(%error, "a worker is no longer answered");
    }
}
