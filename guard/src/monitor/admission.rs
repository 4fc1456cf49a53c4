//! How many processes may have the guard's attention at once, in all and of one user.

use std::collections::BTreeMap;
use std::sync::Arc;

use configuration::GuardLimits;
use linux_ffi::peer::Credentials;
use locks::Mutex;

/// A process has one instance of the shim, begins it anew, and asks what is offered; each copy of the shim does.
const OF_PROCESS: u32 = 16;

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
    of_processes: BTreeMap<u32, u32>,
}

/// A process that counts, until dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    counts: Arc<Mutex<Counts>>,
    uid: u32,
    pid: u32,
}

impl Admission {
    /// Nobody is served yet.
    pub(super) fn new(limits: GuardLimits) -> Self {
        Self { counts: Arc::default(), limits }
    }

    /// Lets a process in, unless there are as many as there may be.
    pub(super) fn admit(&self, who: Credentials) -> Option<Admitted> {
        let Credentials { pid, uid, .. } = who;
        let counts = &mut *self.counts.lock();
        let of_user = counts.of_users.get(&uid).copied().unwrap_or_default();
        let of_process = counts.of_processes.get(&pid).copied().unwrap_or_default();
        let is_full = counts.all >= self.limits.processes
            || of_user >= self.limits.processes_per_user
            || of_process >= OF_PROCESS;
        if is_full {
            return None;
        }
        counts.of_users.insert(uid, of_user + 1);
        counts.of_processes.insert(pid, of_process + 1);
        counts.all += 1;
        Some(Admitted { counts: Arc::clone(&self.counts), uid, pid })
    }
}

impl Admitted {
    /// The user that it counts for.
    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let counts = &mut *self.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        leave(&mut counts.of_users, self.uid);
        leave(&mut counts.of_processes, self.pid);
    }
}

fn leave(counts: &mut BTreeMap<u32, u32>, who: u32) {
    if let Some(count) = counts.get_mut(&who) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn admission(processes: u32, processes_per_user: u32) -> Admission {
        let (connections, sessions, memory, starts_at_once, starts_per_second) = (1, 1, 1, 1, 1);
        Admission::new(GuardLimits {
            processes,
            processes_per_user,
            connections,
            sessions,
            memory,
            starts_at_once,
            starts_per_second,
        })
    }

    /// A process of this user.
    fn of(uid: u32) -> Credentials {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Credentials { pid: NEXT.fetch_add(1, Ordering::Relaxed), uid, gid: 0 }
    }

    #[test]
    fn one_process_does_not_take_the_place_of_others() {
        let admission = admission(100, 100);
        let process = of(1);
        let admitted: Vec<_> = (0..OF_PROCESS).map(|_| admission.admit(process).unwrap()).collect();
        assert!(admission.admit(process).is_none() && admission.admit(of(1)).is_some());
        drop(admitted);
        assert!(admission.admit(process).is_some());
    }

    #[test]
    fn no_user_takes_the_place_of_the_others() {
        let admission = admission(3, 2);
        let of_one = [admission.admit(of(1)).unwrap(), admission.admit(of(1)).unwrap()];
        assert!(admission.admit(of(1)).is_none());
        let of_other = admission.admit(of(2)).unwrap();
        assert!(admission.admit(of(2)).is_none(), "there are three");
        drop(of_one);
        assert!(admission.admit(of(2)).is_some() && admission.admit(of(1)).is_some());
        drop(of_other);
    }

    #[test]
    fn who_has_left_leaves_nothing_behind() {
        let admission = admission(3, 2);
        for uid in 0..100 {
            drop(admission.admit(of(uid)).unwrap());
        }
        let counts = admission.counts.lock();
        assert!(counts.all == 0 && counts.of_users.is_empty() && counts.of_processes.is_empty());
    }
}
