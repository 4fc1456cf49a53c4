//! Refusals on their way to the policy server: a bounded queue whose losses are counted.

use std::collections::VecDeque;

use attestation::decision::LocalDecision;
use locks::Mutex;
use serde::{Deserialize, Serialize};

/// How many refusals wait for the next request; the server takes as many at once.
const CAPACITY: usize = 64;

/// Writes the one log line of a refusal, and what else an operator has to know.
pub trait Recorder: Send + Sync {
    /// A refusal was decided; `component` is the recognised one, where there is a trust token.
    fn denied(&self, decision: &LocalDecision, component: Option<&str>);

    /// An object that `function` has made otherwise than granted could not be destroyed.
    fn object_left(&self, function: &str);
}

/// What goes along with the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The refusals, oldest first.
    pub decisions: Vec<LocalDecision>,
    /// How many were lost since the last report.
    pub lost: u64,
}

impl Report {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty() && self.lost == 0
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: Mutex<(VecDeque<LocalDecision>, u64)>,
}

impl Reports {
    /// Adds one; the oldest goes where there is no room.
    pub fn push(&self, decision: LocalDecision) {
        let (queue, lost) = &mut *self.waiting.lock();
        if queue.len() >= CAPACITY {
            queue.pop_front();
            *lost = lost.saturating_add(1);
        }
        queue.push_back(decision);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let (queue, lost) = &*self.waiting.lock();
        queue.is_empty() && *lost == 0
    }

    /// Takes all that waits.
    pub fn take(&self) -> Report {
        let (queue, lost) = &mut *self.waiting.lock();
        Report { decisions: queue.drain(..).collect(), lost: core::mem::take(lost) }
    }

    /// Puts back what could not be delivered.
    pub fn put_back(&self, report: Report) {
        let (queue, lost) = &mut *self.waiting.lock();
        *lost = lost.saturating_add(report.lost);
        for decision in report.decisions.into_iter().rev() {
            if queue.len() >= CAPACITY {
                *lost = lost.saturating_add(1);
            } else {
                queue.push_front(decision);
            }
        }
    }
}
