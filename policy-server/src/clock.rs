//! The one place that reads the wall clock; everything else is given the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::ServerError;

/// Seconds since 1970.
///
/// # Errors
/// [`ServerError::Clock`] where the clock stands before 1970.
pub fn now() -> Result<u64, ServerError> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|elapsed| elapsed.as_secs())
        .map_err(|_| ServerError::Clock)
}
