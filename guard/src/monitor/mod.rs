//! The monitor: accepts, pins and has measured whoever asks for the token, and starts the processes that do the rest. It
//! never loads the vendor's module, and has no PIN.

mod admission;
mod attester;
mod client;
mod deadline;
mod descriptors;
mod fair;
mod granted;
mod greeting;
mod listening;
mod measurers;
mod pace;
mod renewals;
mod role;
mod tokens;
mod watched;
mod workers;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::attester::Verifier;
use configuration::Guard;
use gate::Limits;
use linux_ffi::SharedCounter;
use rustix::net::{SocketFlags, accept_with};

use crate::confinement;
use crate::error::GuardError;
use admission::Admission;
use attester::Attesting;
use measurers::Measurers;
use pace::Pace;
use renewals::Living;
use role::Program;
use tokens::Tokens;
use workers::Workers;

/// Threads of the monitor do little: hundreds of them must not take much memory.
const STACK: usize = 256 << 10;
/// After an accept that failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// What all clients share.
struct Monitor {
    settings: Arc<Guard>,
    admission: Admission,
    pace: Pace,
    measurers: Measurers,
    tokens: Tokens,
    workers: Workers,
    living: Living,
    /// What was used of the grants that have a rate, by all processes of this host.
    limits: Limits,
    /// How often objects of the token were changed, by whatever worker.
    changes: SharedCounter,
}

/// Runs the guard until it is told to end.
pub(crate) fn run(config: &Path) -> Result<(), GuardError> {
    let settings = Arc::new(configuration::load_guard(config)?);
    descriptors::make_room(settings.limits);
    // Of the address that others find it by, before anything is started that takes time: whoever comes early waits.
    let listener = listening::listen(&settings)?;
    // After the socket was given to its group, which takes another one.
    confinement::of_monitor(&settings)?;
    let program = Program::new()?;
    let attester = Attesting::start(program.clone(), Arc::clone(&settings))?;
    let monitor = Arc::new(Monitor {
        admission: Admission::new(settings.limits),
        pace: Pace::new(settings.limits),
        tokens: Tokens::new(attester, Verifier::new(&settings.configuration)?),
        workers: Workers::start(program.clone(), Arc::clone(&settings))?,
        measurers: Measurers::new(program, Arc::clone(&settings)),
        changes: SharedCounter::new()?,
        living: Living::default(),
        limits: Limits::default(),
        settings,
    });
    renewals::start(&monitor)?;
    tracing::info!(socket = %monitor.settings.socket.display(), "ready");
    loop {
        match accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(stream) => serve(&monitor, stream),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Serves a client on a thread of its own.
fn serve(monitor: &Arc<Monitor>, stream: OwnedFd) {
    let monitor = Arc::clone(monitor);
    let started = thread("client", move || greeting::serve(&monitor, &stream));
    if let Err(error) = started {
        tracing::warn!(%error, "a client was turned away");
    }
}

/// Runs `work` on a thread of its own.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), GuardError> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    builder.spawn(work).map(drop).map_err(GuardError::Thread)
}
