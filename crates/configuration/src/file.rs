//! Reads the file, once it is known that nobody else may write it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::ConfigurationError;

/// Far more than a configuration needs.
const MAX_BYTES: u64 = 64 * 1024;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// The file's text.
///
/// Owner and permissions are those of the opened file, so that it makes no difference if the path leads to
/// another one later. Write access by an access control list shows in the group's bits (acl(5), mask entry).
pub(crate) fn read(path: &Path) -> Result<String, ConfigurationError> {
    let (file, stat) = open_regular(path)?;
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(ConfigurationError::Owner { path: path.to_owned(), owner: stat.st_uid });
    }
    if stat.st_mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(ConfigurationError::Writable { path: path.to_owned(), mode: stat.st_mode & 0o777 });
    }
    text(file, path)
}

/// The text of a file that anybody may have written.
pub(crate) fn read_of_anybody(path: &Path) -> Result<String, ConfigurationError> {
    let (file, _) = open_regular(path)?;
    text(file, path)
}

fn open_regular(path: &Path) -> Result<(File, Stat), ConfigurationError> {
    let unreadable = |errno: Errno| unreadable(path, errno.into());
    // NONBLOCK: a pipe must not hold the caller up until somebody writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = open(path, flags, Mode::empty()).map_err(unreadable)?;
    let stat = fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigurationError::NotRegular { path: path.to_owned() });
    }
    Ok((file.into(), stat))
}

fn text(file: File, path: &Path) -> Result<String, ConfigurationError> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigurationError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| ConfigurationError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

fn unreadable(path: &Path, source: io::Error) -> ConfigurationError {
    match source.kind() {
        io::ErrorKind::NotFound => ConfigurationError::Missing { path: path.to_owned() },
        _ => ConfigurationError::Unreadable { path: path.to_owned(), source },
    }
}
