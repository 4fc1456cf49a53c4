//! A worker: the gate in front of the real module, for one client process. It has the module and its PIN, and nothing else.

mod asking;
mod connection;
mod counting;
mod watch;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use attester::Verifier;
use configuration::Login;
use gate::Limits;
use gated_module::{AttestationPlace, GatedModule, Log, Logins};
use guard_wire::Waiting;
use linux_ffi::SharedCounter;
use locks::Mutex;
use measurement::peer::Confirmed;

use crate::channel::{Channel, Message};
use crate::error::GuardError;
use crate::messages::{FromWorker, Served, ToWorker};
use crate::{confinement, module};
use asking::Asking;
use connection::Connection;
use counting::Counting;
use watch::Watch;

/// Calls go down into the real module, whose needs are not known.
const STACK: usize = 2 << 20;

/// What the threads of a worker share.
struct Worker {
    served: Served,
    /// With its memory, as it was when it was pinned: empty once it runs another program.
    process: Confirmed,
    watch: Watch,
    waiting: Waiting,
    module: GatedModule,
}

/// Gets the real module ready, and serves the process that the monitor names.
pub(crate) fn run(config: &Path) -> Result<(), GuardError> {
    let guard = configuration::load_guard(config)?;
    let control = Channel::of_standard_input()?;
    let logins = logins(&guard.login)?;
    confinement::leave_network(&guard)?;
    confinement::become_user(guard.worker_user.as_ref(), "worker_user")?;
    let module = match module::initialized(&guard.configuration) {
        Ok(module) => module,
        Err(error) => return control.send(&FromWorker::Failed { reason: error.to_string() }),
    };
    control.send(&FromWorker::Ready { interfaces: module.versions() })?;
    let Some(Message { content: ToWorker::Serve(served), descriptors }) = control.receive()? else {
        return Ok(());
    };
    let [pidfd, memory, questions, tokens, changes] =
        <[OwnedFd; 5]>::try_from(descriptors).map_err(|_| GuardError::OutOfPlace)?;
    let settings = &guard.configuration;
    let asking = Asking::new(Channel::of(tokens), Verifier::new(settings)?);
    let place = Arc::new(AttestationPlace::new(&settings.attestation, module)?);
    let questions = Arc::new(Mutex::new(Channel::of(questions)));
    let limits = Limits::elsewhere(Arc::new(Counting(Arc::clone(&questions))));
    let log = Log::of(&settings.log.target).on_behalf_of(served.pid);
    let worker = Arc::new(Worker {
        served,
        process: served.process(pidfd, memory)?,
        watch: Watch::new(questions),
        waiting: Waiting::default(),
        module: GatedModule::new(place, settings.gate, Box::new(asking), Box::new(log))
            .with_limits(limits)
            .with_shared_changes(Box::new(SharedCounter::of(changes)?))
            .with_bounds(logins, usize::try_from(guard.limits.sessions).unwrap_or(usize::MAX)),
    });
    serve(&worker, &control)?;
    // Calls that are under way belong to nobody any more: what they leave behind ends with this process.
    worker.module.say_farewell();
    Ok(())
}

/// Whoever may not use a key gets no PIN tried: it could lock the token.
fn logins(login: &Login) -> Result<Logins, GuardError> {
    match login {
        Login::PassThrough => Ok(Logins::Attested),
        Login::Guard { pin_file } => confinement::pin_file(pin_file).map(Logins::With),
    }
}

/// Takes in connections until the client is gone.
fn serve(worker: &Arc<Worker>, control: &Channel) -> Result<(), GuardError> {
    while let Some(Message { content, descriptors }) = control.receive()? {
        match content {
            ToWorker::Connection => {
                let connection = Connection::over(descriptors)?;
                let worker = Arc::clone(worker);
                thread::Builder::new()
                    .name("connection".to_owned())
                    .stack_size(STACK)
                    .spawn(move || connection::serve(&worker, &connection))
                    .map_err(GuardError::Thread)?;
            }
            ToWorker::End => break,
            ToWorker::Serve(_) => return Err(GuardError::OutOfPlace),
        }
    }
    Ok(())
}
