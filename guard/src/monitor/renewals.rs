//! Renewal of tokens in the background, so that no call of a living process has to wait for one.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use locks::Mutex;

use super::Monitor;
use super::client::Watched;
use crate::error::GuardError;

/// Between two looks at what falls due. Renewal falls due minutes before the end.
const PAUSE: Duration = Duration::from_secs(5);

/// The processes that live.
#[derive(Default)]
pub(super) struct Living(Mutex<Vec<Weak<Watched>>>);

impl Living {
    /// Takes one more in.
    pub(super) fn add(&self, watched: &Arc<Watched>) {
        let mut living = self.0.lock();
        living.retain(|known| known.strong_count() > 0);
        living.push(Arc::downgrade(watched));
    }

    fn all(&self) -> Vec<Arc<Watched>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// Renews, for as long as the guard runs.
pub(super) fn start(monitor: &Arc<Monitor>) -> Result<(), GuardError> {
    let monitor = Arc::clone(monitor);
    super::thread("renewals", move || {
        loop {
            thread::sleep(PAUSE);
            // Of those that share a token, the first has it renewed for all.
            for watched in monitor.living.all() {
                watched.renew_if_due(&monitor);
            }
        }
    })
}
