//! Where a path leads inside another process's root: what openat2(2) does with `RESOLVE_IN_ROOT`, step by step. The guard
//! cannot make that call: `RestrictSUIDSGID=` in its unit takes it away, whose flags a filter cannot look at.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, open, openat, readlinkat};
use rustix::io::Errno;

use crate::files::READING;

/// A name at a time, and what bears it, whatever that is.
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// As many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Bytes of a path; longer ones the kernel does not take either.
const MAX_PATH: usize = 4096;
/// `PROC_SUPER_MAGIC`.
const PROCFS: u64 = 0x9fa0;

/// What becomes of symbolic links on the way, the last name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They lead to where they lead below the root. Those of procfs lead to other processes, and nowhere.
    Followed,
    Refused,
}

/// Finds `path` below `root`, which nothing on the way leads out of, and holds on to it without opening it.
pub(crate) fn find(root: &OwnedFd, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    if path.as_os_str().len() >= MAX_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    // From below the root down to here.
    let mut above: Vec<Found> = Vec::new();
    // The next one last.
    let mut names = names(path.as_os_str().as_bytes());
    let mut followed = 0;
    while let Some(name) = names.pop() {
        if matches!(name.as_slice(), b"" | b"." | b"..") {
            if above.last().is_some_and(|found| found.file_type != FileType::Directory) {
                return Err(Errno::NOTDIR);
            }
            if name == b".." {
                above.pop();
            }
            continue;
        }
        let here = above.last().map_or(root.as_fd(), |found| found.held.as_fd());
        let held = step(here, &name, names.is_empty())?;
        let file_type = FileType::from_raw_mode(fstat(&held)?.st_mode);
        if file_type != FileType::Symlink {
            above.push(Found { held, file_type });
            continue;
        }
        followed += 1;
        if links == Links::Refused || followed > MAX_LINKS || is_procfs(&held)? {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&held, c"", Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            above.clear();
        }
        names.extend(self::names(&target));
    }
    match above.pop() {
        Some(found) => Ok(found.held),
        None => openat(root, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
    }
}

/// Opens for reading what was found: this very file, whatever has its name by now.
pub(crate) fn read(found: &OwnedFd) -> Result<OwnedFd, Errno> {
    open(format!("/proc/self/fd/{}", found.as_raw_fd()), READING, Mode::empty())
}

/// On the way something may be mounted by being passed through (autofs(5)), which a look at the last name does not bring about.
fn step(here: BorrowedFd<'_>, name: &[u8], is_last: bool) -> Result<OwnedFd, Errno> {
    if !is_last {
        match openat(here, name, STEP | OFlags::DIRECTORY, Mode::empty()) {
            // A symbolic link.
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            other => return other,
        }
    }
    openat(here, name, STEP, Mode::empty())
}

struct Found {
    held: OwnedFd,
    file_type: FileType,
}

fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

#[allow(clippy::cast_sign_loss, reason = "the kernel's numbers are 32 bits without a sign")]
fn is_procfs(held: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(held)?.f_type as u64 & 0xffff_ffff == PROCFS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::{ResolveFlags, openat2};
    use tempfile::TempDir;

    use super::*;
    use crate::files::FileIdentity;

    /// A root with names of every kind, and something outside that has the same ones.
    fn scene() -> (TempDir, OwnedFd) {
        let scene = tempfile::tempdir().unwrap();
        let path = |name: &str| scene.path().join(name);
        fs::create_dir_all(path("root/directory/inner")).unwrap();
        for name in ["root/file", "root/directory/file", "root/directory/inner/file", "secret"] {
            fs::write(path(name), name).unwrap();
        }
        for (name, target) in [
            ("plain", "file"),
            ("absolute", "/directory/file"),
            ("down", "directory/inner"),
            ("up", "../../secret"),
            ("directory/up", "../../../file"),
            ("directory/inner/far", "/directory/../plain"),
            ("chain", "absolute"),
            ("itself", "itself"),
            ("gone", "nothing"),
            ("slash", "/"),
            ("through", "file/.."),
        ] {
            symlink(target, path("root").join(name)).unwrap();
        }
        let root = File::open(path("root")).unwrap().into();
        (scene, root)
    }

    const PATHS: [&str; 29] = [
        "/",
        "/file",
        "file",
        "//directory//file",
        "/directory/./inner/../file",
        "/directory/inner",
        "/directory/inner/",
        "/file/",
        "/file/.",
        "/file/..",
        "/file/../file",
        "/file/file",
        "/..",
        "/../../secret",
        "/../file",
        "/plain",
        "/absolute",
        "/absolute/",
        "/down/file",
        "/down/../file",
        "/up",
        "/directory/up",
        "/directory/inner/far",
        "/chain",
        "/itself",
        "/gone",
        "/slash/directory",
        "/through",
        "/nothing/../file",
    ];

    #[test]
    #[allow(clippy::disallowed_methods, reason = "it is what is compared with")]
    fn every_path_leads_to_where_the_kernel_finds_it() {
        let (_scene, root) = scene();
        let mut counts = [0, 0];
        for (links, flags) in [
            (Links::Followed, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
            (Links::Refused, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS),
        ] {
            for path in PATHS {
                let which =
                    |found: Result<OwnedFd, Errno>| found.and_then(fstat).map(|stat| FileIdentity::of(&stat));
                let expected =
                    which(openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags));
                assert_eq!(which(find(&root, Path::new(path), links)), expected, "{path} {links:?}");
                counts[usize::from(expected.is_ok())] += 1;
            }
        }
        assert!(counts.iter().all(|count| *count > 15), "{counts:?}");
    }

    #[test]
    fn a_path_that_is_longer_than_the_kernel_takes_leads_nowhere() {
        let (_scene, root) = scene();
        let path = |bytes| format!("/{}", "./".repeat(bytes / 2));
        assert!(find(&root, Path::new(&path(MAX_PATH - 2)), Links::Followed).is_ok());
        assert_eq!(find(&root, Path::new(&path(MAX_PATH)), Links::Followed).unwrap_err(), Errno::NAMETOOLONG);
    }

    #[test]
    fn links_of_procfs_lead_nowhere() {
        let root: OwnedFd = File::open("/").unwrap().into();
        for path in ["/proc/self/exe", "/proc/self/root/etc/passwd", "/proc/self/fd/0"] {
            assert_eq!(find(&root, Path::new(path), Links::Followed).unwrap_err(), Errno::LOOP, "{path}");
        }
        let own = format!("/proc/{}/status", std::process::id());
        assert!(find(&root, Path::new(&own), Links::Refused).is_ok());
    }

    #[test]
    fn what_was_found_is_read_whatever_has_its_name_by_now() {
        let (scene, root) = scene();
        let found = find(&root, Path::new("/plain"), Links::Followed).unwrap();
        fs::rename(scene.path().join("secret"), scene.path().join("root/file")).unwrap();
        let mut text = String::new();
        File::from(read(&found).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "root/file");
    }
}
