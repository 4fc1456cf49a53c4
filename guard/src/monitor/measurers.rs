//! The pool of measurers: each works on one process at a time, and is ended where that holds it up.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use configuration::Guard;
use locks::Mutex;

use super::admission::Admitted;
use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromMeasurer, ToMeasurer};

/// How long one measurement may take: gigabytes of cold files are hashed by then. Longer takes only what is made to stall.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are kept when nobody needs them; each has its own memory of digests.
const KEPT: usize = 4;

/// How long a measurement may wait for a measurer that knows the files already, before it has another one started: in a
/// crowd each of them would hash all files anew. No longer, since those that there are may be held up.
const TURN: Duration = Duration::from_millis(250);

/// All measurers.
#[derive(Debug)]
pub(super) struct Measurers {
    program: Program,
    settings: Arc<Guard>,
    pool: Mutex<Pool>,
    /// Told when one has nothing to do any more, or has ended.
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Role>,
    /// Those at work.
    busy: usize,
}

impl Measurers {
    /// None yet.
    pub(super) fn new(program: Program, settings: Arc<Guard>) -> Self {
        Self { program, settings, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Has a measurer answer about a process that comes along. One that does not answer is ended; until it has, and that may
    /// be as long as a file system of the process's own stands, the process counts.
    pub(super) fn ask(
        &self,
        request: &ToMeasurer,
        process: &[BorrowedFd<'_>],
        admitted: &Arc<Admitted>,
    ) -> Result<FromMeasurer, GuardError> {
        let mut measurer = match self.take().map_or_else(|| self.start(), Ok) {
            Ok(measurer) => measurer,
            Err(error) => {
                self.give_back(None);
                return Err(error);
            }
        };
        let answer = measurer.channel.send_with(request, process).and_then(|()| measurer.channel.answer());
        match answer {
            Ok(_) => self.give_back(Some(measurer)),
            Err(_) => {
                measurer.kill_and_keep(Arc::clone(admitted));
                self.give_back(None);
            }
        }
        answer
    }

    /// One that has nothing to do and has not ended meanwhile; `None` where another one is due.
    fn take(&self) -> Option<Role> {
        let until = Instant::now() + TURN;
        let mut pool = self.pool.lock();
        loop {
            if let Some(mut measurer) = pool.idle.pop() {
                if measurer.is_alive() {
                    pool.busy += 1;
                    return Some(measurer);
                }
                tracing::warn!("a measurer has ended by itself");
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if pool.busy < KEPT || left.is_zero() {
                pool.busy += 1;
                return None;
            }
            pool = match self.returned.wait_timeout(pool, left) {
                Ok((pool, _)) => pool,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn give_back(&self, measurer: Option<Role>) {
        let mut pool = self.pool.lock();
        pool.busy = pool.busy.saturating_sub(1);
        match measurer {
            Some(measurer) if pool.idle.len() < KEPT => pool.idle.push(measurer),
            superfluous => {
                drop(pool);
                drop(superfluous);
            }
        }
        self.returned.notify_one();
    }

    fn start(&self) -> Result<Role, GuardError> {
        let measurer = self.program.start("measurer", &self.settings, &BTreeMap::new())?;
        measurer.channel.wait_at_most(PATIENCE)?;
        Ok(measurer)
    }
}
