//! A worker: the gate in front of the real module, for one client process. It has the module and its PIN, and nothing else.

mod asking;
mod connection;
mod counting;
mod processors;
mod watch;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use attester::Verifier;
use configuration::Login;
use cryptoki_ffi::Turns;
use gate::Limits;
use gated_module::{AttestationPlace, GatedModule, Log, Logins, Pins};
use guard_wire::Crowd;
use linux_ffi::SharedCounter;
use locks::Mutex;
use measurement::MeasurementError;
use measurement::peer::Confirmed;

use crate::channel::{Channel, Message};
use crate::error::GuardError;
use crate::large::Large;
use crate::messages::{FromWorker, Served, ToWorker};
use crate::turns::{Places, WorkersTurns};
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
    /// Memory for large frames, of all connections together.
    large: Arc<Large>,
    crowd: Arc<Crowd>,
    module: GatedModule,
}

/// Gets the real module ready, and serves the process that the monitor names.
pub(crate) fn run(config: &Path) -> Result<(), GuardError> {
    let guard = configuration::load_guard(config)?;
    let control = Channel::of_standard_input()?;
    let logins = logins(&guard.login)?;
    confinement::leave_network(&guard)?;
    confinement::end_before_others();
    confinement::become_user(guard.worker_user.as_ref(), "worker_user")?;
    confinement::limit_memory_and_descriptors(&guard)?;
    let turns = places(&control)?.map(|places| &*Box::leak(Box::new(WorkersTurns::at(places))));
    let module = match module::initialized(&guard.configuration, turns.map(|turns| turns as &dyn Turns)) {
        Ok(module) => module,
        Err(error) => return control.send(&FromWorker::Failed { reason: error.to_string() }),
    };
    let flat = guard.configuration.gate.flat_mechanisms.numbers().to_vec();
    control.send(&FromWorker::Ready { interfaces: module.versions(), flat })?;
    let Some(Message { content: ToWorker::Serve(served), descriptors }) = control.receive()? else {
        return Ok(());
    };
    let [pidfd, memory, questions, tokens, changes, administrations] =
        <[OwnedFd; 6]>::try_from(descriptors).map_err(|_| GuardError::OutOfPlace)?;
    let process = match served.process(pidfd, memory) {
        // There is nobody to serve, and nothing wrong with that.
        Err(MeasurementError::Ended) => return Ok(()),
        process => process?,
    };
    let settings = &guard.configuration;
    let large = Arc::<Large>::default();
    let asking = Asking::new(Channel::of(tokens), Verifier::new(settings)?, Arc::clone(&large));
    let place = Arc::new(AttestationPlace::new(&settings.attestation, module)?);
    let questions = Arc::new(Mutex::new(Channel::of(questions)));
    let limits = Limits::elsewhere(Arc::new(Counting(Arc::clone(&questions))));
    let log = Log::of(&settings.log.target).on_behalf_of(served.pid);
    let worker = Arc::new(Worker {
        served,
        process,
        watch: Watch::new(questions),
        large,
        crowd: Arc::default(),
        module: GatedModule::new(place, settings.gate.clone(), Box::new(asking), Box::new(log))
            .with_limits(limits)
            .with_shared_changes(Box::new(SharedCounter::of(changes)?))
            .with_shared_administrations(Box::new(SharedCounter::of(administrations)?))
            .with_bounds(logins, usize::try_from(guard.limits.sessions).unwrap_or(usize::MAX)),
    });
    serve(&worker, &control)?;
    // Calls that are under way belong to nobody any more: what they leave behind ends with this process.
    worker.module.say_farewell();
    Ok(())
}

/// Where this worker takes turns, as the first message says.
fn places(control: &Channel) -> Result<Option<Places>, GuardError> {
    match control.receive()? {
        Some(Message { content: ToWorker::Begin, descriptors }) if descriptors.is_empty() => Ok(None),
        Some(Message { content: ToWorker::Begin, descriptors }) => {
            let places = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| GuardError::OutOfPlace)?;
            Ok(Some(Places::of(places)))
        }
        Some(_) => Err(GuardError::OutOfPlace),
        None => Err(GuardError::OtherSideGone),
    }
}

/// Whoever may not use a key gets no PIN tried: it could lock the token.
fn logins(login: &Login) -> Result<Logins, GuardError> {
    match login {
        Login::PassThrough => Ok(Logins::Attested),
        Login::Guard { pin_file, component_pins } => {
            let opened = |(name, path): (&String, &PathBuf)| Ok((name.clone(), confinement::pin_file(path)?));
            let components = component_pins.iter().map(opened).collect::<Result<_, GuardError>>()?;
            Ok(Logins::With(Pins::new(confinement::pin_file(pin_file)?, components)))
        }
    }
}

/// Takes in connections until the client is gone.
fn serve(worker: &Arc<Worker>, control: &Channel) -> Result<(), GuardError> {
    while let Some(Message { content, descriptors }) = control.receive()? {
        match content {
            ToWorker::Connection => {
                let connection = Connection::over(descriptors)?;
                let worker = Arc::clone(worker);
                let started = thread::Builder::new()
                    .name("connection".to_owned())
                    .stack_size(STACK)
                    .spawn(move || connection::serve(&worker, &connection));
                // The client finds this connection closed, and has the others.
                if let Err(error) = started {
                    tracing::warn!(%error, "a client's connection was closed: there is no thread for it");
                }
            }
            ToWorker::End => break,
            ToWorker::Begin | ToWorker::Serve(_) => return Err(GuardError::OutOfPlace),
        }
    }
    Ok(())
}
