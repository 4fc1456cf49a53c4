//! How long a client is ready to wait, from when it has asked: in lines and at work together.

use std::time::{Duration, Instant};

use gate::{AttestationFailure, FailureKind};

/// Whoever does not say how long it is ready to wait is not kept in lines for longer.
const IN_LINES: Duration = Duration::from_secs(60);

/// When it has been too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// As it was said.
    stated: Option<Instant>,
    in_lines: Instant,
}

impl Deadline {
    /// In so many milliseconds from now, where any are stated.
    pub(super) fn within(stated_ms: Option<u64>) -> Self {
        let now = Instant::now();
        let in_lines = now + IN_LINES;
        let stated = stated_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
        Self { stated, in_lines: stated.map_or(in_lines, |stated| stated.min(in_lines)) }
    }

    /// Until when to wait in a line.
    pub(super) const fn in_lines(&self) -> Instant {
        self.in_lines
    }

    /// What is left of the time that was stated.
    pub(super) fn left_ms(&self) -> Option<u64> {
        let left = self.stated?.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}

/// On behalf of which user something is done, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    pub(super) uid: u32,
    pub(super) deadline: Deadline,
}

/// The reason of a refusal: others were before this one for too long.
pub(super) fn waited() -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "attester-busy".to_owned(),
        detail: "other attestations were before this one for as long as it could wait".to_owned(),
        decision: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stated_counts_from_the_beginning_and_lines_have_an_end_in_any_case() {
        let stated = Deadline::within(Some(500));
        assert!(stated.in_lines() <= Instant::now() + Duration::from_millis(500));
        std::thread::sleep(Duration::from_millis(2));
        assert!(stated.left_ms().unwrap() < 500);
        assert_eq!(Deadline::within(Some(0)).left_ms(), Some(0));
        let silent = Deadline::within(None);
        assert_eq!(silent.left_ms(), None);
        for deadline in [silent, Deadline::within(Some(u64::MAX)), Deadline::within(Some(3_600_000))] {
            assert!(deadline.in_lines() <= Instant::now() + IN_LINES);
        }
    }
}
