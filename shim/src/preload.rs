//! `LD_PRELOAD`: which of the names that an application opens lead to the real module, so that it gets the shim instead.
//!
//! What decides is the file. Nothing blocks here, and nothing but the configuration is read, once: this runs inside
//! `dlopen`, in whatever state the process is, perhaps before its `main`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use configuration::ConfigurationError;
use gated_module::Log;
use linux_ffi::loader::{Library, Opening};
use once_cell::race::OnceBox;
use rustix::fs::{Access, access, stat};
use rustix::path::Arg;

/// Set by whoever comes first, without a lock.
static KNOWN: OnceBox<Known> = OnceBox::new();
static HAS_SPOKEN: AtomicBool = AtomicBool::new(false);

/// What the configuration says.
enum Known {
    Module(RealFile),
    /// Nothing, and the log says why.
    Nothing,
}

/// Whether the loader would open the real module.
pub(crate) fn leads_to_real_module(opening: &Opening<'_>) -> bool {
    match KNOWN.get().or_else(look) {
        Some(Known::Module(file)) => file.is_reached_by(opening),
        Some(Known::Nothing) | None => false,
    }
}

/// Reads the configuration. Two threads may do so at once: neither may wait for the other, who may hold the loader's lock.
fn look() -> Option<&'static Known> {
    let known = if exists() {
        RealFile::configured().map_or_else(
            |error| {
                speak(|| Log::before_configuration().preloaded_in_vain(&error));
                Known::Nothing
            },
            Known::Module,
        )
    } else {
        // Not even kept: to remember it would take memory, and this may be the allocator's own start.
        speak(Log::preloaded_without_configuration);
        return None;
    };
    Some(KNOWN.get_or_init(|| Box::new(known)))
}

/// Whether there is a configuration; without allocating.
fn exists() -> bool {
    linux_ffi::with_variable(configuration::C_VARIABLE, |named| match named {
        // What is wrong with it, is found out by reading it.
        Some(path) => !path.to_bytes().starts_with(b"/") || is_there(path),
        None => is_there(configuration::DEFAULT_PATH),
    })
}

fn is_there(path: impl Arg) -> bool {
    access(path, Access::EXISTS) != Err(rustix::io::Errno::NOENT)
}

fn speak(say: impl FnOnce()) {
    if !HAS_SPOKEN.swap(true, Ordering::Relaxed) {
        say();
    }
}

/// The real module's file.
struct RealFile {
    path: CString,
    /// As it was when it was first looked at. Later it may be out of reach, after a `chroot` or without rights, while the
    /// application opens it by another path.
    seen: Option<Identity>,
    /// By which the loader may find it in its cache, or among what is loaded.
    names: Vec<Vec<u8>>,
}

impl RealFile {
    fn configured() -> Result<Self, ConfigurationError> {
        Ok(Self::at(&configuration::named_module(linux_ffi::is_secure_execution())?))
    }

    fn at(path: &Path) -> Self {
        let resolved = std::fs::canonicalize(path).ok();
        let file_name = |path: &Path| Some(path.file_name()?.as_bytes().to_vec());
        let own = [
            file_name(path),
            resolved.as_deref().and_then(file_name),
            resolved.as_deref().and_then(measurement::soname),
        ];
        let mut names: Vec<_> = own.into_iter().flatten().collect();
        let seen = identity(path);
        if let Some(real) = seen {
            let cached = measurement::cached_libraries().unwrap_or_default();
            let is_real =
                |(_, path): &(_, PathBuf)| identity(path).is_some_and(|there| there.is_same_file(real));
            names.extend(cached.into_iter().filter(is_real).map(|(name, _)| name));
        }
        // A configured path holds no NUL; the empty one that would come of it leads nowhere.
        Self { path: CString::new(path.as_os_str().as_bytes()).unwrap_or_default(), seen, names }
    }

    fn is_reached_by(&self, opening: &Opening<'_>) -> bool {
        let name = opening.name();
        let bytes = name.to_bytes();
        if !bytes.contains(&b'/') {
            return self.is_found_as(bytes, opening);
        }
        // The same text, though the file may have been replaced or be gone: the loader may have it still.
        name == self.path.as_c_str()
            || self.is_at(name) == Some(true)
            || bytes.contains(&b'$') && self.is_meant_by(bytes, opening)
    }

    /// Whether this file is at `path`; nothing if there is none.
    fn is_at(&self, path: impl Arg + Copy) -> Option<bool> {
        let there = identity(path)?;
        match (identity(&self.path), self.seen) {
            (Some(now), seen) => {
                // Another file by now, as after an update: the number of the old one may have been given out again.
                Some(there.is_same_file(now) || seen == Some(there))
            }
            (None, Some(seen)) => {
                self.speak_of_absence("is recognised by device and inode, as it was first seen");
                Some(there.is_same_file(seen))
            }
            (None, None) => {
                self.speak_of_absence("is recognised by its name");
                Some(self.is_called(path))
            }
        }
    }

    /// Whether the last part of the path is a name of this file. All there is to go by where nobody can look at it.
    fn is_called(&self, path: impl Arg) -> bool {
        path.as_cow_c_str().is_ok_and(|path| {
            let last = path.to_bytes().rsplit(|byte| *byte == b'/').next();
            self.names.iter().any(|known| Some(known.as_slice()) == last)
        })
    }

    fn speak_of_absence(&self, how: &str) {
        speak(|| Log::before_configuration().module_out_of_sight(&self.path.to_string_lossy(), how));
    }

    /// A name that the loader looks for (ld.so(8), dlopen(3)): among what is loaded, in the directories of caller,
    /// environment and system, and in its cache. Builds for some processors in `glibc-hwcaps` are not looked at.
    fn is_found_as(&self, name: &[u8], opening: &Opening<'_>) -> bool {
        let is_known = self.names.iter().any(|known| known == name);
        if is_known && Library::loaded(&self.path).is_some_and(|library| library.answers_to(opening.name())) {
            return true;
        }
        let in_directory = |directory: &PathBuf| {
            Some((directory.clone(), self.is_at(&directory.join(OsStr::from_bytes(name)))?))
        };
        match opening.search_path().iter().find_map(in_directory) {
            Some((_, true)) => true,
            Some((directory, false)) if !SYSTEM.iter().any(|system| directory == Path::new(system)) => false,
            // The cache goes before the system's own directories.
            _ => is_known && self.is_cached_as(name),
        }
    }

    /// Whether the cache leads from the name to this file. What cannot be told counts as yes.
    fn is_cached_as(&self, name: &[u8]) -> bool {
        measurement::cached_libraries().is_none_or(|libraries| {
            libraries.iter().any(|(cached, path)| cached == name && self.is_at(path) == Some(true))
        })
    }

    /// A path with tokens in it, which the loader replaces (ld.so(8), "Dynamic string tokens"). What cannot be told
    /// counts as yes where the last part of the path is a name of this file.
    fn is_meant_by(&self, path: &[u8], opening: &Opening<'_>) -> bool {
        let Ok(path) = str::from_utf8(path) else { return false };
        let origin = opening.origin().unwrap_or_default().display().to_string();
        let path = path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
        let in_library_directory = |name| path.replace("${LIB}", name).replace("$LIB", name);
        if LIB.into_iter().map(in_library_directory).any(|path| self.is_at(&path) == Some(true)) {
            return true;
        }
        let last = path.rsplit('/').next().unwrap_or_default().as_bytes();
        path.contains("PLATFORM") && self.names.iter().any(|known| known == last)
    }
}

/// By which two names of one file are known, and a file from the one that got its inode later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

impl Identity {
    /// As long as both are there, device and inode say it.
    fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

fn identity(path: impl Arg) -> Option<Identity> {
    let stat = stat(path).ok()?;
    Some(Identity {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
    })
}

/// The system's own directories, as loaders have them built in.
const SYSTEM: [&str; 8] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// What `$LIB` may stand for: a constant of the loader's build, which it tells nobody.
const LIB: [&str; 4] = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_each_of_its_names_and_by_its_inode() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let library = Path::new("/lib/x86_64-linux-gnu/libm.so.6");
        std::os::unix::fs::symlink(library, at("vendor.so")).unwrap();
        std::fs::copy(library, at("copy.so")).unwrap();
        let file = RealFile::at(&at("vendor.so"));
        for name in [&b"vendor.so"[..], b"libm.so.6"] {
            assert!(file.names.iter().any(|known| known == name), "{:?}", file.names);
        }
        assert!(file.is_cached_as(b"libm.so.6"));
        for name in [&b"libc.so.6"[..], b"vendor.so"] {
            assert!(!file.is_cached_as(name));
        }
        assert_eq!(file.is_at(library), Some(true));
        assert_eq!(file.is_at(&at("copy.so")), Some(false));
        assert_eq!(file.is_at(&at("absent.so")), None);
    }

    #[test]
    fn a_file_that_is_out_of_sight_is_the_one_that_was_seen() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["vendor.so", "other.so"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::fs::hard_link(at("vendor.so"), at("hard.so")).unwrap();
        let file = RealFile::at(&at("vendor.so"));
        std::fs::remove_file(at("vendor.so")).unwrap();
        assert_eq!(file.is_at(&at("hard.so")), Some(true));
        assert_eq!(file.is_at(&at("other.so")), Some(false));
        assert_eq!(file.is_at(&at("vendor.so")), None);
        // Another has taken its place: now both are, but not a third that has got its number.
        std::fs::write(at("vendor.so"), "the next version").unwrap();
        std::fs::hard_link(at("vendor.so"), at("next.so")).unwrap();
        for (name, is_it) in [("next.so", true), ("hard.so", true), ("other.so", false)] {
            assert_eq!(file.is_at(&at(name)), Some(is_it), "{name}");
        }
        std::fs::write(at("hard.so"), "something else").unwrap();
        assert_eq!(file.is_at(&at("hard.so")), Some(false));
    }

    #[test]
    fn a_file_that_nobody_ever_saw_is_known_by_its_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let file = RealFile::at(&at("hidden/vendor.so"));
        for name in ["vendor.so", "other.so"] {
            std::fs::write(at(name), name).unwrap();
        }
        assert_eq!(file.is_at(&at("vendor.so")), Some(true));
        assert_eq!(file.is_at(&at("other.so")), Some(false));
        assert_eq!(file.is_at(&at("absent.so")), None);
    }
}
