//! Workers: one for each client process, and one more that is ready for the next.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use configuration::{Guard, Need};
use linux_ffi::SharedCounter;
use locks::{Mutex, RwLock};
use pkcs11_table::FlatMechanisms;

use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromWorker, ToWorker};
use crate::turns::Places;

/// How long the real module may take to initialise: some talk to an HSM over the network.
const PATIENCE: Duration = Duration::from_secs(30);

/// For so long a client that starts has the processors to itself, before a worker is made ready for the next: that takes as much
/// of them as all that the client waits for. Who comes sooner gets one of its own.
const STARTING: Duration = Duration::from_millis(10);

/// Starts workers, and keeps one in reserve.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    settings: Arc<Guard>,
    spare: Mutex<Option<Ready>>,
    interfaces: RwLock<Vec<(u8, u8)>>,
    /// Where workers take turns at the real module, if it needs that.
    places: Option<Places>,
    /// How often the token was administered: a module may know of its PINs what they were when it was initialised.
    administrations: SharedCounter,
}

/// A worker that has read the configuration, which may have changed since the last one has, and the real module initialised.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) role: Role,
    /// By which it reads its client's calls.
    pub(super) flat: FlatMechanisms,
    /// How often the token had been administered when it was started.
    administrations: u64,
}

impl Workers {
    /// Starts the first one; the guard does not start where that fails.
    pub(super) fn start(program: Program, settings: Arc<Guard>) -> Result<Self, GuardError> {
        let (spare, interfaces) = (Mutex::new(None), RwLock::new(Vec::new()));
        let places = settings.needs.contains(&Need::Turns).then(Places::new).transpose()?;
        let administrations = SharedCounter::new()?;
        let shared = Arc::new(Shared { program, settings, spare, interfaces, places, administrations });
        *shared.spare.lock() = Some(shared.ready()?);
        Ok(Self { shared })
    }

    /// The versions of the standard's interfaces that the real module offers.
    pub(super) fn interfaces(&self) -> Vec<(u8, u8)> {
        self.shared.interfaces.read().clone()
    }

    /// Where workers count how often the token was administered.
    pub(super) fn administrations(&self) -> BorrowedFd<'_> {
        self.shared.administrations.as_fd()
    }

    /// One that is ready. Another is made ready for the next client, once this one has had time to start.
    pub(super) fn take(&self) -> Result<Ready, GuardError> {
        // Not waited for: while it is locked, another is being made ready, which takes as long as making one here.
        let spare = self.shared.spare.try_lock().and_then(|mut spare| spare.take());
        let is_good =
            |spare: &mut Ready| spare.administrations == self.shared.administered() && spare.role.is_alive();
        let spare = spare.and_then(|mut spare| is_good(&mut spare).then_some(spare));
        let shared = Arc::clone(&self.shared);
        super::thread("spare", move || {
            std::thread::sleep(STARTING);
            shared.replenish();
        })?;
        match spare {
            Some(spare) => Ok(spare),
            None => self.shared.ready(),
        }
    }
}

impl Shared {
    /// Makes one ready, unless one is.
    fn replenish(&self) {
        // Held meanwhile: of several clients that come at once, one has the next made ready.
        let Some(mut spare) = self.spare.try_lock() else { return };
        if spare.is_none() {
            match self.ready() {
                Ok(worker) => *spare = Some(worker),
                Err(error) => tracing::error!(%error, "no worker is ready for the next client"),
            }
        }
    }

    fn administered(&self) -> u64 {
        self.administrations.as_ref().load(Ordering::Acquire)
    }

    fn ready(&self) -> Result<Ready, GuardError> {
        let administrations = self.administered();
        let role = self.program.start("worker", &self.settings, &self.settings.worker_environment)?;
        role.channel.wait_at_most(PATIENCE)?;
        let places = self.places.as_ref().map(Places::descriptors);
        role.channel.send_with(&ToWorker::Begin, places.as_ref().map_or(&[], |places| places))?;
        match role.channel.answer()? {
            FromWorker::Ready { interfaces, flat } => {
                let flat = FlatMechanisms::new(flat).ok_or(GuardError::OutOfPlace)?;
                *self.interfaces.write() = interfaces;
                Ok(Ready { role, flat, administrations })
            }
            FromWorker::Failed { reason } => Err(GuardError::GaveUp { role: "worker", reason }),
        }
    }
}
