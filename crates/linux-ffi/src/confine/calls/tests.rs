//! Attacks on another process of the same user, by each way that is refused; and that what a process does to itself is not.

use std::io::{Error, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};

use libc::{c_int, c_long};

use super::super::tests::{holds_in_a_child, status};
use super::super::without_new_privileges;
use super::*;

/// A process of this user that ends when it is signalled, or dropped.
struct Victim(Child);

impl Victim {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> c_long {
        c_long::from(self.0.id())
    }

    #[track_caller]
    fn must_be_well(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it was ended");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn call<const ARGUMENTS: usize>(number: c_long, arguments: [c_long; ARGUMENTS]) -> Result<c_long, i32> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let [a, b, c, d, e, f] = core::array::from_fn(argument);
    // SAFETY: the tests give numbers, and places that live for the time of the call.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(Error::last_os_error().raw_os_error().unwrap()),
        answer => Ok(answer),
    }
}

fn keep_to_oneself() {
    without_new_privileges().unwrap();
    keep_to_itself().unwrap();
}

/// Signals by each call that there is for it, to whoever `pid` is.
fn signals(pid: c_long, signal: c_int) -> [(&'static str, Result<c_long, i32>); 5] {
    let signal = c_long::from(signal);
    // The kernel lets a process state its own code only, to others: SI_QUEUE.
    let mut said = [0_i32; 32];
    said[0] = signal as i32;
    said[2] = -1;
    let said = said.as_ptr() as c_long;
    [
        ("kill", call(libc::SYS_kill, [pid, signal])),
        ("tgkill", call(libc::SYS_tgkill, [pid, pid, signal])),
        ("rt_sigqueueinfo", call(libc::SYS_rt_sigqueueinfo, [pid, signal, said])),
        ("rt_tgsigqueueinfo", call(libc::SYS_rt_tgsigqueueinfo, [pid, pid, signal, said])),
        ("tkill", call(libc::SYS_tkill, [pid, signal])),
    ]
}

/// Has the kernel signal `pid` for something that happens on a descriptor.
fn signals_by_descriptor(pid: c_long, signal: c_int) -> Vec<(&'static str, Result<c_long, i32>)> {
    let (watched, other) = UnixStream::pair().unwrap();
    let fd = c_long::from(watched.as_raw_fd());
    let number = pid as i32;
    let owner = [1_i32, number];
    let attempts = vec![
        ("F_SETOWN", call(libc::SYS_fcntl, [fd, c_long::from(libc::F_SETOWN), pid])),
        ("F_SETOWN_EX", call(libc::SYS_fcntl, [fd, 15, owner.as_ptr() as c_long])),
        ("FIOSETOWN", call(libc::SYS_ioctl, [fd, 0x8901, &raw const number as c_long])),
        ("SIOCSPGRP", call(libc::SYS_ioctl, [fd, 0x8902, &raw const number as c_long])),
    ];
    call(libc::SYS_fcntl, [fd, 10, c_long::from(signal)]).unwrap();
    call(libc::SYS_fcntl, [fd, c_long::from(libc::F_SETFL), c_long::from(libc::O_ASYNC)]).unwrap();
    (&other).write_all(b"x").unwrap();
    attempts
}

#[test]
fn nobody_else_is_signalled_by_any_call() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        // The control: without the filter each of them arrives, as nothing.
        for (name, answer) in signals(pid, 0) {
            assert_eq!(answer, Ok(0), "{name}");
        }
        let descriptor = call(libc::SYS_pidfd_open, [pid, 0]).unwrap();
        keep_to_oneself();
        for (name, answer) in signals(pid, libc::SIGKILL) {
            assert_eq!(answer, Err(libc::EPERM), "{name}");
        }
        let by_descriptor =
            call(libc::SYS_pidfd_send_signal, [descriptor, c_long::from(libc::SIGKILL), 0, 0]);
        assert_eq!(by_descriptor, Err(libc::EPERM));
        for (name, answer) in signals_by_descriptor(pid, libc::SIGKILL) {
            assert_eq!(answer, Err(libc::EPERM), "{name}");
        }
        // Its group, any group, and everybody; with upper halves that the kernel does not look at.
        for several in [0, -1, -pid, pid | 1 << 40, c_long::from(std::process::id()) - (1 << 31)] {
            let answer = call(libc::SYS_kill, [several, c_long::from(libc::SIGKILL)]);
            assert_eq!(answer, Err(libc::EPERM), "{several}");
        }
    }));
    victim.must_be_well();
}

#[test]
fn the_kernel_signals_by_descriptor_whom_it_is_told_to_unless_it_was_confined() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        for (name, answer) in signals_by_descriptor(pid, libc::SIGKILL) {
            assert_eq!(answer, Ok(0), "{name}");
        }
    }));
    assert_eq!(victim.0.wait().unwrap().signal(), Some(libc::SIGKILL), "this is an attack");
}

#[test]
fn nobody_else_is_looked_into_limited_or_slowed_down() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        keep_to_oneself();
        let limit = [0_u64; 2];
        let cpu = c_long::from(libc::RLIMIT_CPU);
        assert_eq!(
            call(libc::SYS_prlimit64, [pid, cpu, limit.as_ptr() as c_long, 0]),
            Err(libc::EPERM),
            "who is beyond it is killed"
        );
        assert_eq!(call(libc::SYS_setpriority, [0, pid, 19]), Err(libc::EPERM));
        let processors = [1_u64; 16];
        assert_eq!(
            call(libc::SYS_sched_setaffinity, [pid, 128, processors.as_ptr() as c_long]),
            Err(libc::EPERM)
        );
        for number in NEVER {
            assert_eq!(call(*number, [pid, pid]), Err(libc::EPERM), "{number}");
        }
        for number in OWN_OR_ZERO {
            assert_eq!(call(*number, [pid, 0]), Err(libc::EPERM), "{number}");
        }
    }));
    victim.must_be_well();
}

/// The second table of x86-64, and that of its ancestor: `kill` has other numbers there.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_other_tables_are_none() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        keep_to_oneself();
        let x32 = call(0x4000_0000 + libc::SYS_kill, [pid, c_long::from(libc::SIGKILL)]);
        assert_eq!(x32, Err(libc::EPERM));
        let mut answer = 37_i64;
        // SAFETY: `kill` by the table of i386, which takes numbers; the kernel keeps the other registers.
        unsafe {
            core::arch::asm!(
                "push rbx", "mov rbx, {pid}", "int 0x80", "pop rbx",
                pid = in(reg) pid, inout("rax") answer, in("rcx") i64::from(libc::SIGKILL),
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        assert_eq!(answer as i32, -libc::EPERM);
    }));
    victim.must_be_well();
}

#[test]
fn a_process_does_to_itself_what_it_did_before() {
    assert!(holds_in_a_child(|| {
        keep_to_oneself();
        assert_eq!(status("Seccomp"), "2");
        let itself = c_long::from(std::process::id());
        for (name, answer) in signals(itself, 0) {
            assert_eq!(answer, if name == "tkill" { Err(libc::EPERM) } else { Ok(0) }, "{name}");
        }
        assert!(Command::new("true").status().unwrap().success());
        // Another thread than the one that was confined signals its sibling, by the C library.
        // SAFETY: takes no arguments.
        let first = unsafe { libc::pthread_self() } as usize;
        // SAFETY: both threads live; the signal is none.
        let thread = std::thread::spawn(move || unsafe { libc::pthread_kill(first as libc::pthread_t, 0) });
        assert_eq!(thread.join().unwrap(), 0);
        // SAFETY: takes a number.
        assert_eq!(unsafe { libc::raise(0) }, 0);
        super::super::limit(super::super::Limit::Descriptors, 10).unwrap();
    }));
}

#[test]
fn who_aborts_is_ended_by_that() {
    // SAFETY: the child has one thread, and ends without returning to the harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let _ = super::super::limit(super::super::Limit::Core, 0);
        keep_to_oneself();
        // SAFETY: takes nothing, and does not return.
        unsafe { libc::abort() };
    }
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is valid for the write of an int.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT, "{status:#x}");
}

#[test]
fn what_it_starts_signals_nobody_else_and_ends_when_it_aborts() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        keep_to_oneself();
        let kill = Command::new("sh").args(["-c", &format!("kill -9 {pid} || kill -9 $$")]).output().unwrap();
        assert_eq!(kill.status.signal(), None);
        assert!(!kill.status.success());
        // By a fault: `SIGABRT` is one of the signals that it cannot send to itself.
        let mut aborts = Command::new("true");
        // SAFETY: aborts, which waits for nobody: there was one thread.
        unsafe { aborts.pre_exec(|| libc::abort()) };
        let ended = aborts.spawn().unwrap().wait().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGSEGV));
    }));
    victim.must_be_well();
}

#[test]
fn whoever_has_the_number_of_one_that_has_ended_is_not_signalled_where_the_kernel_can() {
    let mut victim = Victim::new();
    let pid = victim.pid();
    assert!(holds_in_a_child(move || {
        without_new_privileges().unwrap();
        scope::signals().unwrap();
        // As of a process that had the victim's number before.
        filter(pid as u32).install().unwrap();
        let expected = if scope::is_known() { Err(libc::EPERM) } else { Ok(0) };
        assert_eq!(call(libc::SYS_kill, [pid, 0]), expected);
        assert_eq!(call(libc::SYS_kill, [c_long::from(std::process::id()), 0]), Err(libc::EPERM));
    }));
    victim.must_be_well();
}

#[test]
fn who_could_still_be_given_rights_or_has_threads_is_not_confined() {
    assert!(holds_in_a_child(|| {
        // SAFETY: takes numbers.
        assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
        assert!(matches!(keep_to_itself(), Err(LinuxError::Call { .. })));
    }));
    let (stop, is_stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || is_stopped.recv());
    assert!(matches!(keep_to_itself(), Err(LinuxError::Threads { .. })));
    drop(stop);
    let _ = thread.join().unwrap();
}
