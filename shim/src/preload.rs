//! `LD_PRELOAD`: which of the names that an application opens lead to the real module, so that it gets the shim instead.
//!
//! What decides is the file. Nothing blocks here, and nothing but the configuration is read, once: this runs inside
//! `dlopen`, in whatever state the process is, perhaps before its `main`.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use configuration::ConfigurationError;
use cryptoki_ffi::Published;
use linux_ffi::loader::{Library, Opening};
use rustix::fs::{Access, access, stat};
use rustix::path::Arg;

use crate::log::Log;

static KNOWN: Published<Known> = Published::new();
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
    KNOWN.publish(Box::new(known));
    KNOWN.get()
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
    /// Under which it may stand in the loader's cache.
    names: Vec<Vec<u8>>,
}

impl RealFile {
    fn configured() -> Result<Self, ConfigurationError> {
        Ok(Self::at(&configuration::named_module(linux_ffi::is_secure_execution())?))
    }

    fn at(path: &Path) -> Self {
        let resolved = std::fs::canonicalize(path).ok();
        let file_name = |path: &Path| Some(path.file_name()?.as_bytes().to_vec());
        let names = [
            file_name(path),
            resolved.as_deref().and_then(file_name),
            resolved.as_deref().and_then(measurement::soname),
        ];
        // A configured path holds no NUL; the empty one that would come of it leads nowhere.
        let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        Self { path, names: names.into_iter().flatten().collect() }
    }

    fn is_reached_by(&self, opening: &Opening<'_>) -> bool {
        let name = opening.name();
        let bytes = name.to_bytes();
        if !bytes.contains(&b'/') {
            return self.is_found_as(opening);
        }
        // The same text, though the file may have been replaced or be gone: the loader may have it still.
        name == self.path.as_c_str()
            || self.is_at(name) == Some(true)
            || bytes.contains(&b'$') && self.is_at_expanded(opening)
    }

    /// Whether this file is at `path`; nothing if there is none.
    fn is_at(&self, path: impl Arg) -> Option<bool> {
        let there = stat(path).ok()?;
        let real = stat(&self.path).ok();
        Some(real.is_some_and(|real| (real.st_dev, real.st_ino) == (there.st_dev, there.st_ino)))
    }

    /// A path with tokens in it, which the loader replaces (ld.so(8), "Dynamic string tokens").
    fn is_at_expanded(&self, opening: &Opening<'_>) -> bool {
        let name = opening.name().to_bytes();
        let by_origin = || self.is_at(with_origin(name, &opening.origin()?)?);
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        by_origin() == Some(true) || self.is_in_cache_as(last, opening.name())
    }

    /// A name that the loader looks for: among the loaded libraries, in the directories of caller, environment and system,
    /// and in its cache.
    fn is_found_as(&self, opening: &Opening<'_>) -> bool {
        let name = opening.name();
        // Also first, since a library that is loaded under this name goes before all directories.
        self.is_in_cache_as(name.to_bytes(), name)
            || opening
                .search_path()
                .iter()
                .find_map(|directory| self.is_at(directory.join(OsStr::from_bytes(name.to_bytes()))))
                == Some(true)
    }

    /// Whether the loader itself comes to this file by `name`, asked only where `last` is one of the file's names.
    ///
    /// The loader tells no path from its cache without loading what it finds. So this file is loaded, which the
    /// application would do next in any case, and the loader asked whether the name leads to something that is loaded.
    fn is_in_cache_as(&self, last: &[u8], name: &CStr) -> bool {
        self.names.iter().any(|known| known == last)
            && Library::load(&self.path).is_ok_and(|library| library.answers_to(name))
    }
}

fn with_origin(name: &[u8], origin: &Path) -> Option<PathBuf> {
    let rest = name.strip_prefix(b"$ORIGIN").or_else(|| name.strip_prefix(b"${ORIGIN}"))?;
    Some(PathBuf::from(OsStr::from_bytes(&[origin.as_os_str().as_bytes(), rest].concat())))
}

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
        assert_eq!(file.names, [&b"vendor.so"[..], b"libm.so.6", b"libm.so.6"]);
        assert_eq!(file.is_at(library), Some(true));
        assert_eq!(file.is_at(at("copy.so")), Some(false));
        assert_eq!(file.is_at(at("absent.so")), None);
        assert!(file.is_in_cache_as(b"libm.so.6", c"libm.so.6"));
        assert!(!file.is_in_cache_as(b"libc.so.6", c"libc.so.6"));
        std::fs::remove_file(at("vendor.so")).unwrap();
        assert_eq!(file.is_at(library), Some(false));
    }

    #[test]
    fn the_origin_is_put_in_where_a_path_begins_with_it() {
        for name in [&b"$ORIGIN/../lib/m.so"[..], b"${ORIGIN}/../lib/m.so"] {
            assert_eq!(with_origin(name, Path::new("/opt/bin")).unwrap(), Path::new("/opt/bin/../lib/m.so"));
        }
        assert_eq!(with_origin(b"/opt/$LIB/m.so", Path::new("/opt/bin")), None);
    }
}
