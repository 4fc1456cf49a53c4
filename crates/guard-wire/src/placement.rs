//! On which processor a side best runs, by where the other one is.

use std::time::{Duration, Instant};

/// So many turns in a row on one processor, over so long, are no chance, and whoever else had the other processor has left it.
/// Mostly the kernel has one of the two back there by then.
const TURNS: u32 = 16;
const TIME: Duration = Duration::from_millis(10);

/// Where a side best runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// Where the kernel has it run.
    Any,
    /// On that one.
    Only(u32),
    /// On any but that one.
    AnyBut(u32),
}

/// How long both sides have been on one processor although, as far as they know, nobody needs the rest.
#[derive(Debug, Default)]
pub(crate) struct Together {
    turns: u32,
    since: Option<Instant>,
    time: Duration,
}

impl Together {
    /// A turn came, at that time if they were; `None` if not.
    pub(crate) fn note(&mut self, at: Option<Instant>) {
        match at {
            Some(now) => {
                self.turns = self.turns.saturating_add(1);
                self.time = now.saturating_duration_since(*self.since.get_or_insert(now));
            }
            None => *self = Self::default(),
        }
    }

    /// Whether one of them should leave. Then it begins anew.
    pub(crate) fn is_too_long(&mut self) -> bool {
        let is_long = self.turns >= TURNS && self.time >= TIME;
        if is_long {
            *self = Self::default();
        }
        is_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_both_turns_and_time() {
        let start = Instant::now();
        let mut together = Together::default();
        let mut is_too_long_after = |turns, time| {
            (0..turns).for_each(|_| together.note(Some(start + time)));
            together.is_too_long()
        };
        assert!(!is_too_long_after(TURNS - 1, Duration::ZERO));
        assert!(!is_too_long_after(1, TIME / 2), "a short time");
        assert!(is_too_long_after(1, TIME));
        assert!(!is_too_long_after(1, TIME) && !is_too_long_after(TURNS - 2, 3 * TIME), "few turns");
        assert!(is_too_long_after(1, 3 * TIME));
        assert!(!is_too_long_after(TURNS, TIME));
        together.note(None);
        together.note(Some(start + 3 * TIME));
        assert!(!together.is_too_long(), "apart in between");
    }
}
