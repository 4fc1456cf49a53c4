//! What a process gives up for good before it touches anything that is not its own making.
//!
//! For the first lines of a program, while it has one thread: several of these belong to a thread and go to those that it
//! starts later, and each of them refuses to be called too late.

mod calls;
mod capabilities;

use std::io;

pub use calls::keep_to_itself;
pub use capabilities::{Capability, bound_capabilities, keep_capabilities};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;

use crate::error::LinuxError;

/// No program that this process or its children execute gets more rights than they have (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// [`LinuxError::Threads`], [`LinuxError::Call`].
pub fn without_new_privileges() -> Result<(), LinuxError> {
    const CALL: &str = "PR_SET_NO_NEW_PRIVS";
    alone(CALL)?;
    set_no_new_privs(true).map_err(LinuxError::of(CALL))
}

/// Other processes of the same user can neither read nor change this one's memory, and it leaves no core file
/// (`PR_SET_DUMPABLE`). Becoming another user or executing a program may undo it: call it after those.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn not_dumpable() -> Result<(), LinuxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(LinuxError::of("PR_SET_DUMPABLE"))
}

/// A network of its own without anything in it, not even a loopback that is up (`CLONE_NEWNET`; takes `CAP_SYS_ADMIN`).
/// Sockets that are open stay so, and local sockets with a path can still be connected to.
///
/// # Errors
/// [`LinuxError::Threads`], [`LinuxError::Call`].
pub fn without_network() -> Result<(), LinuxError> {
    const CALL: &str = "unshare";
    alone(CALL)?;
    // SAFETY: a network namespace has nothing to do with memory or descriptors, which stay as they are.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(LinuxError::last(CALL)),
    }
}

/// Becomes another user for good, in all of its threads: real, effective and saved ids and the supplementary groups.
/// Root's capabilities go with it.
///
/// # Errors
/// [`LinuxError::Call`]; [`LinuxError::Range`] where there would be a way back. After an error the process may be
/// half-way, and must end.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), LinuxError> {
    // SAFETY: the list is as long as is said, and only read.
    if unsafe { libc::setgroups(groups.len(), groups.as_ptr()) } != 0 {
        return Err(LinuxError::last("setgroups"));
    }
    // SAFETY: takes numbers.
    if unsafe { libc::setresgid(gid, gid, gid) } != 0 {
        return Err(LinuxError::last("setresgid"));
    }
    // SAFETY: takes numbers. The C library does it for all threads.
    if unsafe { libc::setresuid(uid, uid, uid) } != 0 {
        return Err(LinuxError::last("setresuid"));
    }
    // A capability that was kept would lead back.
    // SAFETY: takes numbers.
    if uid != 0 && unsafe { libc::setresuid(u32::MAX, 0, u32::MAX) } == 0 {
        return Err(LinuxError::Range { call: "setresuid" });
    }
    Ok(())
}

/// A bound that cannot be raised again without `CAP_SYS_RESOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of address space, whatever is or is not in it.
    Memory,
    /// Bytes of memory that is this process's own to write: heap, other private mappings, stacks of threads.
    Data,
    /// Bytes of a core file.
    Core,
    /// Numbers of open descriptors.
    Descriptors,
    /// Bytes of a file that is written.
    FileSize,
    /// Seconds of processor time.
    Seconds,
    /// Processes and threads of the user.
    Processes,
}

/// Lowers a bound to `value`, and the bound of the bound with it. One that is lower stays as it is.
///
/// # Errors
/// [`LinuxError::Call`].
pub fn limit(limit: Limit, value: u64) -> Result<(), LinuxError> {
    let resource = match limit {
        Limit::Memory => Resource::As,
        Limit::Data => Resource::Data,
        Limit::Core => Resource::Core,
        Limit::Descriptors => Resource::Nofile,
        Limit::FileSize => Resource::Fsize,
        Limit::Seconds => Resource::Cpu,
        Limit::Processes => Resource::Nproc,
    };
    let Rlimit { current, maximum } = getrlimit(resource);
    // None is no bound.
    let lower = |bound: Option<u64>| Some(bound.map_or(value, |bound| bound.min(value)));
    setrlimit(resource, Rlimit { current: lower(current), maximum: lower(maximum) })
        .map_err(LinuxError::of("setrlimit"))
}

/// This process is killed when its parent `parent` ends (`PR_SET_PDEATHSIG`). The kernel means the parent's *thread* that
/// has started it: let a thread start children that lives as long as the process. Becoming another user undoes it: call
/// it after that, once more.
///
/// # Errors
/// [`LinuxError::Range`] where the parent has ended before; [`LinuxError::Call`].
pub fn end_with_parent(parent: u32) -> Result<(), LinuxError> {
    const CALL: &str = "PR_SET_PDEATHSIG";
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(LinuxError::of(CALL))?;
    match getppid().map(Pid::as_raw_nonzero) {
        Some(current) if u32::try_from(current.get()) == Ok(parent) => Ok(()),
        _ => Err(LinuxError::Range { call: CALL }),
    }
}

/// Whether the calling thread is the only one.
fn alone(call: &'static str) -> Result<(), LinuxError> {
    let failed = |source: io::Error| LinuxError::Call { call, source };
    let threads = std::fs::read_dir("/proc/self/task").map_err(failed)?;
    if threads.count() == 1 { Ok(()) } else { Err(LinuxError::Threads { call }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const NOBODY: u32 = 65534;

    /// Runs `child` in a forked process of one thread, and waits for it: whether it held what it asserts.
    pub(super) fn holds_in_a_child(child: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        // SAFETY: the child has one thread, and ends without returning to the harness.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let held = std::panic::catch_unwind(child).is_ok();
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(!held)) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    pub(super) fn status(key: &str) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_given_up_is_gone() {
        assert!(holds_in_a_child(|| {
            without_new_privileges().unwrap();
            assert_eq!(status("NoNewPrivs"), "1");
        }));
        assert!(holds_in_a_child(|| {
            not_dumpable().unwrap();
            assert!(!crate::dumpable().unwrap());
        }));
        assert!(holds_in_a_child(|| {
            limit(Limit::Descriptors, 10).unwrap();
            assert!(
                (0..20).map(|_| std::fs::File::open("/dev/null")).collect::<Result<Vec<_>, _>>().is_err()
            );
            limit(Limit::Core, 0).unwrap();
        }));
        assert!(holds_in_a_child(|| {
            limit(Limit::Data, 64 << 20).unwrap();
            limit(Limit::Data, 1 << 40).unwrap();
            let mut taken = Vec::<u8>::new();
            taken.try_reserve_exact(32 << 20).unwrap();
            assert!(Vec::<u8>::new().try_reserve_exact(64 << 20).is_err());
        }));
    }

    #[test]
    fn there_is_no_network_left() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok());
        assert!(holds_in_a_child(move || {
            without_network().unwrap();
            assert!(std::net::TcpStream::connect(address).is_err());
        }));
    }

    #[test]
    fn another_user_has_nothing_of_roots_and_no_way_back() {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        assert!(holds_in_a_child(|| {
            become_user(NOBODY, NOBODY, &[]).unwrap();
            for key in ["Uid", "Gid"] {
                assert_eq!(status(key), format!("{NOBODY} {NOBODY} {NOBODY} {NOBODY}"));
            }
            assert_eq!(status("Groups"), "");
            for key in ["CapPrm", "CapEff"] {
                assert_eq!(status(key), "0000000000000000");
            }
            assert!(std::fs::File::open("/proc/1/mem").is_err());
            assert!(become_user(0, 0, &[]).is_err());
        }));
        assert!(holds_in_a_child(|| {
            become_user(NOBODY, NOBODY, &[7, 9]).unwrap();
            assert_eq!(status("Groups"), "7 9");
        }));
    }

    #[test]
    fn a_way_back_is_refused() {
        assert!(holds_in_a_child(|| {
            // SAFETY: takes numbers. The bit is SECBIT_NO_SETUID_FIXUP: capabilities stay when the user changes.
            let status = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 1 << 2, 0, 0, 0) };
            assert_eq!(status, 0);
            assert!(matches!(become_user(NOBODY, NOBODY, &[]), Err(LinuxError::Range { .. })));
        }));
    }

    #[test]
    fn a_child_ends_with_its_parent() {
        let (here, there) = crate::socket::pair().unwrap();
        // SAFETY: the children have one thread, and end without returning to the harness.
        let parent = unsafe { libc::fork() };
        assert!(parent >= 0);
        if parent == 0 {
            drop(here);
            let this = std::process::id();
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                let code = i32::from(end_with_parent(this).is_err());
                let told = rustix::io::write(&there, b"x").is_ok();
                if code == 0 && told {
                    std::thread::sleep(std::time::Duration::from_secs(60));
                }
                // SAFETY: as above.
                unsafe { libc::_exit(code) };
            }
            drop(there);
            std::thread::sleep(std::time::Duration::from_millis(200));
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        drop(there);
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is valid for the write of an int.
        assert_eq!(unsafe { libc::waitpid(parent, &raw mut status, 0) }, parent);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&here, &mut byte).unwrap(), 1, "it had set itself up");
        rustix::net::sockopt::set_socket_timeout(
            &here,
            rustix::net::sockopt::Timeout::Recv,
            Some(std::time::Duration::from_secs(10)),
        )
        .unwrap();
        assert_eq!(rustix::io::read(&here, &mut byte).unwrap(), 0, "it is gone, and its end with it");
    }

    #[test]
    fn a_parent_that_is_not_is_an_error() {
        assert!(holds_in_a_child(|| {
            assert!(matches!(end_with_parent(std::process::id()), Err(LinuxError::Range { .. })));
        }));
    }

    #[test]
    fn a_process_with_threads_is_too_late() {
        let (started, has_started) = std::sync::mpsc::channel();
        let (stop, is_stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            started.send(()).unwrap();
            let _ = is_stopped.recv();
        });
        has_started.recv().unwrap();
        assert!(matches!(without_new_privileges(), Err(LinuxError::Threads { .. })));
        assert!(matches!(without_network(), Err(LinuxError::Threads { .. })));
        drop(stop);
        thread.join().unwrap();
    }
}
