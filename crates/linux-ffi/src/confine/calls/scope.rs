//! Signals that go no further than to a process and what it starts (Landlock), where the kernel knows that.

use crate::error::LinuxError;

/// `LANDLOCK_CREATE_RULESET_VERSION`: the version is asked for.
const VERSION: u32 = 1;
/// The first that knows `LANDLOCK_SCOPE_SIGNAL`.
const FIRST: libc::c_long = 6;
const SIGNALS: u64 = 1 << 1;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// Of this thread and all that it starts. Nothing is done where the kernel is too old, or has it switched off.
pub(super) fn signals() -> Result<(), LinuxError> {
    const CALL: &str = "landlock";
    if !is_known() {
        return Ok(());
    }
    let ruleset = Ruleset { files: 0, network: 0, scoped: SIGNALS };
    // SAFETY: the structure lives for the time of the call, which only reads it, and is as long as is said.
    let rules = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0_u32)
    };
    let rules = libc::c_int::try_from(rules).map_err(|_| LinuxError::Range { call: CALL })?;
    if rules < 0 {
        return Err(LinuxError::last(CALL));
    }
    // SAFETY: takes a descriptor and a number.
    let status = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules, 0_u32) };
    let restricted = if status == 0 { Ok(()) } else { Err(LinuxError::last(CALL)) };
    // SAFETY: it was made here, and nobody else has it.
    unsafe { libc::close(rules) };
    restricted
}

/// Whether the kernel can.
pub(super) fn is_known() -> bool {
    // SAFETY: takes no structure where the version is asked for.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, core::ptr::null::<Ruleset>(), 0_usize, VERSION)
    };
    version >= FIRST
}
