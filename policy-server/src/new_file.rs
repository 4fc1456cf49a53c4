//! Files of an installation, which are made once.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::error::ServerError;

/// Only the owner.
pub(crate) const PRIVATE: u32 = 0o600;
/// Everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Creates a file that must not exist; its mode is right from the beginning, whatever the umask.
pub(crate) fn create(path: &Path, mode: u32, content: &[u8]) -> Result<(), ServerError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write().map_err(|error| ServerError::File { path: path.to_owned(), error })
}
