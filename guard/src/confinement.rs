//! What a role gives up before it does anything: it keeps the rights that its work takes, and no more.

use std::path::Path;

use configuration::{Account, Guard, Need};
use gated_module::PinFile;
use linux_ffi::confine;

use crate::accounts;
use crate::error::GuardError;

/// Opens the file of a PIN while this process may: it can be root's alone.
pub(crate) fn pin_file(path: &Path) -> Result<PinFile, GuardError> {
    PinFile::open(path.to_owned()).map_err(|source| GuardError::PinFile { path: path.to_owned(), source })
}

/// Becomes the user that the configuration names under `key`, if it does, and can get no rights back; nobody else of that user
/// can look into this process, and it ends with the guard.
pub(crate) fn become_user(account: Option<&Account>, key: &'static str) -> Result<(), GuardError> {
    let guard = parent()?;
    if let Some(account) = account {
        let user = accounts::user(account, key)?;
        confine::become_user(user.uid, user.gid, &[]).map_err(GuardError::Confinement)?;
    }
    confine::without_new_privileges().map_err(GuardError::Confinement)?;
    confine::not_dumpable().map_err(GuardError::Confinement)?;
    confine::end_with_parent(guard).map_err(GuardError::Confinement)
}

/// Leaves the network, unless the real module needs it.
pub(crate) fn leave_network(guard: &Guard) -> Result<(), GuardError> {
    if guard.needs.contains(&Need::Network) {
        return Ok(());
    }
    confine::without_network().map_err(GuardError::Confinement)
}

fn parent() -> Result<u32, GuardError> {
    let parent =
        rustix::process::getppid().and_then(|parent| u32::try_from(parent.as_raw_nonzero().get()).ok());
    parent.ok_or(GuardError::OtherSideGone)
}
