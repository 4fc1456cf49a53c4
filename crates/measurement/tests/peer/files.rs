//! Which files count: the mapped ones themselves, and only those that the process's user cannot change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use attestation::digest::Digest;

use crate::stage::{Client, NOBODY, Stage, assert_untrusted, component, mapped, measure};

/// A client of another user's that has mapped `path` as text.
fn with_mapped(stage: &Stage, uid: u32, path: &Path) -> Client {
    let mut client = stage.start_as(uid);
    client.tell(&format!("map {}", path.display()));
    client
}

#[test]
fn a_mapped_file_of_roots_counts() {
    let stage = Stage::new();
    let library = stage.file("library", b"code");
    for uid in [0, NOBODY] {
        let component = component(&with_mapped(&stage, uid, &library).confirm());
        assert_eq!(mapped(&component, &library).unwrap().sha256, Digest::of(b"code"));
    }
}

#[test]
fn a_file_that_the_processs_user_can_change_does_not_count() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("world-writable", |path| fs::set_permissions(path, Permissions::from_mode(0o646)).unwrap()),
        ("group-writable", |path| fs::set_permissions(path, Permissions::from_mode(0o664)).unwrap()),
        ("the user's own, though read-only", |path| {
            chown(path, Some(NOBODY), None).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
        }),
    ];
    for (name, change) in changes {
        let stage = Stage::new();
        let library = stage.file("library", b"code");
        let mut client = with_mapped(&stage, NOBODY, &library);
        let confirmed = client.confirm();
        assert!(measure(&confirmed, &[]).is_ok(), "{name}");
        change(&library);
        assert_untrusted(measure(&confirmed, &[]), &library);
    }
}

#[test]
fn a_file_of_a_third_user_counts_for_a_user_but_not_for_root() {
    let stage = Stage::new();
    let library = stage.file("library", b"code");
    chown(&library, Some(NOBODY - 1), None).unwrap();
    assert!(measure(&with_mapped(&stage, NOBODY, &library).confirm(), &[]).is_ok());
    assert_untrusted(measure(&with_mapped(&stage, 0, &library).confirm(), &[]), &library);
}

#[test]
fn an_access_control_list_shows_in_the_mode() {
    let stage = Stage::new();
    let library = stage.file("library", b"code");
    let mut client = with_mapped(&stage, NOBODY, &library);
    // Version 2, and five entries of tag, permissions and id: user, user NOBODY, group, mask, others.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 6, NOBODY), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 4, u32::MAX)]
    {
        list.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    rustix::fs::setxattr(&library, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty())
        .unwrap();
    assert_untrusted(measure(&client.confirm(), &[]), &library);
}

#[test]
fn a_file_in_a_directory_that_the_user_can_change_does_not_count() {
    let stage = Stage::new();
    for (owner, mode, counts) in
        [(0, 0o755, true), (0, 0o1777, true), (0, 0o777, false), (0, 0o775, false), (NOBODY, 0o755, false)]
    {
        let directory = stage.path(&format!("{owner}-{mode:o}"));
        fs::create_dir(&directory).unwrap();
        let library = directory.join("library");
        fs::write(&library, "code").unwrap();
        fs::set_permissions(&library, Permissions::from_mode(0o644)).unwrap();
        let mut client = with_mapped(&stage, NOBODY, &library);
        chown(&directory, Some(owner), None).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        let result = measure(&client.confirm(), &[]);
        match counts {
            true => assert!(mapped(&result.unwrap().component, &library).is_some()),
            false => assert_untrusted(result, &library),
        }
    }
}

#[test]
fn a_program_that_its_user_can_change_is_refused() {
    let stage = Stage::new();
    chown(&stage.program, Some(NOBODY), None).unwrap();
    assert_untrusted(measure(&stage.start_as(NOBODY).confirm(), &[]), &stage.program);
}

#[test]
fn a_declared_file_is_judged_as_any_other() {
    let stage = Stage::new();
    let mut client = stage.start_as(NOBODY);
    let confirmed = client.confirm();
    let declared = [stage.file("app.conf", b"setting")];
    let component = measure(&confirmed, &declared).unwrap().component;
    assert_eq!(component.configuration[0].sha256, Digest::of(b"setting"));
    chown(&declared[0], Some(NOBODY), None).unwrap();
    assert_untrusted(measure(&confirmed, &declared), &declared[0]);
    fs::remove_file(&declared[0]).unwrap();
    assert!(measure(&confirmed, &declared).is_err());
}

#[test]
fn a_declared_link_counts_by_the_file_it_leads_to() {
    let stage = Stage::new();
    let mut client = stage.start_as(NOBODY);
    let confirmed = client.confirm();
    let users = stage.file("users.conf", b"setting");
    chown(&users, Some(NOBODY), None).unwrap();
    let link = stage.path("link.conf");
    std::os::unix::fs::symlink(&users, &link).unwrap();
    assert_untrusted(measure(&confirmed, &[link]), &users);
}

#[test]
fn a_file_on_a_file_system_that_does_not_account_for_changes_does_not_count() {
    let stage = Stage::new();
    let place = stage.path("memory");
    fs::create_dir(&place).unwrap();
    let library = place.join("library");
    let script = format!("mount -t tmpfs none {0}\necho code > {1}", place.display(), library.display());
    let mut client = stage.run(stage.after(&["--mount"], &script));
    let confirmed = client.confirm();
    assert!(measure(&confirmed, &[]).is_ok());
    assert_untrusted(measure(&confirmed, std::slice::from_ref(&library)), &library);
    client.tell(&format!("map {}", library.display()));
    assert_untrusted(measure(&confirmed, &[]), &library);
}

#[test]
fn files_replaced_after_the_start_are_counted_and_the_new_ones_are_not_measured() {
    let stage = Stage::new();
    let library = stage.file("library", b"code");
    let mut client = with_mapped(&stage, NOBODY, &library);
    let confirmed = client.confirm();
    let before = measure(&confirmed, &[]).unwrap();
    fs::rename(stage.file("new", b"other"), &library).unwrap();
    let after = measure(&confirmed, &[]).unwrap();
    assert_eq!(after.component.runtime.deleted_executable, 1);
    assert!(mapped(&after.component, &library).is_none());
    assert_ne!(after.state, before.state);

    let original = crate::stage::digest_of(&stage.program);
    fs::rename(stage.file("new", b"other"), &stage.program).unwrap();
    let component = component(&confirmed);
    assert_eq!(component.runtime.deleted_executable, 2);
    assert_eq!(component.executable.path, format!("{} (deleted)", stage.program.display()));
    assert_eq!(component.executable.sha256, original, "what runs, not what is there now");
}

#[test]
fn a_living_file_with_the_name_of_a_deleted_one_is_measured() {
    let stage = Stage::new();
    let library = stage.file("library (deleted)", b"code");
    let component = component(&with_mapped(&stage, NOBODY, &library).confirm());
    assert_eq!(component.runtime.deleted_executable, 0);
    assert_eq!(mapped(&component, &library).unwrap().sha256, Digest::of(b"code"));
}

#[test]
fn names_with_line_feeds_are_told_from_their_escapes() {
    let stage = Stage::new();
    let mut client = stage.start();
    let names = ["line\nfeed", r"line\012feed"];
    for (name, content) in names.iter().zip([b"one", b"two"]) {
        let hidden = stage.file("plain", content);
        client.tell(&format!("map {}", hidden.display()));
        fs::rename(hidden, stage.path(name)).unwrap();
    }
    let component = component(&client.confirm());
    for (shown, content) in [(r"line\x0afeed", b"one"), (r"line\\012feed", b"two")] {
        let path = PathBuf::from(format!("{}/{shown}", stage.directory.display()));
        assert_eq!(mapped(&component, &path).unwrap().sha256, Digest::of(content), "{shown}");
    }
}
