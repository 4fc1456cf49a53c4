//! Who can change a file, and whether it leaves a trace when somebody does: whether its digest may be kept, and whether
//! the file counts at all for a process that is measured from outside (section "Files that may be trusted" of the design).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use attestation::digest::escape;
use rustix::fs::{AtFlags, CWD, FileType, Stat, StatFs, fstat, fstatfs, statat};
use rustix::io::Errno;

use crate::error::MeasurementError;
use crate::files::FileIdentity;
use crate::inside::{self, Links};
use crate::maps::DELETED;
use crate::principal::is_in_initial_user_namespace;
use crate::proc_file::ProcessDirectory;

/// File systems on local storage that give a file a new change time whenever its content changes: once more for each
/// page that is written through a mapping after the kernel has written it back.
///
/// Not tmpfs: a page that was once made writable there never gets another trace. Not FUSE, NFS, 9p, CIFS: they show
/// what somebody else says.
const ACCOUNTING: &[u64] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
    0x794c_7630, // overlayfs
];
/// `ST_NOSUID` of statfs(2).
const NOSUID: u64 = 0x2;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Remembers, for the time of one measurement, what it has found out about directories.
#[derive(Debug, Default)]
pub(crate) struct TrustedPlaces {
    /// Of the process that is measured from outside; nothing where this process measures itself.
    user: Option<User>,
    initial_user_namespace: Option<bool>,
    directories: BTreeMap<PathBuf, Hold>,
}

/// Whose process is measured, and where its files' paths, as the kernel shows them here, begin.
#[derive(Debug)]
struct User {
    uid: u32,
    root: OwnedFd,
}

/// Who can change something, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// The measured user, or somebody whose rights are not looked at more closely.
    Anybody,
    /// Root and another user, but not the measured one.
    Another,
    Root,
}

impl TrustedPlaces {
    /// For files of a process of the user `uid`, whose paths begin at `root`: those that this user can change are refused.
    pub(crate) fn of_user(uid: u32, root: OwnedFd) -> Self {
        Self { user: Some(User { uid, root }), ..Self::default() }
    }

    /// Whether every file has to be judged, whatever may be remembered of it.
    pub(crate) const fn refuse(&self) -> bool {
        self.user.is_some()
    }

    /// Whether root alone can change the open regular `file`, found at `path`, without symbolic links.
    ///
    /// # Errors
    /// [`MeasurementError::Untrusted`] where a process is measured from outside and its user can.
    pub(crate) fn admit(&mut self, file: &File, stat: &Stat, path: &Path) -> Result<bool, MeasurementError> {
        match (self.judge(file, stat, path), &self.user) {
            (Ok(hold), _) => Ok(hold == Hold::Root),
            (Err(_), None) => Ok(false),
            (Err(reason), Some(_)) => {
                Err(MeasurementError::Untrusted { path: escape(path.as_os_str().as_encoded_bytes()), reason })
            }
        }
    }

    /// Whether `path` is one of the names of this very file.
    pub(crate) fn leads_to(&self, path: &Path, file: FileIdentity) -> bool {
        self.stat(path).is_ok_and(|stat| FileIdentity::of(&stat) == file)
    }

    fn judge(&mut self, file: &File, stat: &Stat, path: &Path) -> Result<Hold, &'static str> {
        let hold = self.hold(stat.st_uid, stat.st_mode, false);
        if hold == Hold::Anybody {
            return Err("its owner and mode let the process's user or a group change it");
        }
        if !self.is_in_initial_user_namespace() {
            return Err("owners mean nothing in a user namespace of one's own");
        }
        if !fstatfs(file).is_ok_and(|system| is_accounting(&system)) {
            return Err(
                "its file system is not local, does not account for changes, or is mounted without set-user-id",
            );
        }
        let Some(directory) = path.parent().filter(|_| path.is_absolute()) else {
            return Err("it has no path");
        };
        if self.user.is_some() && !self.leads_to(path, FileIdentity::of(stat)) {
            // Without a name it cannot be replaced; that it was is counted.
            return if path.as_os_str().as_encoded_bytes().ends_with(DELETED) {
                Ok(Hold::Another)
            } else {
                Err("its path leads to another file, or to none")
            };
        }
        match self.of_directory(directory) {
            Hold::Anybody => Err("the process's user or a group can change a directory above it"),
            above => Ok(hold.min(above)),
        }
    }

    /// In a user namespace of its own, what looks like root's may be anybody's.
    fn is_in_initial_user_namespace(&mut self) -> bool {
        *self.initial_user_namespace.get_or_insert_with(|| {
            ProcessDirectory::own().and_then(|own| is_in_initial_user_namespace(&own)).unwrap_or(false)
        })
    }

    fn of_directory(&mut self, directory: &Path) -> Hold {
        if let Some(known) = self.directories.get(directory) {
            return *known;
        }
        let above = directory.parent().map_or(Hold::Root, |parent| self.of_directory(parent));
        let own = match self.stat(directory) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.hold(stat.st_uid, stat.st_mode, stat.st_mode & STICKY != 0)
            }
            _ => Hold::Anybody,
        };
        let hold = own.min(above);
        self.directories.insert(directory.to_owned(), hold);
        hold
    }

    /// Mode bits are enough: where an access control list gives somebody the right to write, the group's bits are its
    /// mask and show it (acl(5)). In a sticky directory an entry can be replaced by its own owner only, who is judged with
    /// the entry.
    fn hold(&self, owner: u32, mode: u32, is_sticky: bool) -> Hold {
        let is_open = mode & WRITABLE_BY_OTHERS != 0 && !is_sticky;
        match &self.user {
            _ if is_open => Hold::Anybody,
            _ if owner == 0 => Hold::Root,
            Some(user) if user.uid != 0 && user.uid != owner => Hold::Another,
            _ => Hold::Anybody,
        }
    }

    fn stat(&self, path: &Path) -> Result<Stat, Errno> {
        match &self.user {
            None => statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW),
            Some(user) => fstat(inside::find(&user.root, path, Links::Refused)?),
        }
    }
}

/// Whoever mounts without set-user-id does not believe the owners that the file system states: removable media, a
/// user's own images.
#[allow(clippy::cast_sign_loss, reason = "the kernel's numbers are 32 bits without a sign")]
fn is_accounting(system: &StatFs) -> bool {
    is_accounting_type(system.f_type as u64 & 0xffff_ffff) && system.f_flags as u64 & NOSUID == 0
}

fn is_accounting_type(magic: u64) -> bool {
    ACCOUNTING.contains(&magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_file_systems_that_account_for_changes_are_believed() {
        for magic in ACCOUNTING {
            assert!(is_accounting_type(*magic), "{magic:#x}");
        }
        for (name, magic) in [
            ("fuse", 0x6573_5546),
            ("nfs", 0x6969),
            ("9p", 0x0102_1997),
            ("cifs", 0xff53_4d42),
            ("smb2", 0xfe53_4d42),
            ("tmpfs", 0x0102_1994),
            ("ramfs", 0x8584_58f6),
            ("vfat", 0x4d44),
            ("procfs", 0x9fa0),
            ("none", 0),
        ] {
            assert!(!is_accounting_type(magic), "{name}");
        }
    }

    #[test]
    fn what_is_mounted_without_set_user_id_is_not_believed() {
        let mut system = rustix::fs::statfs("/usr/bin").unwrap();
        assert!(is_accounting(&system), "the system is on a file system that is not known: {system:?}");
        system.f_flags |= NOSUID as i64;
        assert!(!is_accounting(&system));
    }

    fn of(uid: u32) -> TrustedPlaces {
        TrustedPlaces::of_user(uid, File::open("/").unwrap().into())
    }

    #[test]
    fn owner_and_mode_decide() {
        let own = |owner, mode, is_sticky| TrustedPlaces::default().hold(owner, mode, is_sticky);
        for mode in [0o755, 0o4755, 0] {
            assert_eq!(own(0, mode, false), Hold::Root);
            assert_eq!(own(1, mode, false), Hold::Anybody);
        }
        assert_eq!(own(0, 0o1777, true), Hold::Root);
        assert_eq!(own(1, 0o1777, true), Hold::Anybody);
        for mode in [0o775, 0o757, 0o777] {
            assert_eq!(own(0, mode, false), Hold::Anybody);
        }
    }

    #[test]
    fn another_users_file_counts_for_a_user_and_never_for_root() {
        for (uid, owner, mode, is_sticky, expected) in [
            (1000, 0, 0o755, false, Hold::Root),
            (1000, 1, 0o755, false, Hold::Another),
            (1000, 1000, 0o755, false, Hold::Anybody),
            (1000, 1000, 0o500, false, Hold::Anybody),
            (1000, 1, 0o775, false, Hold::Anybody),
            (1000, 0, 0o757, false, Hold::Anybody),
            (1000, 1, 0o1777, true, Hold::Another),
            (1000, 1000, 0o1777, true, Hold::Anybody),
            (0, 0, 0o755, false, Hold::Root),
            (0, 1, 0o755, false, Hold::Anybody),
            (0, 0, 0o775, false, Hold::Anybody),
        ] {
            assert_eq!(of(uid).hold(owner, mode, is_sticky), expected, "{uid} {owner} {mode:o} {is_sticky}");
        }
    }

    #[test]
    fn what_is_no_directory_is_no_trusted_one() {
        for mut places in [TrustedPlaces::default(), of(1000), of(0)] {
            assert_eq!(places.of_directory(Path::new("/usr/bin")), Hold::Root);
            for path in ["/usr/bin/env", "/proc/self/cwd", "/nonexistent", "/usr/bin/env/x"] {
                assert_eq!(places.of_directory(Path::new(path)), Hold::Anybody, "{path}");
            }
        }
    }

    #[test]
    fn a_file_under_another_ones_path_is_refused_and_one_without_a_path_is_not_kept() {
        let keep = tempfile::tempdir_in("/var/tmp").unwrap();
        let directory = keep.path().canonicalize().unwrap();
        for name in ["file", "other"] {
            std::fs::write(directory.join(name), name).unwrap();
        }
        let file = File::open(directory.join("file")).unwrap();
        let stat = fstat(&file).unwrap();
        let admit = |path: &str| of(0).admit(&file, &stat, &directory.join(path));
        // The temporary directory is root's alone.
        assert!(admit("file").unwrap());
        assert!(!admit("file (deleted)").unwrap());
        for path in ["other", "none", "file (gone)"] {
            assert!(matches!(admit(path), Err(MeasurementError::Untrusted { .. })), "{path}");
        }
    }

    #[test]
    fn a_path_through_a_link_or_from_here_is_not_trusted() {
        let keep = tempfile::tempdir_in("/var/tmp").unwrap();
        let directory = keep.path().canonicalize().unwrap();
        std::fs::create_dir(directory.join("real")).unwrap();
        std::fs::write(directory.join("real/file"), "content").unwrap();
        std::os::unix::fs::symlink("real", directory.join("link")).unwrap();
        let file = File::open(directory.join("real/file")).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let hold = |path: &Path| TrustedPlaces::default().admit(&file, &stat, path).unwrap();
        assert!(hold(&directory.join("real/file")));
        assert!(!hold(&directory.join("link/file")));
        assert!(!hold(Path::new("file")) && !hold(Path::new("")) && !hold(Path::new("/")));
    }
}
