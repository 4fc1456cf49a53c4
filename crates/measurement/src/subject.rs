//! The process that is measured: this one, as it sees itself, or another one, seen from outside.

use core::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use attestation::digest::escape;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, open, openat, statat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::error::MeasurementError;
use crate::files::{FileIdentity, OpenedFile, READING};
use crate::inside::{self, Links};
use crate::mapped::{Found, MappedFile};
use crate::maps::{MappedName, Mapping, executable_mappings};
use crate::proc_file::{ProcessDirectory, unreadable};
use crate::runtime::{Ids, Status};
use crate::trusted_place::TrustedPlaces;

const MAPS: &str = "maps";
/// The kernel's default of 65 530 mappings at 256 bytes each.
const MAX_MAPS: u64 = 16 << 20;

/// The measured process.
#[derive(Debug)]
pub(crate) struct Subject {
    directory: ProcessDirectory,
    /// Where its paths begin: of another process, which may have a root and mounts of its own.
    root: Option<OwnedFd>,
}

impl Subject {
    /// This process.
    pub(crate) fn own() -> Result<Self, MeasurementError> {
        Ok(Self { directory: ProcessDirectory::own()?, root: None })
    }

    /// The process that has the number `pid` at present. That it is the one that is meant has to be checked afterwards,
    /// by a hold on that one.
    pub(crate) fn other(pid: u32) -> Result<Self, MeasurementError> {
        let directory = ProcessDirectory::of(pid)?;
        let root =
            openat(&directory, "root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| unreadable(&directory.path_of("root"), errno.into()))?;
        Ok(Self { directory, root: Some(root) })
    }

    pub(crate) const fn process(&self) -> &ProcessDirectory {
        &self.directory
    }

    pub(crate) fn mappings(&self) -> Result<Vec<Mapping>, MeasurementError> {
        executable_mappings(&self.directory.read(MAPS, MAX_MAPS)?)
    }

    /// Finds the file that is mapped at `range` by this `name`.
    pub(crate) fn find(
        &self,
        range: &Range<u64>,
        name: &MappedName,
        places: &TrustedPlaces,
    ) -> Result<Found, MeasurementError> {
        match self.root {
            None => MappedFile::find(name),
            Some(_) => MappedFile::through(&self.directory, range, name, places),
        }
    }

    /// The executed file, even where that has no name any more: the kernel follows the link by itself.
    pub(crate) fn executable(&self) -> Result<OpenedFile, MeasurementError> {
        let shown = self.directory.path_of("exe");
        match openat(&self.directory, "exe", READING, Mode::empty()) {
            Ok(file) => OpenedFile::of(file, shown),
            Err(errno) => Err(unreadable(&shown, errno.into())),
        }
    }

    /// Opens what the process finds at the absolute `path`.
    pub(crate) fn open(&self, path: &Path) -> Result<OpenedFile, MeasurementError> {
        let Some(root) = &self.root else { return OpenedFile::open(path) };
        let shown = absolute(path)?;
        let failed = |errno: Errno| unreadable(&shown, errno.into());
        let found = inside::find(root, path, Links::Followed).map_err(failed)?;
        // Before it is opened, so that a device is not.
        if FileType::from_raw_mode(fstat(&found).map_err(failed)?.st_mode) != FileType::RegularFile {
            return Err(MeasurementError::NotRegular { path: shown });
        }
        OpenedFile::of(inside::read(&found).map_err(failed)?, shown)
    }

    /// What the process finds at the absolute `path`, without opening it.
    pub(crate) fn stat(&self, path: &Path) -> Result<Stat, MeasurementError> {
        let shown = absolute(path)?;
        let stat = match &self.root {
            None => statat(CWD, path, AtFlags::empty()),
            // Symbolic links lead to where they lead for the process itself, and never to another process.
            Some(root) => inside::find(root, path, Links::Followed).and_then(fstat),
        };
        stat.map_err(|errno| unreadable(&shown, errno.into()))
    }

    /// As whom the process acts: this one by its effective ids, another one by ids that must all agree.
    pub(crate) fn ids(&self, status: &Status) -> Result<Ids, MeasurementError> {
        match self.root {
            None => Ok(Ids { uid: geteuid().as_raw(), gid: getegid().as_raw() }),
            Some(_) => status.acts_as.ok_or(MeasurementError::MixedCredentials),
        }
    }

    /// Whether other processes of its user may read and change its memory. From outside it shows in the owner of its files
    /// in procfs; of a process of root it does not, and counts as yes.
    pub(crate) fn dumpable(&self, ids: Ids) -> Result<bool, MeasurementError> {
        if self.root.is_none() {
            return Ok(linux_ffi::dumpable()?);
        }
        match statat(&self.directory, MAPS, AtFlags::empty()) {
            Ok(stat) => Ok(stat.st_uid == ids.uid),
            Err(errno) => Err(unreadable(&self.directory.path_of(MAPS), errno.into())),
        }
    }

    /// The files that count for a process that acts as `ids`.
    pub(crate) fn places(&self, ids: Ids) -> Result<TrustedPlaces, MeasurementError> {
        let Some(root) = &self.root else { return Ok(TrustedPlaces::default()) };
        // The kernel shows paths from our root where we share the process's mounts, which a root of its own is below.
        let begin = if self.directory.link("ns/mnt")? == ProcessDirectory::own()?.link("ns/mnt")? {
            open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| unreadable("/", errno.into()))?
        } else {
            root.try_clone().map_err(|source| unreadable(&self.directory.path_of("root"), source))?
        };
        Ok(TrustedPlaces::of_user(ids.uid, begin))
    }

    /// Which file was executed.
    pub(crate) fn executable_identity(&self) -> Result<FileIdentity, MeasurementError> {
        match statat(&self.directory, "exe", AtFlags::empty()) {
            Ok(stat) => Ok(FileIdentity::of(&stat)),
            Err(errno) => Err(unreadable(&self.directory.path_of("exe"), errno.into())),
        }
    }
}

/// As it is shown in errors, a path that begins at a root.
fn absolute(path: &Path) -> Result<String, MeasurementError> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    if !path.is_absolute() {
        return Err(MeasurementError::Untrusted { path: shown, reason: "its path is not absolute" });
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_acts_as_its_effective_user_and_group() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::tempfile().unwrap().metadata().unwrap();
        let own = Subject::own().unwrap();
        let status = Status::read(own.process()).unwrap();
        let expected = Ids { uid: file.uid(), gid: file.gid() };
        assert_eq!(own.ids(&status).unwrap(), expected);
        assert_eq!(status.acts_as, Some(expected), "no test changes the ids of this process");
    }

    #[test]
    fn a_path_that_is_not_absolute_leads_nowhere_from_outside() {
        let own = Subject::other(std::process::id()).unwrap();
        assert!(own.open(Path::new("/etc/passwd")).is_ok());
        let refused = own.open(Path::new("etc/passwd")).unwrap_err();
        assert!(matches!(refused, MeasurementError::Untrusted { .. }), "{refused}");
        let link = own.open(Path::new("/proc/self/exe")).unwrap_err();
        assert!(matches!(link, MeasurementError::Unreadable { .. }), "{link}");
        let device = own.open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(device, MeasurementError::NotRegular { .. }), "{device}");
    }
}
