//! Messages between real processes: descriptors arrive whole or not at all, and the sender is who has sent.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::io::{FdFlags, fcntl_getfd};

use super::*;

fn received(socket: &OwnedFd, descriptors: Descriptors) -> Result<(Vec<u8>, Received), LinuxError> {
    let mut buffer = [0; 64];
    let received = receive(socket.as_fd(), &mut buffer, descriptors)?;
    Ok((buffer[..received.bytes].to_vec(), received))
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn wait_for(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is valid for the write of an int.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
}

/// Sends from a forked child, and answers its number.
fn send_from_a_child(socket: &OwnedFd, bytes: &[u8]) -> u32 {
    // SAFETY: the child makes one system call and ends, without running anything of the harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let sent = send(socket.as_fd(), bytes, &[]).is_ok_and(|sent| sent == bytes.len());
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!sent)) };
    }
    wait_for(child);
    u32::try_from(child).unwrap()
}

#[test]
fn descriptors_arrive_open_and_close_on_exec() {
    let (here, there) = pair().unwrap();
    assert!(fcntl_getfd(&here).unwrap().contains(FdFlags::CLOEXEC));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"content").unwrap();
    let null = File::open("/dev/null").unwrap();
    assert_eq!(send(here.as_fd(), b"two", &[file.as_fd(), null.as_fd()]).unwrap(), 3);
    let (bytes, mut message) = received(&there, Descriptors::Allowed).unwrap();
    assert_eq!((bytes.as_slice(), message.descriptors.len()), (&b"two"[..], 2));
    assert_eq!(message.sender, None, "nobody has asked for it");
    for descriptor in &message.descriptors {
        assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
    }
    let mut same = File::from(message.descriptors.remove(0));
    same.rewind().unwrap();
    let mut content = String::new();
    same.read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
}

#[test]
fn as_many_descriptors_as_are_allowed_arrive_together_with_the_sender() {
    let (here, there) = pair().unwrap();
    ask_for_sender(there.as_fd()).unwrap();
    let null = File::open("/dev/null").unwrap();
    send(here.as_fd(), b"x", &[null.as_fd(); MAX_DESCRIPTORS]).unwrap();
    let (_, message) = received(&there, Descriptors::Allowed).unwrap();
    assert_eq!(message.descriptors.len(), MAX_DESCRIPTORS);
    assert_eq!(message.sender.unwrap().pid, std::process::id());
    let too_many = send(here.as_fd(), b"x", &[null.as_fd(); MAX_DESCRIPTORS + 1]);
    assert!(matches!(too_many, Err(LinuxError::Range { .. })));
    assert!(matches!(send(here.as_fd(), b"", &[null.as_fd()]), Err(LinuxError::Range { .. })));
}

/// More than this library would send.
fn send_many(socket: &OwnedFd, count: usize) {
    let null = File::open("/dev/null").unwrap();
    let descriptors = vec![null.as_fd(); count];
    let mut space = vec![MaybeUninit::uninit(); 4096];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(socket, &[IoSlice::new(b"many")], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn descriptors_that_are_too_many_or_not_wanted_are_an_error_and_none_stays_open() {
    // The other tests of this file open descriptors at the same time; a child of its own does not.
    // SAFETY: the child has one thread, and ends without returning to the harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let held = std::panic::catch_unwind(|| {
            for asks in [false, true] {
                for (count, descriptors) in [
                    (MAX_DESCRIPTORS + 1, Descriptors::Allowed),
                    (200, Descriptors::Allowed),
                    (1, Descriptors::Refused),
                    (200, Descriptors::Refused),
                ] {
                    let (here, there) = pair().unwrap();
                    if asks {
                        ask_for_sender(there.as_fd()).unwrap();
                    }
                    let before = open_descriptors();
                    send_many(&here, count);
                    let refused = received(&there, descriptors);
                    assert!(matches!(refused, Err(LinuxError::Truncated)), "{count} {descriptors:?}");
                    drop(refused);
                    assert_eq!(open_descriptors(), before, "{count} {descriptors:?}");
                }
            }
        })
        .is_ok();
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!held)) };
    }
    wait_for(child);
}

#[test]
fn the_sender_is_the_process_that_has_sent_whoever_made_the_socket() {
    let (here, there) = pair().unwrap();
    ask_for_sender(there.as_fd()).unwrap();
    let child = send_from_a_child(&here, b"child");
    send(here.as_fd(), b"parent", &[]).unwrap();
    // One answer never has the bytes of two senders.
    let (bytes, message) = received(&there, Descriptors::Refused).unwrap();
    assert_eq!((bytes.as_slice(), message.sender.unwrap().pid), (&b"child"[..], child));
    let (bytes, message) = received(&there, Descriptors::Refused).unwrap();
    assert_eq!((bytes.as_slice(), message.sender.unwrap().pid), (&b"parent"[..], std::process::id()));
    assert_ne!(child, std::process::id());
}

#[test]
fn the_end_is_no_bytes_and_a_closed_end_is_an_error() {
    let (here, there) = pair().unwrap();
    drop(here);
    let (bytes, message) = received(&there, Descriptors::Refused).unwrap();
    assert!(bytes.is_empty() && message.descriptors.is_empty());
    let error = send(there.as_fd(), b"x", &[]).unwrap_err();
    match error {
        LinuxError::Call { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::BrokenPipe),
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_other_end_has_not_read_is_told() {
    let (ours, theirs) = pair().unwrap();
    let read = || receive(theirs.as_fd(), &mut [0], Descriptors::Refused).unwrap();
    assert!(!has_unread(ours.as_fd()).unwrap());
    send(ours.as_fd(), b"ab", &[]).unwrap();
    assert!(has_unread(ours.as_fd()).unwrap() && !has_unread(theirs.as_fd()).unwrap());
    read();
    assert!(has_unread(ours.as_fd()).unwrap(), "one of two was read");
    read();
    assert!(!has_unread(ours.as_fd()).unwrap());
}
