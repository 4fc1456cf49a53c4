//! What a role gives up before it does anything: it keeps the rights that its work takes, and no more.

use std::path::Path;

use configuration::{Account, Guard, Need};
use gated_module::PinFile;
use linux_ffi::LinuxError;
use linux_ffi::confine::{self, Capability, Limit};

use crate::accounts;
use crate::error::GuardError;

/// Opens the file of a PIN while this process may: it can be root's alone.
pub(crate) fn pin_file(path: &Path) -> Result<PinFile, GuardError> {
    PinFile::open(path.to_owned()).map_err(|source| GuardError::PinFile { path: path.to_owned(), source })
}

/// What reading other processes takes: the memory and state of another user's; the files that it has mapped; files and
/// directories that its user alone may read.
const READING: [Capability; 3] =
    [Capability::SysPtrace, Capability::CheckpointRestore, Capability::DacReadSearch];
/// What the monitor needs besides, to end processes of other users, and those that it starts, to give up theirs.
const STARTING: [Capability; 4] =
    [Capability::Kill, Capability::SetGid, Capability::SetUid, Capability::SetPcap];

/// Memory of a measurer's own: the largest message has 16 MiB, and it remembers digests.
const MEASURERS_MEMORY: u64 = 1 << 30;
/// Descriptors for the real module.
const DESCRIPTORS: u64 = 1024;
/// Socket and memory, on their way also twice.
const DESCRIPTORS_OF_CONNECTION: u64 = 4;

/// The monitor keeps what it and the processes that it starts need: what it has not, none of them has.
pub(crate) fn of_monitor(guard: &Guard) -> Result<(), GuardError> {
    let leaving_network = Some(Capability::SysAdmin).filter(|_| !has_network(guard));
    let kept: Vec<_> = READING.into_iter().chain(STARTING).chain(leaving_network).collect();
    let confined = || {
        confine::bound_capabilities(&kept)?;
        keep_for_good(&kept)
    };
    confined().map_err(GuardError::Confinement)
}

/// A measurer stays root, and keeps the rights to read; it ends with the guard.
pub(crate) fn of_measurer() -> Result<(), GuardError> {
    let guard = parent()?;
    let confined = || {
        limit_memory(MEASURERS_MEMORY)?;
        confine::bound_capabilities(&READING)?;
        keep_for_good(&READING)?;
        confine::end_with_parent(guard)
    };
    confined().map_err(GuardError::Confinement)
}

/// Becomes the user that the configuration names under `key`, if it does, without any of root's rights and without a way to
/// get some; nobody else of that user can look into this process, and it ends with the guard. Nor does it end any other
/// process of that user: whoever takes it over by way of the real module, which is loaded afterwards, has it alone.
pub(crate) fn become_user(account: Option<&Account>, key: &'static str) -> Result<(), GuardError> {
    let guard = parent()?;
    let user = account.map(|account| accounts::user(account, key)).transpose()?;
    let confined = || {
        // As long as it is root, which may.
        confine::bound_capabilities(&[])?;
        if let Some(user) = user {
            confine::become_user(user.uid, user.gid, &[])?;
        }
        keep_for_good(&[])?;
        confine::end_with_parent(guard)?;
        confine::keep_to_itself()
    };
    confined().map_err(GuardError::Confinement)
}

/// Nobody can look into this process from then on, either, and it leaves no core file: there may be a PIN in its memory.
fn keep_for_good(kept: &[Capability]) -> Result<(), LinuxError> {
    confine::keep_capabilities(kept)?;
    confine::without_new_privileges()?;
    confine::not_dumpable()?;
    confine::limit(Limit::Core, 0)
}

/// What the real module takes is bounded: whoever gets it to take more harms the one client of this process. Their number is
/// not, since to the kernel that is a number of the user's, of all workers together: the unit has a bound for it.
pub(crate) fn limit_memory_and_descriptors(guard: &Guard) -> Result<(), GuardError> {
    let descriptors = DESCRIPTORS + DESCRIPTORS_OF_CONNECTION * u64::from(guard.limits.connections);
    limit_memory(guard.limits.memory)
        .and_then(|()| confine::limit(Limit::Descriptors, descriptors))
        .map_err(GuardError::Confinement)
}

fn limit_memory(bytes: u64) -> Result<(), LinuxError> {
    // AddressSanitizer's own is terabytes, which count and are never touched: `scripts/asan` builds with this.
    if cfg!(sanitized) { Ok(()) } else { confine::limit(Limit::Data, bytes) }
}

/// Where memory runs out, this process is to end before the monitor and other clients' processes that use less.
pub(crate) fn end_before_others() {
    // It is a wish: without it everything is as before.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!(%error, "the kernel was not told what to end first");
    }
}

/// Leaves the network, unless the real module needs it.
pub(crate) fn leave_network(guard: &Guard) -> Result<(), GuardError> {
    if has_network(guard) {
        return Ok(());
    }
    confine::without_network().map_err(GuardError::Confinement)
}

fn has_network(guard: &Guard) -> bool {
    guard.needs.contains(&Need::Network)
}

fn parent() -> Result<u32, GuardError> {
    let parent =
        rustix::process::getppid().and_then(|parent| u32::try_from(parent.as_raw_nonzero().get()).ok());
    parent.ok_or(GuardError::OtherSideGone)
}
