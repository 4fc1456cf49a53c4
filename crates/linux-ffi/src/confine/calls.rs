//! What a process may no longer ask of the kernel (seccomp(2)): to end, stop or look into others of its user, and what is
//! only good for getting further. Such a call fails with `EPERM`, which a program can live with.

mod filter;
mod scope;
#[cfg(test)]
mod tests;

use std::process;

use super::alone;
use crate::error::LinuxError;
use filter::{Filter, Rule};

/// The argument by which most calls name a process.
const FIRST: u32 = 0;
/// The command of `fcntl` and `ioctl`.
const SECOND: u32 = 1;

/// Whoever is signalled when something happens on a descriptor (`SIGIO`, or any other, `SIGKILL` too).
const OWNER_BY_FCNTL: &[u32] = &[libc::F_SETOWN as u32, 15];
/// The same: `FIOSETOWN` and `SIOCSPGRP`.
const OWNER_BY_IOCTL: &[u32] = &[0x8901, 0x8902];

const NEVER: &[libc::c_long] = &[
    // Signals to a thread that may be anybody's, and to whom a descriptor names.
    libc::SYS_tkill,
    libc::SYS_pidfd_send_signal,
    // The memory, the descriptors and the state of others.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The processor time of others of this user, all at once.
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    // What the kernel was attacked by.
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    // Keys that the kernel keeps for all processes of a user.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Other files under the names that programs know.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
];

/// Those that name a process by its number, which must be the caller's own.
const OWN: &[libc::c_long] =
    &[libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo];

/// Those to which 0 is the caller, too. Limits: one of processor time kills who is beyond it.
const OWN_OR_ZERO: &[libc::c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// From now on this process, and what it starts, can end, stop and slow down no other process, whoever's it is, and has no
/// calls by which to look into one. It signals itself as before. What it starts may signal it, and nobody else: not itself
/// either, since there is one number that the filter lets pass. Who aborts there ends by a fault instead.
///
/// Whatever it leaves behind when it has ended could signal whoever is given its number next. Where the kernel can (Landlock,
/// since 6.12), it keeps that from it, too.
///
/// # Errors
/// [`LinuxError::Threads`]; [`LinuxError::Call`], also where no program may be given fewer rights, see
/// [`without_new_privileges`](super::without_new_privileges).
pub fn keep_to_itself() -> Result<(), LinuxError> {
    alone("seccomp")?;
    scope::signals()?;
    filter(process::id()).install()
}

/// For the process of that number.
fn filter(itself: u32) -> Filter {
    let mut filter = Filter::new();
    for call in NEVER {
        filter.add(*call, &Rule::Never);
    }
    for call in OWN {
        filter.add(*call, &Rule::Only { argument: FIRST, values: &[itself] });
    }
    for call in OWN_OR_ZERO {
        filter.add(*call, &Rule::Only { argument: FIRST, values: &[0, itself] });
    }
    filter.add(libc::SYS_fcntl, &Rule::Not { argument: SECOND, values: OWNER_BY_FCNTL });
    filter.add(libc::SYS_ioctl, &Rule::Not { argument: SECOND, values: OWNER_BY_IOCTL });
    filter
}
