//! Renewal of tokens in the background, so that no call of a living process has to wait for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use locks::Mutex;

use super::Monitor;
use super::watched::Watched;
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
    let busy = Arc::new(Mutex::new(BTreeSet::new()));
    super::thread("renewals", move || {
        loop {
            thread::sleep(PAUSE);
            let mut due = BTreeMap::<u32, Vec<Arc<Watched>>>::new();
            for watched in monitor.living.all().into_iter().filter(|watched| watched.is_due()) {
                due.entry(watched.uid()).or_default().push(watched);
            }
            for (uid, of_user) in due {
                renew(&monitor, &busy, uid, of_user);
            }
        }
    })
}

/// Renews for the processes of one user, on a thread of its own unless there is one: what makes measurers wait is in no other
/// user's way.
fn renew(monitor: &Arc<Monitor>, busy: &Arc<Mutex<BTreeSet<u32>>>, uid: u32, of_user: Vec<Arc<Watched>>) {
    if !busy.lock().insert(uid) {
        return;
    }
    let (monitor, of_all) = (Arc::clone(monitor), Arc::clone(busy));
    let started = super::thread("renewal", move || {
        // Of those that share a token, the first has it renewed for all.
        for watched in of_user {
            watched.renew_if_due(&monitor);
        }
        of_all.lock().remove(&uid);
    });
    if let Err(error) = started {
        tracing::warn!(%error, "tokens are not renewed before they are needed");
        busy.lock().remove(&uid);
    }
}
