//! The socket that applications connect to: systemd's, or one of the guard's own.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use configuration::Guard;
use rustix::fs::Mode;

use crate::accounts;
use crate::error::GuardError;

/// Everybody in the group may connect; whoever may not, is told so by the kernel.
const MODE: u32 = 0o660;

/// The listening socket.
pub(super) fn listen(settings: &Guard) -> Result<OwnedFd, GuardError> {
    if let Some(socket) = linux_ffi::socket::activated()? {
        return Ok(socket);
    }
    let failed = |source| GuardError::Listening { path: settings.socket.clone(), source };
    remove_stale(&settings.socket).map_err(failed)?;
    // Nobody else's until its group is set.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let bound = UnixListener::bind(&settings.socket);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    if let Some(group) = &settings.group {
        chown(&settings.socket, None, Some(accounts::group(group, "group")?)).map_err(failed)?;
    }
    fs::set_permissions(&settings.socket, Permissions::from_mode(MODE)).map_err(failed)?;
    Ok(listener.into())
}

/// Removes the socket of a guard that has ended, and nothing else: neither another file nor that of one that runs.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else in its place"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another guard listens on it")),
            Err(_) => fs::remove_file(path),
        },
    }
}
