//! From a line of the map to the file. Of the own process by its name, where the file on disk must be the one that is
//! mapped; of another process by the mapping itself.

use core::ops::Range;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use attestation::component::MeasuredFile;
use attestation::digest::escape;
use rustix::fs::{AtFlags, FileType, Mode, openat, statat};
use rustix::io::Errno;

use crate::error::MeasurementError;
use crate::files::{FileIdentity, OpenedFile, READING};
use crate::hashing::Hasher;
use crate::maps::MappedName;
use crate::proc_file::{ProcessDirectory, unreadable};
use crate::trusted_place::TrustedPlaces;

/// The mapped file, found again by its name.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: Vec<u8>,
    file: OpenedFile,
}

/// What became of a mapped file.
#[derive(Debug)]
pub(crate) enum Found {
    /// It has no name any more.
    Deleted,
    /// It is where the map says.
    Living(MappedFile),
    /// It never was a file: shared memory that the kernel shows as a deleted one.
    SharedMemory,
}

impl MappedFile {
    /// Looks the file up by every reading of its name; device and inode must be those of the mapping.
    pub(crate) fn find(name: &MappedName) -> Result<Found, MeasurementError> {
        let expected = FileIdentity { device: name.device, inode: name.inode };
        let mut refusal = None;
        for path in name.readings() {
            match open_expected(&path, expected) {
                Ok(file) => return Ok(Found::Living(Self { path, file })),
                // Of several readings the first is the likely one, and so is its error.
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match refusal {
            _ if name.is_shared_memory() => Ok(Found::SharedMemory),
            _ if name.looks_deleted() => Ok(Found::Deleted),
            Some(error) => Err(error),
            None => Err(MeasurementError::MappingReplaced { path: escape(&name.name) }),
        }
    }

    /// Opens what is mapped at `range` of another process: the file itself, whatever has its name now.
    ///
    /// Takes `CAP_CHECKPOINT_RESTORE`. A range that is gone meanwhile is [`MeasurementError::MappingsUnsettled`].
    pub(crate) fn through(
        process: &ProcessDirectory,
        range: &Range<u64>,
        name: &MappedName,
        places: &TrustedPlaces,
    ) -> Result<Found, MeasurementError> {
        let link = format!("map_files/{:x}-{:x}", range.start, range.end);
        let failed = |errno| match errno {
            Errno::NOENT => MeasurementError::MappingsUnsettled,
            other => unreadable(&process.path_of(&link), other.into()),
        };
        // Before it is opened, so that a device is not.
        let stat = statat(process, &link, AtFlags::empty()).map_err(failed)?;
        let expected = FileIdentity { device: name.device, inode: name.inode };
        check(FileIdentity::of(&stat), expected, &name.name).map_err(|error| match error {
            MeasurementError::MappingReplaced { .. } => MeasurementError::MappingsUnsettled,
            other => other,
        })?;
        // The link has the name without the map's escapes.
        let path = match name.readings().count() {
            1 => name.name.clone(),
            _ => process.link(&link)?,
        };
        if name.looks_deleted() && !places.leads_to(Path::new(OsStr::from_bytes(&path)), expected) {
            return Ok(if name.is_shared_memory() { Found::SharedMemory } else { Found::Deleted });
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(MeasurementError::NotRegular { path: escape(&path) });
        }
        let file = openat(process, &link, READING, Mode::empty()).map_err(failed)?;
        let file = OpenedFile::of(file, escape(&path))?;
        if file.identity() != expected {
            return Err(MeasurementError::MappingsUnsettled);
        }
        Ok(Found::Living(Self { path, file }))
    }

    pub(crate) fn identity(&self) -> FileIdentity {
        self.file.identity()
    }

    pub(crate) fn measure(self, hasher: &mut Hasher<'_>) -> Result<MeasuredFile, MeasurementError> {
        self.file.measure(&self.path, hasher)
    }
}

fn open_expected(path: &[u8], expected: FileIdentity) -> Result<OpenedFile, MeasurementError> {
    let file = OpenedFile::open(Path::new(OsStr::from_bytes(path)))?;
    check(file.identity(), expected, path)?;
    Ok(file)
}

fn check(found: FileIdentity, expected: FileIdentity, path: &[u8]) -> Result<(), MeasurementError> {
    if found == expected {
        Ok(())
    } else if found.inode == expected.inode {
        let shown = |(major, minor)| format!("{major}:{minor}");
        Err(MeasurementError::DeviceMismatch {
            path: escape(path),
            mapped: shown(expected.device),
            found: shown(found.device),
        })
    } else {
        Err(MeasurementError::MappingReplaced { path: escape(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::Hashing;
    use std::path::PathBuf;

    struct Directory {
        _keep: tempfile::TempDir,
        path: PathBuf,
    }

    impl Directory {
        fn new() -> Self {
            let keep = tempfile::tempdir().unwrap();
            let path = keep.path().canonicalize().unwrap();
            Self { _keep: keep, path }
        }

        /// Writes a file and describes it as a map would under `shown`.
        fn file(&self, name: &str, shown: &str) -> MappedName {
            let path = self.path.join(name);
            std::fs::write(&path, name).unwrap();
            let FileIdentity { device, inode } = OpenedFile::open(&path).unwrap().identity();
            MappedName { device, inode, name: self.path.join(shown).into_os_string().into_encoded_bytes() }
        }
    }

    fn living(name: &MappedName) -> String {
        match MappedFile::find(name).unwrap() {
            Found::Living(file) => file.measure(&mut Hasher::new(&Hashing::afresh())).unwrap().path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_with_a_line_feed_is_found_by_its_escape() {
        let directory = Directory::new();
        let name = directory.file("a\nb", r"a\012b");
        assert!(living(&name).ends_with(r"/a\x0ab"));
    }

    #[test]
    fn a_name_with_the_escapes_own_letters_is_found_as_it_is() {
        let directory = Directory::new();
        let name = directory.file(r"a\012b", r"a\012b");
        assert!(living(&name).ends_with(r"/a\\012b"));
    }

    #[test]
    fn a_decoy_under_the_other_reading_is_not_taken() {
        let directory = Directory::new();
        let name = directory.file("a\nb", r"a\012b");
        directory.file(r"a\012b", r"a\012b");
        assert!(living(&name).ends_with(r"/a\x0ab"));
    }

    #[test]
    fn a_living_file_whose_name_ends_in_deleted_is_living() {
        let directory = Directory::new();
        let name = directory.file("a (deleted)", "a (deleted)");
        assert!(living(&name).ends_with("/a (deleted)"));
    }

    #[test]
    fn a_deleted_file_is_not_its_namesake() {
        let directory = Directory::new();
        let name = directory.file("a", "a (deleted)");
        assert!(matches!(MappedFile::find(&name), Ok(Found::Deleted)));
        directory.file("a (deleted)", "a (deleted)");
        assert!(matches!(MappedFile::find(&name), Ok(Found::Deleted)));
    }

    #[test]
    fn another_file_under_the_same_name_is_refused() {
        let directory = Directory::new();
        let mut name = directory.file("a", "a");
        name.inode += 1;
        assert!(matches!(MappedFile::find(&name), Err(MeasurementError::MappingReplaced { .. })));
    }

    #[test]
    fn the_same_inode_of_another_device_is_refused_by_its_own_error() {
        let directory = Directory::new();
        let mut name = directory.file("a", "a");
        name.device.1 ^= 1;
        assert!(matches!(MappedFile::find(&name), Err(MeasurementError::DeviceMismatch { .. })));
    }

    #[test]
    fn a_file_that_is_no_longer_there_is_an_error() {
        let directory = Directory::new();
        let name = directory.file("a", "a");
        std::fs::remove_file(directory.path.join("a")).unwrap();
        assert!(matches!(MappedFile::find(&name), Err(MeasurementError::Unreadable { .. })));
    }

    #[test]
    fn shared_memory_is_told_from_deleted_files() {
        for name in ["/dev/zero (deleted)", "/SYSV0000002a (deleted)", "/anon_hugepage (deleted)"] {
            let name = MappedName { device: (0, 1), inode: 5, name: name.into() };
            assert!(matches!(MappedFile::find(&name), Ok(Found::SharedMemory)), "{name:?}");
        }
    }
}
