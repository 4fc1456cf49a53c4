//! Digests of files that need not be read again, because nothing but root can have changed them and a change would
//! show.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attestation::digest::Digest;
use locks::Mutex;
use rustix::fs::Stat;

use crate::files::FileIdentity;

/// As many as files can be mapped; about 200 bytes each.
const MAX_ENTRIES: usize = 4096;
/// How old the last change of a file must be when it is hashed, for its digest to be kept.
///
/// A file that is changed twice within one step of the clock of file times shows one time for both. And a page that
/// was dirtied through a mapping stays writable without a further trace until the kernel has written it back
/// (`vm.dirty_expire_centisecs`, 30 s): a former owner's mapping outlives the `chown` that made the file root's.
const SETTLED: Duration = Duration::from_secs(60);

/// Digests that one process has computed, for its next measurement.
///
/// Owned by the caller, who keeps it for as long as he measures, and never shares it with another process. A digest
/// is kept and used only for a regular file, on a local file system that accounts for changes, that root alone can
/// change, in directories that root alone can change, and only while device, inode, size, and times of content and
/// inode stay the same. Any other file is hashed every time.
pub struct DigestCache {
    entries: Mutex<BTreeMap<FileIdentity, Entry>>,
    settled: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
    bytes_hashed: AtomicU64,
}

/// What a cache has saved, and what not, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Files whose digest was known.
    pub hits: u64,
    /// Files that were hashed, those that are never kept included.
    pub misses: u64,
    /// Bytes that were hashed, of files that could not be hashed to their end included.
    pub bytes_hashed: u64,
}

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) sha256: Digest,
    pub(crate) build_id: Option<String>,
}

/// What changes when a file is written to, or its owner or mode are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

struct Entry {
    version: FileVersion,
    known: Known,
}

impl FileVersion {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the last change is at least `age` back at `now`, a time since 1970. One in the future is not.
    fn is_older(&self, age: Duration, now: Duration) -> bool {
        let seconds = u64::try_from(self.changed.0).ok();
        let nanoseconds =
            u32::try_from(self.changed.1).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000);
        let (Some(seconds), Some(nanoseconds)) = (seconds, nanoseconds) else { return false };
        Duration::new(seconds, nanoseconds).checked_add(age).is_some_and(|settled| settled <= now)
    }
}

impl DigestCache {
    /// An empty one.
    pub const fn new() -> Self {
        Self::settling(SETTLED)
    }

    pub(crate) const fn settling(settled: Duration) -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            settled,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes_hashed: AtomicU64::new(0),
        }
    }

    /// What it has saved so far.
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes_hashed: self.bytes_hashed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn find(&self, identity: FileIdentity, version: FileVersion) -> Option<Known> {
        let known = self
            .entries
            .lock()
            .get(&identity)
            .filter(|entry| entry.version == version)
            .map(|entry| entry.known.clone())?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(known)
    }

    /// Keeps what was found of a file that was looked at, and then hashed, from `now` on.
    pub(crate) fn keep(&self, identity: FileIdentity, version: FileVersion, now: Duration, known: &Known) {
        if !version.is_older(self.settled, now) {
            return;
        }
        let mut entries = self.entries.lock();
        // Of files that are gone, or of a process that maps ever new ones; the living come back by themselves.
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&identity) {
            entries.clear();
        }
        entries.insert(identity, Entry { version, known: known.clone() });
    }

    pub(crate) fn count_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_hashed(&self, bytes: u64) {
        self.bytes_hashed.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for DigestCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DigestCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("DigestCache").field(&self.figures()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn version(changed: (i64, u64)) -> FileVersion {
        FileVersion { size: 1, modified: (0, 0), changed }
    }

    fn identity(inode: u64) -> FileIdentity {
        FileIdentity { device: (8, 1), inode }
    }

    fn known() -> Known {
        Known { sha256: Digest::of(b"content"), build_id: None }
    }

    #[test]
    fn a_cache_can_be_shared_by_threads() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<DigestCache>();
    }

    #[test]
    fn what_is_kept_is_found_only_as_it_was() {
        let cache = DigestCache::new();
        let kept = version((900_000, 5));
        cache.keep(identity(1), kept, NOW, &known());
        assert_eq!(cache.find(identity(1), kept), Some(known()));
        for other in [
            FileVersion { size: 2, ..kept },
            FileVersion { modified: (0, 1), ..kept },
            FileVersion { changed: (900_000, 6), ..kept },
            FileVersion { changed: (900_001, 5), ..kept },
        ] {
            assert_eq!(cache.find(identity(1), other), None, "{other:?}");
        }
        assert_eq!(cache.find(identity(2), kept), None);
        assert_eq!(cache.find(FileIdentity { device: (8, 2), inode: 1 }, kept), None);
        assert_eq!(cache.figures().hits, 1);
    }

    #[test]
    fn a_file_that_has_changed_lately_is_not_kept() {
        for (changed, is_kept) in [
            ((0, 0), true),
            ((999_940, 0), true),
            ((999_940, 1), false),
            ((1_000_000, 0), false),
            ((1_000_001, 0), false),
            ((i64::MAX, 0), false),
            ((-1, 0), false),
            ((0, 1_000_000_000), false),
        ] {
            let cache = DigestCache::new();
            cache.keep(identity(1), version(changed), NOW, &known());
            assert_eq!(cache.find(identity(1), version(changed)).is_some(), is_kept, "{changed:?}");
        }
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = DigestCache::new();
        for inode in 0..2 * MAX_ENTRIES as u64 + 1 {
            cache.keep(identity(inode), version((0, 0)), NOW, &known());
            assert!(cache.find(identity(inode), version((0, 0))).is_some());
            assert!(cache.entries.lock().len() <= MAX_ENTRIES);
        }
    }
}
