//! Reads files of procfs, bounded, and makes sure that it is procfs that answers.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat, readlinkat};

use crate::error::MeasurementError;

/// A process's directory in procfs.
///
/// It stays that process's: once the process has ended, nothing can be opened through it, whoever gets the number.
#[derive(Debug)]
pub(crate) struct ProcessDirectory {
    directory: OwnedFd,
    /// For errors.
    path: String,
}

impl ProcessDirectory {
    /// Of this process.
    pub(crate) fn own() -> Result<Self, MeasurementError> {
        Self::at("/proc/self".to_owned())
    }

    /// Of the process that has this number at present.
    pub(crate) fn of(pid: u32) -> Result<Self, MeasurementError> {
        Self::at(format!("/proc/{pid}"))
    }

    fn at(path: String) -> Result<Self, MeasurementError> {
        let directory = open_on_procfs(CWD, &path, OFlags::PATH | OFlags::DIRECTORY, || path.clone())?;
        Ok(Self { directory, path })
    }

    /// Opens the file `name` in it for reading.
    pub(crate) fn open(&self, name: &str) -> Result<File, MeasurementError> {
        open_on_procfs(&self.directory, name, OFlags::RDONLY, || self.path_of(name)).map(File::from)
    }

    /// The whole content of the file `name`; more than `limit` bytes are an error.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, MeasurementError> {
        content(self.open(name)?, limit, || self.path_of(name))
    }

    /// Where the link `name` leads, as the kernel writes it.
    pub(crate) fn link(&self, name: &str) -> Result<Vec<u8>, MeasurementError> {
        readlinkat(&self.directory, name, Vec::new())
            .map(CString::into_bytes)
            .map_err(|errno| unreadable(&self.path_of(name), errno.into()))
    }

    /// The path of what is in it, for errors.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl AsFd for ProcessDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Opens what must be on procfs: in a mount namespace of its own a user can put anything there.
fn open_on_procfs(
    directory: impl AsFd,
    name: &str,
    flags: OFlags,
    path: impl Fn() -> String,
) -> Result<OwnedFd, MeasurementError> {
    let failed = |errno: rustix::io::Errno| unreadable(&path(), errno.into());
    let file =
        openat(directory, name, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).map_err(failed)?;
    if fstatfs(&file).map_err(failed)?.f_type != PROC_SUPER_MAGIC {
        return Err(MeasurementError::NotProcfs { path: path() });
    }
    Ok(file)
}

fn content(file: File, limit: u64, path: impl Fn() -> String) -> Result<Vec<u8>, MeasurementError> {
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(|source| unreadable(&path(), source))?;
    if content.len() as u64 > limit {
        return Err(MeasurementError::TooLarge { path: path(), limit });
    }
    Ok(content)
}

/// The whole content of `path`, which must be on procfs; more than `limit` bytes are an error.
pub(crate) fn read_proc(path: &'static str, limit: u64) -> Result<Vec<u8>, MeasurementError> {
    let shown = || path.to_owned();
    content(open_on_procfs(CWD, path, OFlags::RDONLY, shown)?.into(), limit, shown)
}

/// Where the link `name` below `/proc/self` leads, as the kernel writes it.
pub(crate) fn read_self_link(name: &str) -> Result<Vec<u8>, MeasurementError> {
    ProcessDirectory::own()?.link(name)
}

pub(crate) fn unreadable(path: &str, source: io::Error) -> MeasurementError {
    MeasurementError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_procfs_is_refused() {
        let error = read_proc("/etc/passwd", 1 << 20).unwrap_err();
        assert!(matches!(&error, MeasurementError::NotProcfs { path } if path == "/etc/passwd"), "{error}");
        let error = ProcessDirectory::at("/etc".to_owned()).unwrap_err();
        assert!(matches!(&error, MeasurementError::NotProcfs { path } if path == "/etc"), "{error}");
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let own = ProcessDirectory::own().unwrap();
        let length = own.read("stat", 4096).unwrap().len() as u64;
        assert!(length > 100);
        match own.read("stat", 100) {
            Err(MeasurementError::TooLarge { path, limit: 100 }) => assert_eq!(path, "/proc/self/stat"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_link_is_read_as_it_stands() {
        let expected = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(read_self_link("exe").unwrap(), expected.as_os_str().as_encoded_bytes());
    }

    #[test]
    fn the_directory_of_a_process_that_has_ended_gives_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let directory = ProcessDirectory::of(child.id()).unwrap();
        assert!(directory.link("exe").is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(directory.link("exe").is_err() && directory.read("stat", 4096).is_err());
        assert!(ProcessDirectory::of(child.id()).is_err());
    }
}
