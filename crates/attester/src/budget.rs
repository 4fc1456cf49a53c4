//! How long an attestation may go on.

use std::time::{Duration, Instant};

use gate::AttestationFailure;
use measurement::Hashing;

use crate::failure::local;

/// How long an attestation may go on.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    end: Option<Instant>,
}

impl Budget {
    /// So many milliseconds from now on; without end where none are given.
    pub fn new(within_ms: Option<u64>) -> Self {
        Self { end: within_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))) }
    }

    /// What is left of it, at most `timeout`.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn left(&self, timeout: Duration) -> Result<Duration, AttestationFailure> {
        let left = self.end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()).min(timeout));
        if left.is_zero() {
            return Err(local("out-of-time", "the attestation took longer than a renewal may".to_owned()));
        }
        Ok(left)
    }

    /// Has hashing end with it.
    pub fn bound<'a>(&self, hashing: Hashing<'a>) -> Hashing<'a> {
        self.end.map_or(hashing, |end| hashing.until(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_bounded_by_both_ends() {
        let timeout = Duration::from_secs(5);
        assert_eq!(Budget::new(None).left(timeout), Ok(timeout));
        assert_eq!(Budget::new(Some(60_000)).left(timeout), Ok(timeout));
        assert!(Budget::new(Some(1_000)).left(timeout).unwrap() <= Duration::from_secs(1));
        let spent = Budget::new(Some(0));
        assert_eq!(spent.left(timeout).unwrap_err().code, "out-of-time");
        let program = std::path::Path::new("/proc/self/exe");
        assert!(measurement::measure_file(program, &spent.bound(Hashing::afresh())).is_err());
        assert!(measurement::measure_file(program, &Budget::new(None).bound(Hashing::afresh())).is_ok());
    }
}
