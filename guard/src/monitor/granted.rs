//! The grants with a rate under which a worker may have operations counted: those of the tokens that its client was given.

use std::collections::VecDeque;
use std::sync::Arc;

use attestation::token::VerifiedToken;
use gate::Limit;
use locks::Mutex;

/// A worker has one token in hand. What is under way goes by the one before, or by one that was ended at once.
const KEPT: usize = 4;
/// For so long, in milliseconds, a token may have been over: who asks has judged before.
const UNDER_WAY_MS: u64 = 5_000;

/// The grants of one token that have a rate.
#[derive(Clone, Debug)]
pub(super) struct Rated {
    limits: Arc<[Limit]>,
    deadline_boottime_ms: u64,
}

impl Rated {
    /// Those of this one.
    pub(super) fn of(token: &VerifiedToken) -> Self {
        let limit = |grant: &attestation::token::ParsedGrant| {
            grant.rate.map(|rate| Limit { grant: grant.id.clone(), rate })
        };
        Self {
            limits: token.grants().iter().filter_map(limit).collect(),
            deadline_boottime_ms: token.deadline_boottime_ms(),
        }
    }

    fn find(&self, name: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.grant == name)
    }
}

/// Those of the tokens that one worker was given, the newest first.
#[derive(Debug, Default)]
pub(super) struct Granted(Mutex<VecDeque<Rated>>);

impl Granted {
    /// It is about to be given one more.
    pub(super) fn add(&self, rated: Rated) {
        let mut tokens = self.0.lock();
        // The same again, for as long as it lasts.
        tokens.retain(|known| !Arc::ptr_eq(&known.limits, &rated.limits));
        tokens.push_front(rated);
        tokens.truncate(KEPT);
    }

    /// The limits of these grants as the tokens state them.
    ///
    /// # Errors
    /// The first grant that none of them has.
    pub(super) fn limits<'a>(&self, names: &'a [String], now_ms: u64) -> Result<Vec<Limit>, &'a str> {
        let mut tokens = self.0.lock();
        tokens.retain(|token| now_ms < token.deadline_boottime_ms.saturating_add(UNDER_WAY_MS));
        let limit =
            |name: &'a String| tokens.iter().find_map(|token| token.find(name)).cloned().ok_or(name.as_str());
        names.iter().map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use attestation::grant::Rate;

    use super::*;

    fn rated(grants: &[(&str, u64)], deadline_boottime_ms: u64) -> Rated {
        let limit = |(grant, total): &(&str, u64)| Limit {
            grant: (*grant).to_owned(),
            rate: Rate { per_second: None, total: Some(*total) },
        };
        Rated { limits: grants.iter().map(limit).collect(), deadline_boottime_ms }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nobody_counts_under_a_grant_of_somebody_elses() {
        let granted = Granted::default();
        assert_eq!(granted.limits(&names(&["G-1"]), 0), Err("G-1"), "nothing was given yet");
        granted.add(rated(&[("G-1", 5), ("G-2", 7)], 1_000));
        assert_eq!(granted.limits(&names(&["G-2", "G-1"]), 0).unwrap().len(), 2);
        assert_eq!(granted.limits(&names(&["G-1", "G-3"]), 0), Err("G-3"), "one is too many");
        assert_eq!(granted.limits(&[], 0), Ok(Vec::new()));
    }

    #[test]
    fn the_rate_is_that_of_the_newest_token() {
        let granted = Granted::default();
        granted.add(rated(&[("G-1", 5), ("G-2", 1)], 1_000));
        granted.add(rated(&[("G-1", 3)], 2_000));
        let totals = |wanted: &[&str]| -> Vec<_> {
            let limits = granted.limits(&names(wanted), 0).unwrap();
            limits.into_iter().map(|limit| limit.rate.total).collect()
        };
        assert_eq!(totals(&["G-1", "G-2"]), [Some(3), Some(1)]);
    }

    #[test]
    fn what_a_token_said_ends_with_it() {
        let granted = Granted::default();
        granted.add(rated(&[("G-1", 5)], 1_000));
        let one = names(&["G-1"]);
        assert!(granted.limits(&one, 1_000).is_ok(), "judged a moment ago");
        assert_eq!(granted.limits(&one, 1_000 + UNDER_WAY_MS), Err("G-1"));
        granted.add(rated(&[("G-1", 5)], 10_000));
        for token in 0..KEPT as u64 {
            assert!(granted.limits(&one, 0).is_ok());
            granted.add(rated(&[("G-2", token)], 10_000));
        }
        assert_eq!(granted.limits(&one, 0), Err("G-1"), "so many are not under way");
    }

    #[test]
    fn a_token_that_is_given_again_takes_the_place_of_no_other() {
        let granted = Granted::default();
        granted.add(rated(&[("G-1", 5)], 1_000));
        let shared = rated(&[("G-2", 5)], 1_000);
        (0..10).for_each(|_| granted.add(shared.clone()));
        assert!(granted.limits(&names(&["G-1", "G-2"]), 0).is_ok());
    }
}
