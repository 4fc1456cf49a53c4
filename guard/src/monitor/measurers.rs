//! The pool of measurers: each works on one process at a time, and is ended where that holds it up.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use configuration::Guard;

use super::admission::Admitted;
use super::fair::Fair;
use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromMeasurer, ToMeasurer};

/// How long one measurement may take: gigabytes of cold files are hashed by then. Longer takes only what is made to stall.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are kept when nobody needs them; each has its own memory of digests.
const KEPT: usize = 4;

/// How long a measurement may wait for its user's turn at a measurer that knows the files already, before it has another one
/// started: in a crowd each of them would hash all files anew. No longer, since those that there are may be held up.
const TURN: Duration = Duration::from_millis(250);

/// All measurers.
#[derive(Debug)]
pub(super) struct Measurers {
    program: Program,
    settings: Arc<Guard>,
    /// Those that have nothing to do; in an empty place one may be started.
    pool: Fair<Role>,
}

impl Measurers {
    /// None yet.
    pub(super) fn new(program: Program, settings: Arc<Guard>) -> Self {
        Self { program, settings, pool: Fair::with_places(KEPT) }
    }

    /// Has a measurer answer about a process that comes along; the request is made when there is one. One that does not answer is ended; until it has, and that may
    /// be as long as a file system of the process's own stands, the process counts.
    pub(super) fn ask(
        &self,
        request: impl FnOnce() -> ToMeasurer,
        process: &[BorrowedFd<'_>],
        admitted: &Arc<Admitted>,
    ) -> Result<FromMeasurer, GuardError> {
        let turn = self.pool.turn(admitted.uid(), Instant::now() + TURN);
        let mut place = turn.unwrap_or_else(|| self.pool.one_more());
        let mut measurer = match place.take().map(|mut measurer| (measurer.is_alive(), measurer)) {
            Some((true, measurer)) => measurer,
            Some((false, _)) => {
                tracing::warn!("a measurer has ended by itself");
                self.start()?
            }
            None => self.start()?,
        };
        let answer = measurer.channel.send_with(&request(), process).and_then(|()| measurer.channel.answer());
        match answer {
            Ok(_) => *place = Some(measurer),
            Err(_) => measurer.kill_and_keep(Arc::clone(admitted)),
        }
        answer
    }

    fn start(&self) -> Result<Role, GuardError> {
        let measurer = self.program.start("measurer", &self.settings, &BTreeMap::new())?;
        measurer.channel.wait_at_most(PATIENCE)?;
        Ok(measurer)
    }
}
