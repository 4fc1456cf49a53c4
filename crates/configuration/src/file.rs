//! Reads the file, once it is known that nobody else may write it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
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
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ConfigurationError::Missing { path: path.to_owned() },
        _ => ConfigurationError::Unreadable { path: path.to_owned(), source },
    };
    // NONBLOCK: a pipe must not hold the caller up until somebody writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = open(path, flags, Mode::empty()).map_err(|errno| unreadable(errno.into()))?;
    let stat = fstat(&file).map_err(|errno| unreadable(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigurationError::NotRegular { path: path.to_owned() });
    }
    if stat.st_uid != 0 && stat.st_uid != geteuid().as_raw() {
        return Err(ConfigurationError::Owner { path: path.to_owned(), owner: stat.st_uid });
    }
    if stat.st_mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(ConfigurationError::Writable { path: path.to_owned(), mode: stat.st_mode & 0o777 });
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigurationError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| ConfigurationError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}
