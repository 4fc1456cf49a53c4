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

/// Users on whose behalf renewals are under way.
#[derive(Clone, Debug, Default)]
struct Busy(Arc<Mutex<BTreeSet<u32>>>);

/// The renewals of one user, until dropped: whatever ends them, the next can begin.
#[derive(Debug)]
struct Renewing {
    busy: Busy,
    uid: u32,
}

impl Busy {
    /// Begins, unless there are some of this user.
    fn begin(&self, uid: u32) -> Option<Renewing> {
        self.0.lock().insert(uid).then(|| Renewing { busy: self.clone(), uid })
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.uid);
    }
}

/// Renews, for as long as the guard runs.
pub(super) fn start(monitor: &Arc<Monitor>) -> Result<(), GuardError> {
    let monitor = Arc::clone(monitor);
    let busy = Busy::default();
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
fn renew(monitor: &Arc<Monitor>, busy: &Busy, uid: u32, of_user: Vec<Arc<Watched>>) {
    let Some(renewing) = busy.begin(uid) else { return };
    let monitor = Arc::clone(monitor);
    let started = super::thread("renewal", move || {
        let _renewing = renewing;
        // Of those that share a token, the first has it renewed for all.
        for watched in of_user {
            watched.renew_if_due(&monitor);
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "tokens are not renewed before they are needed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_renewal_of_a_user_is_under_way_at_once() {
        let busy = Busy::default();
        let renewing = busy.begin(1).unwrap();
        assert!(busy.begin(1).is_none() && busy.begin(2).is_some());
        drop(renewing);
        assert!(busy.begin(1).is_some());
    }

    #[test]
    fn a_renewal_that_panics_is_not_the_last() {
        let busy = Busy::default();
        let renewing = busy.begin(1).unwrap();
        let panicked = thread::spawn(move || {
            let _renewing = renewing;
            panic!("as a renewal could");
        });
        panicked.join().unwrap_err();
        assert!(busy.begin(1).is_some());
    }
}
