//! How many processes may have the guard's attention at once, in all and of one user.

use std::collections::BTreeMap;
use std::sync::Arc;

use configuration::GuardLimits;
use locks::Mutex;

/// Counts the processes that are being served.
#[derive(Debug)]
pub(super) struct Admission {
    counts: Arc<Mutex<Counts>>,
    limits: GuardLimits,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    of_users: BTreeMap<u32, u32>,
}

/// A process that counts, until dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    counts: Arc<Mutex<Counts>>,
    uid: u32,
}

impl Admission {
    /// Nobody is served yet.
    pub(super) fn new(limits: GuardLimits) -> Self {
        Self { counts: Arc::default(), limits }
    }

    /// Lets a process of this user in, unless there are as many as there may be.
    pub(super) fn admit(&self, uid: u32) -> Option<Admitted> {
        let counts = &mut *self.counts.lock();
        let of_user = counts.of_users.get(&uid).copied().unwrap_or_default();
        if counts.all >= self.limits.processes || of_user >= self.limits.processes_per_user {
            return None;
        }
        counts.of_users.insert(uid, of_user + 1);
        counts.all += 1;
        Some(Admitted { counts: Arc::clone(&self.counts), uid })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let counts = &mut *self.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_user) = counts.of_users.get_mut(&self.uid) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                counts.of_users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(GuardLimits { processes: 3, processes_per_user: 2, connections: 1, sessions: 1 })
    }

    #[test]
    fn no_user_takes_the_place_of_the_others() {
        let admission = admission();
        let of_one = [admission.admit(1).unwrap(), admission.admit(1).unwrap()];
        assert!(admission.admit(1).is_none());
        let of_other = admission.admit(2).unwrap();
        assert!(admission.admit(2).is_none(), "there are three");
        drop(of_one);
        assert!(admission.admit(2).is_some() && admission.admit(1).is_some());
        drop(of_other);
    }

    #[test]
    fn who_has_left_leaves_nothing_behind() {
        let admission = admission();
        for uid in 0..100 {
            drop(admission.admit(uid).unwrap());
        }
        let counts = admission.counts.lock();
        assert!(counts.all == 0 && counts.of_users.is_empty());
    }
}
