//! How a measurement hashes: what it may remember, and how long it may take.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use crate::digest_cache::DigestCache;
use crate::error::MeasurementError;
use crate::trusted_place::TrustedPlaces;

/// How files are hashed: every one afresh unless a cache is given, and without an end in time unless one is set.
#[derive(Clone, Copy, Debug)]
pub struct Hashing<'a> {
    cache: Option<&'a DigestCache>,
    deadline: Option<Instant>,
}

impl Hashing<'static> {
    /// Every file is read to its end.
    pub const fn afresh() -> Self {
        Self { cache: None, deadline: None }
    }
}

impl<'a> Hashing<'a> {
    /// Files that `cache` knows and that cannot have changed are not read.
    pub const fn cached(cache: &'a DigestCache) -> Self {
        Self { cache: Some(cache), deadline: None }
    }

    /// Gives up with [`MeasurementError::OutOfTime`] when `deadline` has come. Files that were hashed until then stay
    /// in the cache, so that a next attempt gets further.
    pub const fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// The hashing of one measurement.
#[derive(Debug)]
pub(crate) struct Hasher<'a> {
    pub(crate) cache: Option<&'a DigestCache>,
    deadline: Option<Instant>,
    pub(crate) places: TrustedPlaces,
}

impl<'a> Hasher<'a> {
    pub(crate) fn new(hashing: &Hashing<'a>) -> Self {
        Self::among(hashing, TrustedPlaces::default())
    }

    /// Hashes files that `places` admits.
    pub(crate) const fn among(hashing: &Hashing<'a>, places: TrustedPlaces) -> Self {
        Self { cache: hashing.cache, deadline: hashing.deadline, places }
    }

    /// Whether the digest of `file`, found at `path`, may be kept; nobody asks where nothing is kept.
    pub(crate) fn admit(&mut self, file: &File, stat: &Stat, path: &Path) -> Result<bool, MeasurementError> {
        if self.cache.is_none() && !self.places.refuse() {
            return Ok(false);
        }
        self.places.admit(file, stat, path)
    }

    /// Asked before each file and each part of one.
    pub(crate) fn check_time(&self) -> Result<(), MeasurementError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(MeasurementError::OutOfTime),
            _ => Ok(()),
        }
    }
}

/// The wall clock, which file times are taken from, since 1970; zero where it stands before.
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
