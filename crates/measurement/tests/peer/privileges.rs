//! What it takes to measure: three capabilities, and nothing else of root's. And programs that know nothing of a nonce.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use attestation::component::Component;
use attestation::digest::Digest;
use linux_ffi::NONCE;
use linux_ffi::peer::open_pidfd;
use linux_ffi::socket::{Descriptors, receive, send};
use measurement::peer::{Confirmed, Parts, Pinned};
use measurement::{DigestCache, Hashing, Request};

use crate::stage::{NOBODY, Stage, copy_program, measure};

const DESCRIPTOR: &str = "MEASURER_SOCKET";
/// A user who is neither root nor the measured one.
const MEASURER: u32 = NOBODY - 1;

/// The measurer: gets what a process is held by, and answers with its component.
pub fn play() {
    let socket: UnixStream = UnixStream::connect(std::env::var_os(DESCRIPTOR).unwrap()).unwrap();
    assert_eq!(rustix::process::geteuid().as_raw(), MEASURER);
    assert!(File::open("/etc/shadow").is_ok(), "CAP_DAC_READ_SEARCH");
    let mut message = [0; 4 + 8 + NONCE];
    let mut received = receive(socket.as_fd(), &mut message, Descriptors::Allowed).unwrap();
    let memory = received.descriptors.pop().unwrap();
    let pidfd = received.descriptors.pop().unwrap();
    let (pid, rest) = message.split_first_chunk::<4>().unwrap();
    let (address, nonce) = rest.split_first_chunk::<8>().unwrap();
    let pinned = Pinned::from_parts(Parts { pid: u32::from_ne_bytes(*pid), pidfd, memory }).unwrap();
    let confirmed = pinned.confirm(u64::from_ne_bytes(*address), nonce.try_into().unwrap()).unwrap();
    let cache = DigestCache::new();
    let request = Request { name: "client", configuration: &[] };
    let measurement = confirmed.measure(&request, &Hashing::cached(&cache)).unwrap();
    assert_eq!(confirmed.look(&measurement.watched).unwrap(), measurement.state);
    serde_json::to_writer(&socket, &measurement.component).unwrap();
}

#[test]
fn three_capabilities_are_enough() {
    let stage = Stage::new();
    let mut client = stage.start_as(NOBODY);
    // Not readable for others, as programs with secrets in their binary are.
    fs::set_permissions(&stage.program, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let expected = measure(&client.confirm(), &[]).unwrap().component;

    let socket = stage.path("measurer");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let program = stage.path("measurer-program");
    copy_program(&stage.program, &program);
    let capabilities = "-all,+sys_ptrace,+checkpoint_restore,+dac_read_search";
    let ids = MEASURER.to_string();
    let mut measurer = Command::new("setpriv")
        .args(["--reuid", &ids, "--regid", &ids, "--clear-groups"])
        .args(["--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities])
        .arg(&program)
        .args(["--exact", "the_measurer", "--ignored", "--quiet"])
        .env(DESCRIPTOR, &socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (connection, _) = listener.accept().unwrap();
    let pinned = client.connected(measurement::peer::Connected::of).unwrap().pin().unwrap();
    let (address, nonce) = client.challenge();
    let message = [&pinned.pid().to_ne_bytes()[..], &address.to_ne_bytes(), &nonce].concat();
    send(connection.as_fd(), &message, &[pinned.pidfd(), pinned.memory()]).unwrap();
    let measured: Result<Component, _> = serde_json::from_reader(&connection);
    assert!(measurer.wait().unwrap().success());
    assert_eq!(measured.unwrap(), expected);
}

#[test]
fn the_nonce_is_read_without_any_right() {
    let stage = Stage::new();
    let mut client = stage.start();
    let confirmed = client.confirm();
    // SAFETY: the child makes system calls alone, and ends without returning to the harness.
    let worker = unsafe { libc::fork() };
    assert!(worker >= 0);
    if worker == 0 {
        let became = linux_ffi::confine::become_user(MEASURER, MEASURER, &[]).is_ok();
        let holds = confirmed.holds().is_ok();
        let opens = confirmed.look(&[]).is_ok();
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!(became && holds && !opens))) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is valid for the write of an int.
    assert_eq!(unsafe { libc::waitpid(worker, &raw mut status, 0) }, worker);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
}

/// Holds a process that knows nothing of a nonce: what its program begins with is taken for one.
fn held(child: &Child) -> Confirmed {
    let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let start = maps.split('-').next().unwrap();
    let address = u64::from_str_radix(start, 16).unwrap();
    let mut nonce = [0; NONCE];
    memory.read_exact_at(&mut nonce, address).unwrap();
    let pidfd: OwnedFd = open_pidfd(child.id()).unwrap();
    let pinned = Pinned::from_parts(Parts { pid: child.id(), pidfd, memory: memory.into() }).unwrap();
    pinned.confirm(address, nonce).unwrap()
}

#[test]
fn an_interpreters_script_is_measured_and_watched() {
    let stage = Stage::new();
    let script = stage.file("sign.sh", b"read line\n");
    let mut child =
        Command::new("/usr/bin/dash").arg(&script).stdin(Stdio::piped()).env_clear().spawn().unwrap();
    // Until it waits in the script's first line it may still be loading libraries.
    while !fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap().contains("pipe") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let confirmed = held(&child);
    let measurement = measure(&confirmed, &[]).unwrap();
    assert_eq!(measurement.component.executable.path, "/usr/bin/dash");
    assert_eq!(measurement.component.scripts[0].path, script.to_str().unwrap());
    assert_eq!(measurement.component.scripts[0].sha256, Digest::of(b"read line\n"));
    assert_eq!(measurement.watched, std::slice::from_ref(&script));
    assert_eq!(confirmed.look(&measurement.watched).unwrap(), measurement.state);
    fs::rename(stage.file("new", b"read line\n"), &script).unwrap();
    assert_ne!(confirmed.look(&measurement.watched).unwrap(), measurement.state);
    child.kill().unwrap();
    child.wait().unwrap();
}
