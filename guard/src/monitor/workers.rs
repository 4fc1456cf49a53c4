//! Workers: one for each client process, and one more that is ready for the next.

use std::sync::Arc;
use std::time::Duration;

use configuration::{Guard, Need};
use locks::{Mutex, RwLock};

use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromWorker, ToWorker};
use crate::turns::Places;

/// How long the real module may take to initialise: some talk to an HSM over the network.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts workers, and keeps one in reserve.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    settings: Arc<Guard>,
    spare: Mutex<Option<Role>>,
    interfaces: RwLock<Vec<(u8, u8)>>,
    /// Where workers take turns at the real module, if it needs that.
    places: Option<Places>,
}

impl Workers {
    /// Starts the first one; the guard does not start where that fails.
    pub(super) fn start(program: Program, settings: Arc<Guard>) -> Result<Self, GuardError> {
        let (spare, interfaces) = (Mutex::new(None), RwLock::new(Vec::new()));
        let places = settings.needs.contains(&Need::Turns).then(Places::new).transpose()?;
        let shared = Arc::new(Shared { program, settings, spare, interfaces, places });
        *shared.spare.lock() = Some(shared.ready()?);
        Ok(Self { shared })
    }

    /// The versions of the standard's interfaces that the real module offers.
    pub(super) fn interfaces(&self) -> Vec<(u8, u8)> {
        self.shared.interfaces.read().clone()
    }

    /// One that is ready. Another is made ready for the next client.
    pub(super) fn take(&self) -> Result<Role, GuardError> {
        // Not waited for: while it is locked, another is being made ready, which takes as long as making one here.
        let spare = self.shared.spare.try_lock().and_then(|mut spare| spare.take());
        let spare = spare.and_then(|mut spare| spare.is_alive().then_some(spare));
        let shared = Arc::clone(&self.shared);
        super::thread("spare", move || shared.replenish())?;
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

    fn ready(&self) -> Result<Role, GuardError> {
        let worker = self.program.start("worker", &self.settings, &self.settings.worker_environment)?;
        worker.channel.wait_at_most(PATIENCE)?;
        let places = self.places.as_ref().map(Places::descriptors);
        worker.channel.send_with(&ToWorker::Begin, places.as_ref().map_or(&[], |places| places))?;
        match worker.channel.answer()? {
            FromWorker::Ready { interfaces } => {
                *self.interfaces.write() = interfaces;
                Ok(worker)
            }
            FromWorker::Failed { reason } => Err(GuardError::GaveUp { role: "worker", reason }),
        }
    }
}
