//! Whether root alone can change a file, and leaves a trace when it does: then its digest may be kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat, StatFs, fstatfs, statat};

use crate::principal::is_in_initial_user_namespace;

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
    initial_user_namespace: Option<bool>,
    directories: BTreeMap<PathBuf, bool>,
}

impl TrustedPlaces {
    /// Whether root alone can change the open regular `file`, found at `path`, without symbolic links.
    pub(crate) fn hold(&mut self, file: &File, stat: &Stat, path: &Path) -> bool {
        is_roots_alone(stat.st_uid, stat.st_mode)
            && self.is_in_initial_user_namespace()
            && fstatfs(file).is_ok_and(|system| is_accounting(&system))
            && path.is_absolute()
            && path.parent().is_some_and(|directory| self.is_trusted(directory))
    }

    /// In a user namespace of its own, what looks like root's may be anybody's.
    fn is_in_initial_user_namespace(&mut self) -> bool {
        *self.initial_user_namespace.get_or_insert_with(|| is_in_initial_user_namespace().unwrap_or(false))
    }

    fn is_trusted(&mut self, directory: &Path) -> bool {
        if let Some(known) = self.directories.get(directory) {
            return *known;
        }
        let trusted = directory.parent().is_none_or(|parent| self.is_trusted(parent))
            && statat(CWD, directory, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| is_trusted_directory(stat.st_uid, stat.st_mode));
        self.directories.insert(directory.to_owned(), trusted);
        trusted
    }
}

/// Mode bits are enough: where an access control list gives somebody the right to write, the group's bits are its
/// mask and show it (acl(5)).
const fn is_roots_alone(owner: u32, mode: u32) -> bool {
    owner == 0 && mode & WRITABLE_BY_OTHERS == 0
}

/// In a sticky directory an entry can be replaced by its own owner only, and that is root here.
fn is_trusted_directory(owner: u32, mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
        && owner == 0
        && (mode & WRITABLE_BY_OTHERS == 0 || mode & STICKY != 0)
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

    const DIRECTORY: u32 = 0o040_000;

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

    #[test]
    fn owner_and_mode_decide() {
        assert!(is_roots_alone(0, 0o100_755) && is_roots_alone(0, 0o104_755) && is_roots_alone(0, 0));
        assert!(!is_roots_alone(1, 0o100_755));
        assert!(!is_roots_alone(0, 0o100_775) && !is_roots_alone(0, 0o100_757));
        assert!(is_trusted_directory(0, DIRECTORY | 0o755) && is_trusted_directory(0, DIRECTORY | 0o1777));
        assert!(!is_trusted_directory(0, DIRECTORY | 0o777) && !is_trusted_directory(0, DIRECTORY | 0o775));
        assert!(!is_trusted_directory(1, DIRECTORY | 0o755) && !is_trusted_directory(1, DIRECTORY | 0o1777));
        assert!(!is_trusted_directory(0, 0o120_777), "a symbolic link");
        assert!(!is_trusted_directory(0, 0o100_755), "a file");
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
        let hold = |path: &Path| TrustedPlaces::default().hold(&file, &stat, path);
        assert!(hold(&directory.join("real/file")));
        assert!(!hold(&directory.join("link/file")));
        assert!(!hold(Path::new("file")) && !hold(Path::new("")) && !hold(Path::new("/")));
    }
}
