//! Rates: a permission is reserved when an operation begins, used up when it completes, and given back when it does not.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use locks::Mutex;

use crate::authorize::Limit;

/// The span of `Rate::per_second`, in milliseconds.
const SECOND_MS: u64 = 1_000;

/// What was begun and completed under one grant. Kept by the grant's id, so that a new trust token does not start anew.
#[derive(Debug, Default)]
struct Count {
    /// `CLOCK_BOOTTIME` of the operations that began within the last second, oldest first.
    recent_ms: VecDeque<u64>,
    /// Completed, and reserved by operations that run.
    used: u64,
}

/// Counts in another process, for several gates at once.
pub trait Counter: Send + Sync {
    /// Reserves one operation under the first of `limits` that has room, and names its grant.
    fn take(&self, limits: &[Limit]) -> Option<String>;

    /// Gives back what was reserved under a grant.
    fn give_back(&self, grant: &str);
}

/// The counts of one gate, or of several; copies count together.
#[derive(Clone)]
pub struct Limits(Counts);

#[derive(Clone)]
enum Counts {
    Here(Arc<Mutex<HashMap<String, Count>>>),
    Elsewhere(Arc<dyn Counter>),
}

/// Room for one operation under a grant with a rate; given back when dropped unless it was used up.
pub(crate) struct Reservation {
    limits: Limits,
    grant: String,
    used_up: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self(Counts::Here(Arc::default()))
    }
}

impl Limits {
    /// Counted by `counter`.
    pub fn elsewhere(counter: Arc<dyn Counter>) -> Self {
        Self(Counts::Elsewhere(counter))
    }

    /// Reserves one operation under the first of `limits` that has room at `now_ms` (`CLOCK_BOOTTIME` in milliseconds), and
    /// names its grant.
    pub fn take(&self, limits: &[Limit], now_ms: u64) -> Option<String> {
        let counts = match &self.0 {
            Counts::Here(counts) => counts,
            Counts::Elsewhere(counter) => return counter.take(limits),
        };
        let mut counts = counts.lock();
        let has_room = |limit: &&Limit| counts.entry(limit.grant.clone()).or_default().take(limit, now_ms);
        limits.iter().find(has_room).map(|limit| limit.grant.clone())
    }

    /// Gives back what was reserved under a grant: the operation has not come about.
    pub fn give_back(&self, grant: &str) {
        match &self.0 {
            Counts::Here(counts) => {
                if let Some(count) = counts.lock().get_mut(grant) {
                    count.used = count.used.saturating_sub(1);
                }
            }
            Counts::Elsewhere(counter) => counter.give_back(grant),
        }
    }

    /// Reserves one operation under the first of `limits` that has room.
    ///
    /// # Errors
    /// The last grant that had none.
    pub(crate) fn reserve(&self, limits: &[Limit], now_ms: u64) -> Result<Reservation, String> {
        match self.take(limits, now_ms) {
            Some(grant) => Ok(Reservation { limits: self.clone(), grant, used_up: false }),
            None => Err(limits.last().map_or_else(String::new, |limit| limit.grant.clone())),
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Counts::Here(counts) => f.debug_tuple("Here").field(counts).finish(),
            Counts::Elsewhere(_) => f.write_str("Elsewhere"),
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("grant", &self.grant).field("used_up", &self.used_up).finish()
    }
}

impl Count {
    fn take(&mut self, limit: &Limit, now_ms: u64) -> bool {
        while self.recent_ms.front().is_some_and(|begun_ms| now_ms.saturating_sub(*begun_ms) >= SECOND_MS) {
            self.recent_ms.pop_front();
        }
        let begun = u32::try_from(self.recent_ms.len()).unwrap_or(u32::MAX);
        if limit.rate.per_second.is_some_and(|most| begun >= most)
            || limit.rate.total.is_some_and(|most| self.used >= most)
        {
            return false;
        }
        if limit.rate.per_second.is_some() {
            self.recent_ms.push_back(now_ms);
        }
        self.used = self.used.saturating_add(1);
        true
    }
}

impl Reservation {
    /// The operation has completed: what was reserved is used up.
    pub(crate) fn complete(mut self) {
        self.use_up();
    }

    /// The operation counts, whatever becomes of it.
    pub(crate) const fn use_up(&mut self) {
        self.used_up = true;
    }

    /// Whether it counts already.
    pub(crate) const fn is_used_up(&self) -> bool {
        self.used_up
    }

    /// The grant that it is room under.
    pub(crate) fn grant(&self) -> &str {
        &self.grant
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used_up {
            self.limits.give_back(&self.grant);
        }
    }
}

/// What a permitted call takes from the rates of its grants; given back when dropped.
#[derive(Debug)]
#[must_use = "what is not spent is given back"]
pub struct Spending(pub(crate) Vec<Reservation>);

impl Spending {
    /// The call has done its work.
    pub fn complete(self) {
        self.0.into_iter().for_each(Reservation::complete);
    }
}

#[cfg(test)]
mod tests {
    use attestation::grant::Rate;

    use super::*;

    fn limit(grant: &str, per_second: Option<u32>, total: Option<u64>) -> Limit {
        Limit { grant: grant.into(), rate: Rate { per_second, total } }
    }

    #[test]
    fn completed_operations_use_up_the_total_and_others_do_not() {
        let limits = Limits::default();
        let two = [limit("G-1", None, Some(2))];
        let first = limits.reserve(&two, 0).unwrap();
        let second = limits.reserve(&two, 0).unwrap();
        assert_eq!(limits.reserve(&two, 0).unwrap_err(), "G-1", "reserved is as good as used");
        drop(second);
        first.complete();
        limits.reserve(&two, 0).unwrap().complete();
        assert!(limits.reserve(&two, u64::MAX).is_err());
    }

    #[test]
    fn no_second_has_more_than_the_rate() {
        let limits = Limits::default();
        let rate = [limit("G-1", Some(2), None)];
        for (now_ms, permitted) in [
            (0, true),
            (900, true),
            (950, false),
            (999, false),
            (1_000, true),
            (1_001, false),
            (1_899, false),
            (1_900, true),
        ] {
            let reserved = limits.reserve(&rate, now_ms);
            assert_eq!(reserved.is_ok(), permitted, "{now_ms}");
            reserved.into_iter().for_each(Reservation::complete);
        }
    }

    #[test]
    fn an_operation_that_fails_counts_in_its_second() {
        let limits = Limits::default();
        let rate = [limit("G-1", Some(1), Some(5))];
        drop(limits.reserve(&rate, 0).unwrap());
        assert!(limits.reserve(&rate, 1).is_err());
        assert!(limits.reserve(&rate, 1_000).is_ok());
    }

    #[test]
    fn grants_are_counted_apart_and_one_of_several_is_enough() {
        let limits = Limits::default();
        let either = [limit("G-1", None, Some(1)), limit("G-2", None, Some(1))];
        limits.reserve(&either, 0).unwrap().complete();
        limits.reserve(&either, 0).unwrap().complete();
        assert_eq!(limits.reserve(&either, 0).unwrap_err(), "G-2");
        limits.reserve(&[limit("G-3", None, Some(1))], 0).unwrap().complete();
        assert!(limits.reserve(&[limit("G-3", None, Some(0))], 0).is_err(), "a new token may state less");
    }

    #[test]
    fn who_counts_elsewhere_counts_with_the_others() {
        struct Common(Limits);
        impl Counter for Common {
            fn take(&self, limits: &[Limit]) -> Option<String> {
                self.0.take(limits, 0)
            }
            fn give_back(&self, grant: &str) {
                self.0.give_back(grant);
            }
        }
        let common: Arc<dyn Counter> = Arc::new(Common(Limits::default()));
        let (one, other) = (Limits::elsewhere(Arc::clone(&common)), Limits::elsewhere(common));
        let twice = [limit("G-1", None, Some(2))];
        one.reserve(&twice, 0).unwrap().complete();
        let second = other.reserve(&twice, 0).unwrap();
        assert_eq!(one.reserve(&twice, 0).unwrap_err(), "G-1");
        drop(second);
        other.reserve(&twice, 0).unwrap().complete();
        assert!(one.reserve(&twice, 0).is_err() && other.reserve(&twice, 0).is_err());
    }
}
