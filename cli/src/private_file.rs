//! Files that hold a secret: read only where nobody else can, into memory that is wiped.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::CliError;

/// Bytes that such a file may have.
const LIMIT: u64 = 64 << 10;
const OTHERS_READ_OR_WRITE: u32 = 0o066;

/// Reads the whole file. The mode is that of the opened file, so that it cannot be exchanged in between.
pub fn read(path: &Path) -> Result<(Zeroizing<String>, u32), CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(CliError::Permissions { path: path.to_owned(), why: "is not a regular file" });
    }
    // Room for all of it at once: growing would leave copies behind.
    let size = usize::try_from(metadata.len().min(LIMIT)).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    Ok((text, metadata.mode()))
}

/// Refuses a mode that lets group or others read or write.
pub fn require_private(path: &Path, mode: u32) -> Result<(), CliError> {
    if mode & OTHERS_READ_OR_WRITE != 0 {
        return Err(CliError::Permissions {
            path: path.to_owned(),
            why: "holds a credential and may be read or written by others",
        });
    }
    Ok(())
}

/// A credential from a file of its own: one word, with or without a line end.
pub fn credential(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let (text, mode) = read(path)?;
    require_private(path, mode)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_credential_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        fs::write(&path, "secret\n").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(credential(&path), Err(CliError::Permissions { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(credential(&path).unwrap().as_str(), "secret");
        assert!(matches!(credential(directory.path()), Err(CliError::Permissions { .. })));
    }
}
