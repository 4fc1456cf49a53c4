//! Rates, which count for all processes of this host together: the monitor does.

use std::sync::Arc;

use gate::{Counter, Limit};
use locks::Mutex;

use crate::channel::Channel;
use crate::messages::{Question, Taken};

/// Asks the monitor.
pub(super) struct Counting(pub(super) Arc<Mutex<Channel>>);

impl Counter for Counting {
    fn take(&self, limits: &[Limit]) -> Option<String> {
        // Who cannot be asked has no room.
        let names = limits.iter().map(|limit| limit.grant.clone()).collect();
        let Taken(grant) = self.0.lock().ask(&Question::Take(names)).ok()?;
        grant.filter(|grant| limits.iter().any(|limit| limit.grant == *grant))
    }

    fn give_back(&self, grant: &str) {
        // What is not given back counts as used.
        let _ = self.0.lock().ask::<Taken>(&Question::GiveBack(grant.to_owned()));
    }
}
