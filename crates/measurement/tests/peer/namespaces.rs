//! Processes with users, mounts, numbers or a root of their own.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use attestation::digest::Digest;
use measurement::MeasurementError;
use measurement::peer::Connected;

use crate::stage::{Stage, WAYS, assert_untrusted, component, mapped, measure};

#[test]
fn a_user_namespace_of_its_own_is_refused() {
    let stage = Stage::new();
    for options in [&["--user"][..], &["--user", "--map-root-user"]] {
        let client = stage.run(stage.after(options, ""));
        for way in WAYS {
            let refused = client.connected(way).unwrap().pin().map(|_| ());
            assert!(matches!(refused, Err(MeasurementError::ForeignUserNamespace)), "{refused:?}");
        }
    }
}

#[test]
fn a_user_namespace_that_is_entered_later_is_refused() {
    let stage = Stage::new();
    let mut first = stage.start();
    first.socket.write_all(b"fork-and-connect\n").unwrap();
    let waiting = std::process::Command::new("true").spawn().unwrap();
    let mut client = stage.accept(waiting);
    let confirmed = client.confirm();
    measure(&confirmed, &[]).unwrap();
    client.tell("own-user-namespace");
    for result in [measure(&confirmed, &[]).map(|_| ()), confirmed.look(&[]).map(|_| ())] {
        assert!(matches!(result, Err(MeasurementError::ForeignUserNamespace)), "{result:?}");
    }
}

#[test]
fn what_is_mapped_in_a_mount_namespace_is_measured_and_not_what_has_its_path_here() {
    let stage = Stage::new();
    let (path, other) = (stage.file("library", b"ours"), stage.file("other", b"theirs"));
    let script = format!("mount --bind {} {}", other.display(), path.display());
    let mut client = stage.run(stage.after(&["--mount"], &script));
    client.tell(&format!("map {}", path.display()));
    let confirmed = client.confirm();
    let component = measure(&confirmed, std::slice::from_ref(&path)).unwrap().component;
    assert_eq!(fs::read(&path).unwrap(), b"ours");
    assert_eq!(mapped(&component, &path).unwrap().sha256, Digest::of(b"theirs"));
    assert_eq!(component.configuration[0].sha256, Digest::of(b"theirs"));
    assert_eq!(component.configuration[0].path, path.to_str().unwrap());
}

#[test]
fn a_mapped_file_that_is_covered_later_is_refused() {
    let stage = Stage::new();
    let (path, other) = (stage.file("library", b"ours"), stage.file("other", b"theirs"));
    let mut client = stage.run(stage.after(&["--mount"], ""));
    client.tell(&format!("map {}", path.display()));
    let confirmed = client.confirm();
    let before = measure(&confirmed, &[]).unwrap();
    assert_eq!(mapped(&before.component, &path).unwrap().sha256, Digest::of(b"ours"));
    let status = std::process::Command::new("nsenter")
        .args(["--mount", "--target", &client.child.id().to_string(), "mount", "--bind"])
        .args([&other, &path])
        .status()
        .unwrap();
    assert!(status.success());
    assert_untrusted(measure(&confirmed, &[]), &path);
}

#[test]
fn a_process_with_numbers_of_its_own_is_known_by_ours() {
    let stage = Stage::new();
    // The one that has connected is the child of the one that was started.
    let mut client = stage.run(stage.after(&["--pid", "--fork", "--kill-child"], ""));
    let connected = client.connected(Connected::of).unwrap();
    assert_ne!(connected.credentials().pid, client.child.id());
    let component = component(&client.confirm());
    assert!(!component.principal.initial_pid_namespace);
    assert!(component.principal.initial_user_namespace);
    assert_eq!(component.executable.path, stage.program.to_str().unwrap());
}

#[test]
fn declared_files_are_those_below_the_processs_own_root() {
    let stage = Stage::new();
    let jail = stage.path("jail");
    for directory in ["jail", "jail/etc", "jail/real"] {
        fs::create_dir(stage.path(directory)).unwrap();
    }
    stage.file("jail/real/app.conf", b"jailed");
    // Absolute links and dots lead to where they lead for the process.
    std::os::unix::fs::symlink("/../real/app.conf", jail.join("etc/app.conf")).unwrap();
    let mut client = stage.start();
    client.tell(&format!("chroot {}", jail.display()));
    let confirmed = client.confirm();
    let declared = [PathBuf::from("/etc/app.conf")];
    let component = measure(&confirmed, &declared).unwrap().component;
    assert_eq!(component.configuration[0].sha256, Digest::of(b"jailed"));
    assert_eq!(component.configuration[0].path, jail.join("real/app.conf").to_str().unwrap());
    assert_eq!(component.executable.path, stage.program.to_str().unwrap());
    assert!(confirmed.look(&declared).is_ok());
    assert!(measure(&confirmed, &[PathBuf::from("/etc/passwd")]).is_err());
}
