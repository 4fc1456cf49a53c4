//! Hashes files: what is opened is a regular file, and what is hashed of it has not changed while it was read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use attestation::component::MeasuredFile;
use attestation::digest::{Digest, escape};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, major, minor, open};
use sha2::{Digest as _, Sha256};

use crate::build_id;
use crate::digest_cache::{FileVersion, Known};
use crate::error::MeasurementError;
use crate::hashing::{Hasher, Hashing, wall_clock};
use crate::proc_file::{read_self_link, unreadable};

/// What is hashed between two looks at the clock.
const BUFFER: usize = 128 * 1024;
/// No program or configuration is larger; a sparse file can pretend to any size.
const MAX_FILE: u64 = 4 << 30;
/// How often a file is read that changes meanwhile.
const READINGS: u32 = 3;
/// The clock of file times moves in steps, the longest of 10 ms: a change after this shows beside one before it.
const STEP: Duration = Duration::from_millis(20);

/// Which file, independent of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileIdentity {
    /// Major and minor number of the device.
    pub(crate) device: (u32, u32),
    /// Inode.
    pub(crate) inode: u64,
}

impl FileIdentity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { device: (major(stat.st_dev), minor(stat.st_dev)), inode: stat.st_ino }
    }
}

/// Without changing anything about a file, and without waiting for a pipe's other end.
pub(crate) const READING: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// An open regular file.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    file: File,
    /// For errors, escaped.
    name: String,
    stat: Stat,
}

impl OpenedFile {
    /// Opens `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, MeasurementError> {
        let name = escape(path.as_os_str().as_encoded_bytes());
        match open(path, READING, Mode::empty()) {
            Ok(file) => Self::of(file, name),
            Err(errno) => Err(unreadable(&name, errno.into())),
        }
    }

    /// What was opened, and the name that it has in errors, escaped.
    pub(crate) fn of(file: OwnedFd, name: String) -> Result<Self, MeasurementError> {
        let stat = fstat(&file).map_err(|errno| unreadable(&name, errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MeasurementError::NotRegular { path: name });
        }
        Ok(Self { file: File::from(file), name, stat })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn identity(&self) -> FileIdentity {
        FileIdentity::of(&self.stat)
    }

    /// The path by which the kernel knows the opened file, without symbolic links.
    pub(crate) fn kernel_path(&self) -> Result<Vec<u8>, MeasurementError> {
        if self.stat.st_nlink == 0 {
            return Err(MeasurementError::Deleted { path: self.name.clone() });
        }
        read_self_link(&format!("fd/{}", self.file.as_raw_fd()))
    }

    /// The digest of the whole file at `path`, by which it is shown, escaped.
    pub(crate) fn measure(
        self,
        path: &[u8],
        hasher: &mut Hasher<'_>,
    ) -> Result<MeasuredFile, MeasurementError> {
        let known = self.settled(path, hasher, Self::read)?;
        Ok(MeasuredFile { path: escape(path), sha256: known.sha256, build_id: known.build_id })
    }

    /// What a reading gives during which the file has not changed: size and times are the same before and after. Where they are
    /// not, it is looked at and read again, a few times: its change time also tells of a link more or less, as whoever
    /// replaces or saves files makes them, and a later reading that nothing has disturbed is as good as a first one.
    ///
    /// Writing through a mapping can change content without either (inode(7)): then the digest is of what was read.
    fn settled(
        mut self,
        path: &[u8],
        hasher: &mut Hasher<'_>,
        mut read: impl FnMut(&Self, &Hasher<'_>) -> Result<Option<Known>, MeasurementError>,
    ) -> Result<Known, MeasurementError> {
        for _ in 0..READINGS {
            hasher.check_time()?;
            // Anew, too: the change may have been one of owner or mode.
            let is_kept = hasher.admit(&self.file, &self.stat, Path::new(OsStr::from_bytes(path)))?;
            let version = FileVersion::of(&self.stat);
            let kept = hasher.cache.filter(|_| is_kept);
            if let Some(known) = kept.and_then(|cache| cache.find(self.identity(), version)) {
                return Ok(known);
            }
            if let Some(cache) = hasher.cache {
                cache.count_miss();
            }
            let now = wall_clock();
            let known = read(&self, hasher)?;
            let after = self.stat_again()?;
            if let Some(known) = known.filter(|_| FileVersion::of(&after) == version) {
                if let Some(cache) = kept {
                    cache.keep(self.identity(), version, now, &known);
                }
                return Ok(known);
            }
            std::thread::sleep(STEP);
            let again = self.stat_again()?;
            // What has lost its last name is not what the path leads to.
            if again.st_nlink == 0 && self.stat.st_nlink != 0 {
                break;
            }
            self.stat = again;
        }
        Err(MeasurementError::Changed { path: self.name })
    }

    fn stat_again(&self) -> Result<Stat, MeasurementError> {
        fstat(&self.file).map_err(|errno| unreadable(&self.name, errno.into()))
    }

    /// Reads the whole file; `None` where it is not as long as it was.
    fn read(&self, hasher: &Hasher<'_>) -> Result<Option<Known>, MeasurementError> {
        let size = u64::try_from(self.stat.st_size).unwrap_or(u64::MAX);
        if size > MAX_FILE {
            return Err(MeasurementError::TooLarge { path: self.name.clone(), limit: MAX_FILE });
        }
        let failed = |source| unreadable(&self.name, source);
        let build_id = build_id::read(&self.file).map_err(failed)?;
        (&self.file).rewind().map_err(failed)?;
        let (sha256, read) = self.digest(size, hasher)?;
        Ok((read == size).then_some(Known { sha256, build_id }))
    }

    /// Digest and number of the bytes read: at most one more than `size`, to see that the file has grown.
    fn digest(&self, size: u64, hasher: &Hasher<'_>) -> Result<(Digest, u64), MeasurementError> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER) + 1)];
        let mut content = (&self.file).take(size + 1);
        let mut total = 0;
        loop {
            hasher.check_time()?;
            let length = match content.read(&mut buffer) {
                Ok(0) => return Ok((Digest::from_bytes(digest.finalize().into()), total)),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(&self.name, error)),
            };
            digest.update(buffer.get(..length).unwrap_or_default());
            total += length as u64;
            if let Some(cache) = hasher.cache {
                cache.count_hashed(length as u64);
            }
        }
    }
}

/// Measures the regular file that `path` leads to, and shows it by the kernel's path for it: absolute, without
/// symbolic links.
///
/// # Errors
/// [`MeasurementError`] where it cannot be read, is no regular file, or changes meanwhile.
pub fn measure_file(path: &Path, hashing: &Hashing<'_>) -> Result<MeasuredFile, MeasurementError> {
    measure_path(path, &mut Hasher::new(hashing))
}

pub(crate) fn measure_path(path: &Path, hasher: &mut Hasher<'_>) -> Result<MeasuredFile, MeasurementError> {
    let file = OpenedFile::open(path)?;
    let shown = file.kernel_path()?;
    file.measure(&shown, hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    fn afresh(path: &Path) -> Result<MeasuredFile, MeasurementError> {
        measure_file(path, &Hashing::afresh())
    }

    fn in_a_directory() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        (directory, path)
    }

    #[test]
    fn content_around_the_buffers_size_is_hashed_whole() {
        let (_keep, directory) = in_a_directory();
        for size in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER] {
            let content: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let path = directory.join(size.to_string());
            std::fs::write(&path, &content).unwrap();
            let measured = afresh(&path).unwrap();
            assert_eq!(measured.sha256, Digest::of(&content), "{size}");
            assert_eq!(measured.path, path.to_str().unwrap());
            assert_eq!(measured.build_id, None);
        }
    }

    #[test]
    fn a_link_is_shown_as_the_file_it_leads_to() {
        let (_keep, directory) = in_a_directory();
        std::fs::write(directory.join("real"), "content").unwrap();
        symlink("real", directory.join("link")).unwrap();
        let measured = afresh(&directory.join("link")).unwrap();
        assert_eq!(measured.path, directory.join("real").to_str().unwrap());
    }

    #[test]
    fn a_hostile_name_is_escaped() {
        let (_keep, directory) = in_a_directory();
        let path = directory.join(OsStr::from_bytes(b"a\n\x1b[2J\xff"));
        std::fs::write(&path, "content").unwrap();
        assert!(afresh(&path).unwrap().path.ends_with(r"/a\x0a\x1b[2J\xff"));
    }

    #[test]
    fn whatever_is_not_a_regular_file_is_refused_at_once() {
        let (_keep, directory) = in_a_directory();
        let pipe = directory.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [directory.as_path(), &pipe, Path::new("/dev/zero")] {
            let error = afresh(path).unwrap_err();
            assert!(matches!(error, MeasurementError::NotRegular { .. }), "{}: {error}", path.display());
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = afresh(Path::new("/nonexistent/file")).unwrap_err();
        assert!(matches!(error, MeasurementError::Unreadable { .. }), "{error}");
    }

    /// Measures `content`, with `disturb` called before the end of each reading, and tells how often it was read.
    fn disturbed(mut disturb: impl FnMut(&Path, u32)) -> (u32, Result<Known, MeasurementError>) {
        let (_keep, directory) = in_a_directory();
        let path = directory.join("file");
        std::fs::write(&path, "content").unwrap();
        let opened = OpenedFile::open(&path).unwrap();
        // The clock of file times moves in steps of some milliseconds.
        std::thread::sleep(STEP);
        let mut readings = 0;
        let found = opened.settled(b"file", &mut Hasher::new(&Hashing::afresh()), |file, hasher| {
            let read = file.read(hasher);
            readings += 1;
            disturb(&path, readings);
            read
        });
        (readings, found)
    }

    fn writable(path: &Path) -> File {
        std::fs::OpenOptions::new().write(true).open(path).unwrap()
    }

    const CHANGES: [fn(&Path); 3] = [
        |path| std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"!").unwrap(),
        |path| {
            let file = writable(path);
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        },
        |path| {
            // The same size, and the old time put back: the kernel's own change time still moves.
            let file = writable(path);
            let modified = file.metadata().unwrap().modified().unwrap();
            (&file).write_all(b"CONTENT").unwrap();
            file.set_modified(modified).unwrap();
        },
    ];

    #[test]
    fn a_file_that_changes_under_the_measurement_is_refused() {
        for (index, change) in CHANGES.into_iter().enumerate() {
            let (readings, found) = disturbed(|path, _| change(path));
            assert!(matches!(found, Err(MeasurementError::Changed { .. })), "{index}: {found:?}");
            assert_eq!(readings, READINGS);
        }
    }

    #[test]
    fn of_a_file_that_has_changed_the_digest_is_of_what_it_has_become() {
        for (change, content) in CHANGES.into_iter().zip(["content!", "conten", "CONTENT"]) {
            let (readings, found) = disturbed(|path, reading| {
                if reading == 1 {
                    change(path);
                }
            });
            assert_eq!((readings, found.unwrap().sha256), (2, Digest::of(content.as_bytes())));
        }
    }

    #[test]
    fn another_link_or_one_less_changes_nothing() {
        let linked = |path: &Path| path.with_extension("link");
        let (readings, found) = disturbed(|path, reading| match reading {
            1 => std::fs::hard_link(path, linked(path)).unwrap(),
            2 => std::fs::remove_file(linked(path)).unwrap(),
            _ => {}
        });
        assert_eq!((readings, found.unwrap().sha256), (3, Digest::of(b"content")));
    }

    #[test]
    fn a_file_that_loses_its_last_name_under_the_measurement_is_refused_at_once() {
        let (readings, found) = disturbed(|path, _| std::fs::remove_file(path).unwrap());
        assert!(matches!(found, Err(MeasurementError::Changed { .. })), "{found:?}");
        assert_eq!(readings, 1);
    }

    #[test]
    fn a_file_that_is_gone_has_no_path() {
        let (_keep, directory) = in_a_directory();
        let path = directory.join("file");
        std::fs::write(&path, "content").unwrap();
        let mut opened = OpenedFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        opened.stat = fstat(&opened.file).unwrap();
        assert!(matches!(opened.kernel_path(), Err(MeasurementError::Deleted { .. })));
    }

    #[test]
    fn an_endless_file_is_refused_by_its_size() {
        let (_keep, directory) = in_a_directory();
        let path = directory.join("sparse");
        File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(afresh(&path), Err(MeasurementError::TooLarge { .. })));
    }
}
