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
