//! Root's rights one by one (capabilities(7)): which of them a process keeps, and which it can never get again.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::alone;
use crate::error::LinuxError;

/// One of them that a process of ours has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// The files that a process has mapped, by `/proc/PID/map_files`.
    CheckpointRestore,
    /// Reading and searching whatever the permissions of files say.
    DacReadSearch,
    /// Signals to processes of other users.
    Kill,
    /// Becoming another group.
    SetGid,
    /// Taking capabilities out of the bounding set.
    SetPcap,
    /// Becoming another user.
    SetUid,
    /// Namespaces of one's own, and much more.
    SysAdmin,
    /// The memory and the state of other users' processes.
    SysPtrace,
}

impl Capability {
    const fn bit(self) -> CapabilitySet {
        match self {
            Self::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
            Self::Kill => CapabilitySet::KILL,
            Self::SetGid => CapabilitySet::SETGID,
            Self::SetPcap => CapabilitySet::SETPCAP,
            Self::SetUid => CapabilitySet::SETUID,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
            Self::SysPtrace => CapabilitySet::SYS_PTRACE,
        }
    }
}

fn bits(kept: &[Capability]) -> CapabilitySet {
    kept.iter().map(|kept| kept.bit()).collect()
}

/// No program that this process executes gets others than these, whoever's it is: the rest leave the bounding set and the
/// ambient set. What the process itself may do stays as it was; `CAP_SETPCAP` is needed where there is something to take.
///
/// # Errors
/// [`LinuxError::Threads`], [`LinuxError::Call`].
pub fn bound_capabilities(kept: &[Capability]) -> Result<(), LinuxError> {
    const CALL: &str = "PR_CAPBSET_DROP";
    alone(CALL)?;
    let kept = bits(kept);
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => {
                remove_capability_from_bounding_set(one).map_err(LinuxError::of(CALL))?;
            }
            Ok(_) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(LinuxError::of(CALL)(errno)),
        }
    }
    clear_ambient_capability_set().map_err(LinuxError::of("PR_CAP_AMBIENT_CLEAR_ALL"))
}

/// This process has no others than these from now on, as far as it has them, and hands none on to what it executes.
///
/// # Errors
/// [`LinuxError::Threads`], [`LinuxError::Call`].
pub fn keep_capabilities(kept: &[Capability]) -> Result<(), LinuxError> {
    const CALL: &str = "capset";
    alone(CALL)?;
    let has = capabilities(None).map_err(LinuxError::of("capget"))?.permitted;
    let kept = has.intersection(bits(kept));
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(LinuxError::of(CALL))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOBODY, holds_in_a_child, status};
    use super::super::{become_user, without_new_privileges};
    use super::*;

    const NONE: &str = "0000000000000000";

    /// Bounding, permitted and effective set as the kernel shows them.
    fn sets() -> [String; 3] {
        ["CapBnd", "CapPrm", "CapEff"].map(status)
    }

    #[test]
    fn what_is_kept_is_kept_and_nothing_else() {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        assert!(holds_in_a_child(|| {
            let kept = [Capability::SysPtrace, Capability::DacReadSearch];
            bound_capabilities(&kept).unwrap();
            keep_capabilities(&kept).unwrap();
            // Bits 19 and 2.
            assert_eq!(sets(), ["0000000000080004"; 3]);
            assert_eq!([status("CapInh"), status("CapAmb")], [NONE; 2]);
            // There is no way back, not for root either.
            keep_capabilities(&[Capability::SysPtrace, Capability::SysAdmin]).unwrap();
            assert_eq!(status("CapEff"), "0000000000080000");
            assert!(become_user(NOBODY, NOBODY, &[]).is_err());
        }));
    }

    #[test]
    fn a_program_that_is_executed_gets_no_more_than_the_bound() {
        assert!(holds_in_a_child(|| {
            bound_capabilities(&[Capability::Kill]).unwrap();
            let grep =
                std::process::Command::new("grep").args(["CapEff", "/proc/self/status"]).output().unwrap();
            assert_eq!(String::from_utf8(grep.stdout).unwrap(), "CapEff:\t0000000000000020\n");
        }));
    }

    #[test]
    fn another_user_has_none_and_no_program_gives_any() {
        assert!(holds_in_a_child(|| {
            bound_capabilities(&[]).unwrap();
            become_user(NOBODY, NOBODY, &[]).unwrap();
            keep_capabilities(&[]).unwrap();
            assert_eq!(sets(), [NONE; 3]);
        }));
    }

    #[test]
    fn who_may_not_take_from_the_bound_is_told_so_unless_there_is_nothing_to_take() {
        assert!(holds_in_a_child(|| {
            bound_capabilities(&[Capability::Kill]).unwrap();
            keep_capabilities(&[]).unwrap();
            bound_capabilities(&[Capability::Kill]).unwrap();
            assert!(matches!(bound_capabilities(&[]), Err(LinuxError::Call { call: "PR_CAPBSET_DROP", .. })));
            without_new_privileges().unwrap();
        }));
    }
}
