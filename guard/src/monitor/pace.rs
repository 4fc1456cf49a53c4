//! How fast a user's processes are let in: each costs the guard a process of its own, be it there for a moment only.
//!
//! A bucket for each user that holds some and fills steadily. Whom it is empty for waits a little before it is refused: so a
//! service that starts many short-lived processes is slowed down to the pace, and loses none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use configuration::GuardLimits;
use locks::Mutex;

/// How long whoever is too fast may be kept waiting.
const MOST_WAIT: Duration = Duration::from_secs(3);
/// Between two lines in the log about one user.
const QUIET: Duration = Duration::from_secs(60);
/// Beyond so many, users with a full bucket are forgotten.
const KNOWN: usize = 1024;

/// All users' buckets.
#[derive(Debug)]
pub(super) struct Pace {
    /// What it takes to fill one in.
    interval: Duration,
    /// What it takes to fill all of it.
    whole: Duration,
    users: Mutex<BTreeMap<u32, User>>,
}

#[derive(Clone, Copy, Debug)]
struct User {
    /// When the bucket is full again.
    full: Instant,
    /// How many were refused since the log had a line about it, and when that was.
    refused: u64,
    said: Option<Instant>,
}

/// A user's processes come too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFast {
    /// To be said in the log: how many were refused since it was said before.
    pub(super) said: Option<u64>,
}

impl Pace {
    /// All buckets are full.
    pub(super) fn new(limits: GuardLimits) -> Self {
        let interval = Duration::from_secs(1) / limits.starts_per_second.max(1);
        Self { interval, whole: interval * limits.starts_at_once, users: Mutex::default() }
    }

    /// When a process that comes `now` may be let in; it counts from then on, whether it is still there or not.
    pub(super) fn admit(&self, uid: u32, now: Instant) -> Result<Instant, TooFast> {
        let mut users = self.users.lock();
        if users.len() >= KNOWN {
            users.retain(|_, user| user.full > now || user.said.is_some_and(|said| now < said + QUIET));
        }
        let user = users.entry(uid).or_insert(User { full: now, refused: 0, said: None });
        let full = user.full.max(now) + self.interval;
        let begin = full.checked_sub(self.whole).map_or(now, |begin| begin.max(now));
        if begin <= now + MOST_WAIT {
            user.full = full;
            return Ok(begin);
        }
        user.refused += 1;
        let is_quiet = user.said.is_none_or(|said| now >= said + QUIET);
        let said = is_quiet.then_some(user.refused);
        if is_quiet {
            (user.refused, user.said) = (0, Some(now));
        }
        Err(TooFast { said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(starts_at_once: u32, starts_per_second: u32) -> Pace {
        let (processes, processes_per_user, connections, sessions, memory) = (1, 1, 1, 1, 1);
        Pace::new(GuardLimits {
            processes,
            processes_per_user,
            connections,
            sessions,
            memory,
            starts_at_once,
            starts_per_second,
        })
    }

    /// How long after `now` those are let in that come then, and how many are refused.
    fn crowd(pace: &Pace, uid: u32, now: Instant, count: usize) -> (Vec<u128>, usize) {
        let (admitted, refused): (Vec<_>, Vec<_>) =
            (0..count).map(|_| pace.admit(uid, now)).partition(Result::is_ok);
        let waits = admitted.into_iter().map(|begin| (begin.unwrap() - now).as_millis());
        (waits.collect(), refused.len())
    }

    #[test]
    fn some_come_at_once_then_they_wait_and_then_they_are_refused() {
        let (pace, now) = (pace(3, 2), Instant::now());
        let (waits, refused) = crowd(&pace, 1, now, 12);
        assert_eq!(waits, [0, 0, 0, 500, 1000, 1500, 2000, 2500, 3000]);
        assert_eq!(refused, 3);
        assert_eq!(crowd(&pace, 2, now, 3).0, [0, 0, 0], "another user's bucket is its own");
        // Two more come in each second, and when nobody comes for long, no more than at first.
        assert_eq!(crowd(&pace, 1, now + SECOND, 3).0, [2500, 3000]);
        assert_eq!(crowd(&pace, 1, now + 100 * SECOND, 4).0, [0, 0, 0, 500]);
    }

    #[test]
    fn who_keeps_the_pace_never_waits() {
        let (pace, now) = (pace(1, 50), Instant::now());
        for number in 0..10_000 {
            let now = now + number * Duration::from_millis(20);
            assert_eq!(pace.admit(1, now), Ok(now), "{number}");
        }
    }

    #[test]
    fn the_log_has_one_line_for_a_quiet_period() {
        let (pace, now) = (pace(1, 1), Instant::now());
        assert_eq!(crowd(&pace, 1, now, 4).1, 0);
        let said = |now| pace.admit(1, now).unwrap_err().said;
        assert_eq!(said(now), Some(1));
        assert_eq!((said(now), said(now)), (None, None));
        let later = now + QUIET;
        assert_eq!(crowd(&pace, 1, later, 4).1, 0);
        assert_eq!(said(later), Some(3));
    }

    #[test]
    fn users_whose_bucket_is_full_are_forgotten() {
        let (pace, now) = (pace(1, 1), Instant::now());
        for uid in 0..5_000 {
            pace.admit(uid, now + uid * SECOND).unwrap();
        }
        assert!(pace.users.lock().len() <= KNOWN);
    }
}
