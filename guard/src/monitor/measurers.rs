//! The pool of measurers: each works on one process at a time, and is ended where that holds it up.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use configuration::Guard;
use locks::Mutex;

use super::role::{Program, Role};
use crate::error::GuardError;
use crate::messages::{FromMeasurer, ToMeasurer};

/// How long one measurement may take: gigabytes of cold files are hashed by then. Longer takes only what is made to stall.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are kept when nobody needs them; each has its own memory of digests.
const KEPT: usize = 4;

/// All measurers that have nothing to do.
#[derive(Debug)]
pub(super) struct Measurers {
    program: Program,
    settings: Arc<Guard>,
    idle: Mutex<Vec<Role>>,
}

impl Measurers {
    /// None yet.
    pub(super) const fn new(program: Program, settings: Arc<Guard>) -> Self {
        Self { program, settings, idle: Mutex::new(Vec::new()) }
    }

    /// Has a measurer answer about a process that comes along.
    pub(super) fn ask(
        &self,
        request: &ToMeasurer,
        process: &[BorrowedFd<'_>],
    ) -> Result<FromMeasurer, GuardError> {
        let measurer = match self.idle() {
            Some(measurer) => measurer,
            None => self.start()?,
        };
        measurer.channel.send_with(request, process)?;
        // One that does not answer is dropped, and thereby ended.
        let answer = measurer.channel.answer()?;
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push(measurer);
        }
        Ok(answer)
    }

    /// One that has not ended meanwhile.
    fn idle(&self) -> Option<Role> {
        loop {
            let mut measurer = self.idle.lock().pop()?;
            if measurer.is_alive() {
                return Some(measurer);
            }
            tracing::warn!("a measurer has ended by itself");
        }
    }

    fn start(&self) -> Result<Role, GuardError> {
        let measurer = self.program.start("measurer", &self.settings, &BTreeMap::new())?;
        measurer.channel.wait_at_most(PATIENCE)?;
        Ok(measurer)
    }
}
