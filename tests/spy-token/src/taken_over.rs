//! What somebody does who has taken over a process by the module that it has loaded.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process;

use cryptoki_sys::{CK_RV, CKR_VENDOR_DEFINED};
use libc::{c_int, c_long};

/// Does what the environment says of calls of `function`, and gives the answer to the call.
pub fn answer(function: &str) -> Option<CK_RV> {
    let is_named = |variable: &str| env::var(variable).is_ok_and(|named| named == function);
    if is_named("SPY_ENDS") {
        return Some(CKR_VENDOR_DEFINED + others().into_iter().map(end).sum::<CK_RV>() + end_all());
    }
    if is_named("SPY_COUNTS") {
        return Some(CKR_VENDOR_DEFINED + counted("G-1") + 2 * counted("G-2"));
    }
    None
}

/// Has the guard count an operation under this grant, as the worker does before one; how many it has.
fn counted(grant: &str) -> CK_RV {
    let question = format!(r#"{{"Take":["{grant}"]}}"#);
    let Some(mut monitor) = questions() else { return 0 };
    let mut length = [0; 4];
    let asked = monitor
        .write_all(&(question.len() as u32).to_le_bytes())
        .and_then(|()| monitor.write_all(question.as_bytes()))
        .and_then(|()| monitor.read_exact(&mut length));
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    let answered = asked.and_then(|()| monitor.read_exact(&mut answer));
    CK_RV::from(answered.is_ok() && answer == format!("\"{grant}\"").as_bytes())
}

/// The channel for questions: of the sockets that a worker was given after the one that it is told by, the first.
fn questions() -> Option<UnixStream> {
    let link = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let told_by = link(0);
    let is_it = |fd: &RawFd| {
        let link = link(*fd);
        link != told_by && link.is_some_and(|link| link.to_string_lossy().starts_with("socket:"))
    };
    let all = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    let first = numbers.filter(|fd| *fd > 2).filter(is_it).min()?;
    // SAFETY: it is open for as long as the worker is.
    let borrowed = unsafe { BorrowedFd::borrow_raw(first) };
    borrowed.try_clone_to_owned().ok().map(UnixStream::from)
}

/// The other processes of this one's user and parent. All of that user are as good a target; those of other tests are spared.
fn others() -> Vec<c_int> {
    let of = |pid: c_int| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line =
            |key: &str| status.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        Some((line("Uid:")?, line("PPid:")?))
    };
    let itself = process::id() as c_int;
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| *pid != itself && of(*pid).is_some() && of(*pid) == of(itself)).collect()
}

fn refused(number: c_long, arguments: [c_long; 4]) -> bool {
    let [a, b, c, d] = arguments;
    // SAFETY: takes numbers and places that live for the time of the call.
    let answer = unsafe { libc::syscall(number, a, b, c, d) };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// By how many ways it could be tried.
fn end(pid: c_int) -> CK_RV {
    let (pid, kill) = (c_long::from(pid), c_long::from(libc::SIGKILL));
    let mut said = [0_i32; 32];
    said[2] = -1;
    let limit = [0_u64; 2];
    let (said, limit) = (said.as_ptr() as c_long, limit.as_ptr() as c_long);
    // SAFETY: takes numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let ways = [
        refused(libc::SYS_pidfd_send_signal, [descriptor, kill, 0, 0]),
        refused(libc::SYS_tkill, [pid, kill, 0, 0]),
        refused(libc::SYS_tgkill, [pid, pid, kill, 0]),
        refused(libc::SYS_rt_sigqueueinfo, [pid, kill, said, 0]),
        refused(libc::SYS_rt_tgsigqueueinfo, [pid, pid, kill, said]),
        refused(libc::SYS_prlimit64, [pid, libc::RLIMIT_CPU as c_long, limit, 0]),
        end_by_descriptor(pid, kill),
        refused(libc::SYS_kill, [pid, kill, 0, 0]),
    ];
    ways.into_iter().filter(|refused| !refused).count() as CK_RV
}

/// Has the kernel send the signal for what happens on a socket.
fn end_by_descriptor(pid: c_long, kill: c_long) -> bool {
    let Ok((watched, other)) = UnixStream::pair() else { return false };
    let watched = c_long::from(watched.as_raw_fd());
    let owned = refused(libc::SYS_fcntl, [watched, c_long::from(libc::F_SETOWN), pid, 0]);
    // F_SETSIG
    refused(libc::SYS_fcntl, [watched, 10, kill, 0]);
    refused(libc::SYS_fcntl, [watched, c_long::from(libc::F_SETFL), c_long::from(libc::O_ASYNC), 0]);
    let _ = (&other).write_all(b"x");
    owned
}

/// Its group, and all that there are: by no signal, which goes where any other would.
fn end_all() -> CK_RV {
    [0, -1].into_iter().filter(|all| !refused(libc::SYS_kill, [*all, 0, 0, 0])).count() as CK_RV
}
