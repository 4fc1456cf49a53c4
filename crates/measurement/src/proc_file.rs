//! Reads files of procfs, bounded, and makes sure that it is procfs that answers.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, open, readlinkat};

use crate::error::MeasurementError;

const SELF: &str = "/proc/self";

/// Opens `path`, which must be on procfs: in a mount namespace of its own a user can put anything there.
pub(crate) fn open_proc(path: &'static str) -> Result<File, MeasurementError> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
        .map_err(|errno| unreadable(path, errno.into()))?;
    let kind = fstatfs(&file).map_err(|errno| unreadable(path, errno.into()))?.f_type;
    if kind != PROC_SUPER_MAGIC {
        return Err(MeasurementError::NotProcfs { path });
    }
    Ok(File::from(file))
}

/// The whole content of `path`; more than `limit` bytes are an error.
pub(crate) fn read_proc(path: &'static str, limit: u64) -> Result<Vec<u8>, MeasurementError> {
    let mut content = Vec::new();
    open_proc(path)?.take(limit + 1).read_to_end(&mut content).map_err(|source| unreadable(path, source))?;
    if content.len() as u64 > limit {
        return Err(MeasurementError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// Where the link `name` below `/proc/self` leads, as the kernel writes it.
pub(crate) fn read_self_link(name: &str) -> Result<Vec<u8>, MeasurementError> {
    readlinkat(open_proc(SELF)?, name, Vec::new())
        .map(CString::into_bytes)
        .map_err(|errno| unreadable(&format!("{SELF}/{name}"), errno.into()))
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
        assert!(matches!(error, MeasurementError::NotProcfs { path: "/etc/passwd" }), "{error}");
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let length = read_proc("/proc/self/stat", 4096).unwrap().len() as u64;
        assert!(length > 100);
        assert!(matches!(
            read_proc("/proc/self/stat", 100),
            Err(MeasurementError::TooLarge { limit: 100, .. })
        ));
    }

    #[test]
    fn a_link_is_read_as_it_stands() {
        let expected = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(read_self_link("exe").unwrap(), expected.as_os_str().as_encoded_bytes());
    }
}
