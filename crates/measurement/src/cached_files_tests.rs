//! Real files and the digest cache, as root: what is kept, and what is hashed every time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use attestation::digest::Digest;

use crate::digest_cache::{CacheFigures, DigestCache};
use crate::error::MeasurementError;
use crate::files::measure_file;
use crate::hashing::Hashing;

const NOBODY: u32 = 65534;
/// More than one step of the clock of file times.
const TICK: Duration = Duration::from_millis(30);

/// A directory of root's on the disk, and a file in it.
struct Place {
    _keep: tempfile::TempDir,
    directory: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self::below(Path::new("/var/tmp"))
    }

    fn below(parent: &Path) -> Self {
        let keep = tempfile::tempdir_in(parent).unwrap();
        let directory = keep.path().canonicalize().unwrap();
        let file = directory.join("file");
        fs::write(&file, "content").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.metadata().unwrap().uid(), 0, "this test needs root");
        Self { _keep: keep, directory, file }
    }
}

/// Keeps what has not changed in this very instant.
fn cache() -> DigestCache {
    DigestCache::settling(Duration::ZERO)
}

/// Measures twice; the answers are equal, and are those of a measurement without a cache.
fn twice(cache: &DigestCache, path: &Path) -> CacheFigures {
    // The clock of file times may be ahead of what `stat` has shown, but never of the wall clock.
    let afresh = measure_file(path, &Hashing::afresh()).unwrap();
    for _ in 0..2 {
        assert_eq!(measure_file(path, &Hashing::cached(cache)).unwrap(), afresh);
    }
    cache.figures()
}

fn is_kept(path: &Path) -> bool {
    match twice(&cache(), path) {
        CacheFigures { hits: 1, misses: 1, .. } => true,
        CacheFigures { hits: 0, misses: 2, .. } => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_root_alone_can_change_is_read_once() {
    let place = Place::new();
    assert_eq!(twice(&cache(), &place.file), CacheFigures { hits: 1, misses: 1, bytes_hashed: 7 });
}

#[test]
fn a_file_of_the_system_is_read_once() {
    let path = Path::new("/usr/bin/env");
    let figures = twice(&DigestCache::new(), path);
    assert_eq!(figures, CacheFigures { hits: 1, misses: 1, bytes_hashed: path.metadata().unwrap().len() });
}

#[test]
fn a_file_rewritten_in_place_with_its_old_time_put_back_is_noticed() {
    let place = Place::new();
    let cache = cache();
    twice(&cache, &place.file);
    let modified = place.file.metadata().unwrap().modified().unwrap();
    sleep(TICK);
    let file = OpenOptions::new().write(true).open(&place.file).unwrap();
    (&file).write_all(b"CONTENT").unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    assert_eq!(place.file.metadata().unwrap().modified().unwrap(), modified);
    let measured = measure_file(&place.file, &Hashing::cached(&cache)).unwrap();
    assert_eq!(measured.sha256, Digest::of(b"CONTENT"));
}

#[test]
fn a_file_put_in_anothers_place_is_noticed() {
    let place = Place::new();
    let cache = cache();
    twice(&cache, &place.file);
    let other = place.directory.join("other");
    fs::write(&other, "CONTENT").unwrap();
    let modified = place.file.metadata().unwrap().modified().unwrap();
    File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, &place.file).unwrap();
    let measured = measure_file(&place.file, &Hashing::cached(&cache)).unwrap();
    assert_eq!(measured.sha256, Digest::of(b"CONTENT"));
}

#[test]
fn a_file_that_has_changed_within_the_last_minute_is_not_kept() {
    let place = Place::new();
    assert_eq!(twice(&DigestCache::new(), &place.file).hits, 0);
}

#[test]
fn a_file_that_others_own_or_may_write_is_never_kept() {
    let place = Place::new();
    for mode in [0o664, 0o646, 0o666, 0o4775] {
        fs::set_permissions(&place.file, Permissions::from_mode(mode)).unwrap();
        assert!(!is_kept(&place.file), "{mode:o}");
    }
    fs::set_permissions(&place.file, Permissions::from_mode(0o755)).unwrap();
    assert!(is_kept(&place.file));
    chown(&place.file, Some(NOBODY), None).unwrap();
    assert!(!is_kept(&place.file));
}

#[test]
fn a_file_that_an_access_control_list_lets_somebody_write_is_never_kept() {
    /// Version 2, then owner, one user, group, mask, others: tag, rights, id (linux/posix_acl_xattr.h).
    fn list(rights: u16) -> Vec<u8> {
        let entries = [
            (1, 6, u32::MAX),
            (2, rights, NOBODY),
            (4, 4, u32::MAX),
            (0x10, rights, u32::MAX),
            (0x20, 4, u32::MAX),
        ];
        let entries = entries.iter().flat_map(|(tag, rights, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        });
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }
    let place = Place::new();
    let set = |rights| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&place.file, "system.posix_acl_access", &list(rights), flags).unwrap();
    };
    set(4);
    assert!(is_kept(&place.file));
    set(6);
    assert!(!is_kept(&place.file));
}

#[test]
fn a_file_below_a_directory_that_others_own_or_may_write_is_never_kept() {
    let place = Place::new();
    let inner = Place::below(&place.directory);
    let set = |mode| fs::set_permissions(&place.directory, Permissions::from_mode(mode)).unwrap();
    for (mode, expected) in [(0o755, true), (0o775, false), (0o757, false), (0o777, false), (0o1777, true)] {
        set(mode);
        assert_eq!(is_kept(&inner.file), expected, "{mode:o}");
    }
    set(0o755);
    chown(&place.directory, Some(NOBODY), None).unwrap();
    assert!(!is_kept(&inner.file));
}

#[test]
fn a_directory_that_was_opened_to_others_ends_the_use_of_what_is_kept() {
    let place = Place::new();
    let cache = cache();
    twice(&cache, &place.file);
    fs::set_permissions(&place.directory, Permissions::from_mode(0o777)).unwrap();
    measure_file(&place.file, &Hashing::cached(&cache)).unwrap();
    assert_eq!(cache.figures(), CacheFigures { hits: 1, misses: 2, bytes_hashed: 14 });
}

#[test]
fn a_file_in_shared_memory_is_never_kept() {
    let place = Place::below(Path::new("/dev/shm"));
    assert!(!is_kept(&place.file));
}

#[test]
fn a_files_own_user_gets_nothing_kept_of_it() {
    let place = Place::new();
    let program = place.directory.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let own = place.directory.join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&place.directory, Permissions::from_mode(0o755)).unwrap();
    let status = Command::new(&program)
        .args(["--exact", "cached_files_tests::the_child", "--ignored", "--quiet"])
        .current_dir(&own)
        .env_clear()
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .unwrap();
    assert!(status.success());
    // The child has written its file, so it was the child that ran.
    assert_eq!(own.join("file").metadata().unwrap().uid(), NOBODY);
    // To another process of another user it is no more to be trusted.
    assert!(!is_kept(&own.join("file")));
}

#[test]
#[ignore = "the child of another test"]
fn the_child() {
    assert_eq!(rustix::process::geteuid().as_raw(), NOBODY, "started by hand");
    fs::write("file", "content").unwrap();
    assert!(!is_kept(Path::new("file")));
    assert!(is_kept(Path::new("/usr/bin/env")));
}

#[test]
fn a_measurement_that_is_out_of_time_stops_within_a_file() {
    let place = Place::new();
    let endless = place.directory.join("endless");
    let size = 4 << 30;
    File::create(&endless).unwrap().set_len(size).unwrap();
    let cache = cache();
    let soon = Instant::now() + Duration::from_millis(50);
    let error = measure_file(&endless, &Hashing::cached(&cache).until(soon)).unwrap_err();
    assert!(matches!(error, MeasurementError::OutOfTime), "{error}");
    assert!(cache.figures().bytes_hashed < size, "{cache:?}");
}

#[test]
fn what_was_hashed_in_time_is_kept_and_nothing_is_begun_when_it_is_over() {
    let place = Place::new();
    let cache = cache();
    let far = Hashing::cached(&cache).until(Instant::now() + Duration::from_secs(3600));
    measure_file(&place.file, &far).unwrap();
    let over = far.until(Instant::now());
    assert!(matches!(measure_file(&place.file, &over), Err(MeasurementError::OutOfTime)));
    assert_eq!(cache.figures(), CacheFigures { hits: 0, misses: 1, bytes_hashed: 7 });
    measure_file(&place.file, &far).unwrap();
    assert_eq!(cache.figures().hits, 1);
}
