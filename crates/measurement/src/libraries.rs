//! Finds the libraries that the dynamic loader would map for a program, by the rules of ld.so(8), and runs nothing.
//!
//! The loader itself could be asked (`--list`), but it maps what it is asked about, and a file that is made for it can
//! take it over by that alone.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use attestation::digest::escape;

use crate::elf::Machine;
use crate::error::MeasurementError;
use crate::files::{FileIdentity, OpenedFile};
use crate::loader_cache::{CACHE, LoaderCache};
use crate::needed::Object;

const PRELOAD: &str = "/etc/ld.so.preload";
const MAX_OBJECTS: usize = 1024;
/// The loader's own, by machine (`e_machine`): Debian's first, then what others have.
const X86_64: &[&str] = &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];
const AARCH64: &[&str] = &["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
const EVERYWHERE: &[&str] = &["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// The files with code that `program` is mapped from when it starts, itself and the loader included; then `others`,
/// which it loads later, with what they need.
pub(crate) fn mapped_by(program: &Path, others: &[PathBuf]) -> Result<Vec<PathBuf>, MeasurementError> {
    let (file, main) = opened(program)?;
    let not_understood = || MeasurementError::NotAProgram { path: escape_path(program) };
    let main = main.ok_or_else(not_understood)?;
    let machine = main.machine;
    let interpreter = main.interpreter.clone();
    let cache = LoaderCache::read(Path::new(CACHE))
        .map_err(|source| unreadable(Path::new(CACHE), source))?
        .ok_or_else(|| MeasurementError::Malformed {
        path: CACHE.to_owned(),
        reason: "not in glibc's format since 2.32",
    })?;
    let mut search = Search { machine, cache, objects: Vec::new(), names: BTreeSet::new() };
    search.add(file, main, None)?;
    if let Some(interpreter) = interpreter {
        search.add_path(&path_of(&interpreter), None)?;
        for path in preloaded()? {
            search.add_path(&path, None)?;
        }
    }
    search.complete(0)?;
    for path in others {
        let first = search.objects.len();
        search.add_path(path, None)?;
        search.complete(first)?;
    }
    Ok(search.objects.into_iter().filter(|one| one.object.has_code).map(|one| one.path).collect())
}

struct Loaded {
    identity: FileIdentity,
    path: PathBuf,
    object: Object,
    /// Which one needed it first.
    needed_by: Option<usize>,
}

impl Loaded {
    /// The directories of a list such as `DT_RPATH`.
    fn directories(&self, list: &[u8]) -> Result<Vec<PathBuf>, MeasurementError> {
        list.split(|byte| *byte == b':').map(|directory| self.expanded(directory)).collect()
    }

    /// `$ORIGIN` is the directory of the object that names it.
    fn expanded(&self, text: &[u8]) -> Result<PathBuf, MeasurementError> {
        let origin = self.path.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
        let rest = text.strip_prefix(b"$ORIGIN").or_else(|| text.strip_prefix(b"${ORIGIN}"));
        let path = match rest {
            Some(rest) => [origin, rest].concat(),
            None => text.to_vec(),
        };
        if path.contains(&b'$') || path.first() != Some(&b'/') {
            return Err(
                self.undetermined(text, "it depends on the processor or on where the program is started")
            );
        }
        Ok(path_of(&path))
    }

    fn undetermined(&self, name: &[u8], reason: &'static str) -> MeasurementError {
        MeasurementError::LibraryUndetermined {
            name: escape(name),
            needed_by: escape_path(&self.path),
            reason,
        }
    }
}

struct Search {
    machine: Machine,
    cache: LoaderCache,
    objects: Vec<Loaded>,
    /// By which what is loaded can be needed.
    names: BTreeSet<Vec<u8>>,
}

impl Search {
    /// Adds whatever the objects from `first` on need, and what that needs.
    fn complete(&mut self, first: usize) -> Result<(), MeasurementError> {
        let mut index = first;
        while let Some(needed) = self.objects.get(index).map(|loaded| loaded.object.needed.clone()) {
            for name in needed {
                if !self.names.contains(&name) {
                    let (file, object) = self.locate(&name, index)?;
                    self.add(file, object, Some(index))?;
                    self.names.insert(name);
                }
            }
            index += 1;
        }
        Ok(())
    }

    fn add_path(&mut self, path: &Path, needed_by: Option<usize>) -> Result<(), MeasurementError> {
        let (file, object) = opened(path)?;
        match object.filter(|object| object.machine == self.machine) {
            Some(object) => self.add(file, object, needed_by),
            None => Err(MeasurementError::NotAProgram { path: escape_path(path) }),
        }
    }

    fn add(
        &mut self,
        file: OpenedFile,
        object: Object,
        needed_by: Option<usize>,
    ) -> Result<(), MeasurementError> {
        let identity = file.identity();
        self.names.extend(object.soname.clone());
        if self.objects.iter().any(|loaded| loaded.identity == identity) {
            return Ok(());
        }
        if self.objects.len() >= MAX_OBJECTS {
            return Err(MeasurementError::TooMany { what: "libraries", limit: MAX_OBJECTS });
        }
        let path = path_of(&file.kernel_path()?);
        self.objects.push(Loaded { identity, path, object, needed_by });
        Ok(())
    }

    /// The library `name`, for the object at `index`.
    fn locate(&self, name: &[u8], index: usize) -> Result<(OpenedFile, Object), MeasurementError> {
        let not_found = |needed_by: &Path| MeasurementError::LibraryNotFound {
            name: escape(name),
            needed_by: escape_path(needed_by),
        };
        let Some(needer) = self.objects.get(index) else { return Err(not_found(Path::new(""))) };
        if name.contains(&b'/') {
            return self.fitting(&needer.expanded(name)?).ok_or_else(|| not_found(&needer.path));
        }
        if needer.object.without_default {
            return Err(needer.undetermined(name, "it is not to be looked for in the system's directories"));
        }
        for directory in self.own_directories(needer)? {
            if let Some(found) = self.in_directory(&directory, name, needer)? {
                return Ok(found);
            }
        }
        for place in self.cache.places(name) {
            if let Some(found) = self.fitting(&path_of(&place.path)) {
                if place.for_some_processors {
                    return Err(needer.undetermined(name, SEVERAL));
                }
                return Ok(found);
            }
        }
        let machines = match self.machine.number {
            62 => X86_64,
            183 => AARCH64,
            _ => &[],
        };
        for directory in machines.iter().chain(EVERYWHERE) {
            if let Some(found) = self.in_directory(Path::new(directory), name, needer)? {
                return Ok(found);
            }
        }
        Err(not_found(&needer.path))
    }

    /// Those that the objects name themselves: `DT_RPATH` of the object and of all that led to it, unless there is a
    /// `DT_RUNPATH`.
    fn own_directories(&self, needer: &Loaded) -> Result<Vec<PathBuf>, MeasurementError> {
        if let Some(runpath) = &needer.object.runpath {
            return needer.directories(runpath);
        }
        let chain = std::iter::successors(Some(needer), |loaded| self.objects.get(loaded.needed_by?));
        // A library that is loaded later was not needed by the program, and its path counts all the same.
        let whole = chain.chain(self.objects.first());
        let mut directories = Vec::new();
        for loaded in whole.filter(|loaded| loaded.object.runpath.is_none()) {
            if let Some(rpath) = &loaded.object.rpath {
                directories.extend(loaded.directories(rpath)?);
            }
        }
        Ok(directories)
    }

    fn in_directory(
        &self,
        directory: &Path,
        name: &[u8],
        needer: &Loaded,
    ) -> Result<Option<(OpenedFile, Object)>, MeasurementError> {
        let name = OsStr::from_bytes(name);
        let builds = std::fs::read_dir(directory.join("glibc-hwcaps")).into_iter().flatten();
        if builds.flatten().any(|build| build.path().join(name).exists()) {
            return Err(needer.undetermined(name.as_bytes(), SEVERAL));
        }
        Ok(self.fitting(&directory.join(name)))
    }

    /// What the loader would take: others it passes over.
    fn fitting(&self, path: &Path) -> Option<(OpenedFile, Object)> {
        let (file, object) = opened(path).ok()?;
        object.filter(|object| object.machine == self.machine).map(|object| (file, object))
    }
}

const SEVERAL: &str = "there are several builds of it for different processors";

fn opened(path: &Path) -> Result<(OpenedFile, Option<Object>), MeasurementError> {
    let file = OpenedFile::open(path)?;
    let object = Object::read(file.file()).map_err(|source| unreadable(path, source))?;
    Ok((file, object))
}

/// What the administrator has every program load: paths, with a comment from `#` on.
fn preloaded() -> Result<Vec<PathBuf>, MeasurementError> {
    match std::fs::read(PRELOAD) {
        Ok(text) => Ok(paths(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(unreadable(Path::new(PRELOAD), source)),
    }
}

fn paths(text: &[u8]) -> Vec<PathBuf> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default())
        .flat_map(|line| line.split(|byte| byte.is_ascii_whitespace() || *byte == b':'))
        .filter(|path| !path.is_empty())
        .map(path_of)
        .collect()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn escape_path(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn unreadable(path: &Path, source: std::io::Error) -> MeasurementError {
    MeasurementError::Unreadable { path: escape_path(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader_cache::written;

    #[test]
    fn what_is_preloaded_is_read_as_the_loader_reads_it() {
        let text = b"/lib/a.so:/lib/b.so\t/lib/c.so # /lib/no.so\n\n# none\n/lib/d.so";
        assert_eq!(paths(text), ["/lib/a.so", "/lib/b.so", "/lib/c.so", "/lib/d.so"].map(PathBuf::from));
    }

    fn loaded() -> Loaded {
        let (file, object) = opened(Path::new("/usr/bin/env")).unwrap();
        Loaded {
            identity: file.identity(),
            path: PathBuf::from("/opt/vendor/lib/module.so"),
            object: object.unwrap(),
            needed_by: None,
        }
    }

    /// What is found for a library that is nowhere but in a cache of these places, each of them a path and whether it
    /// is for some processors only.
    fn cached(places: &[(&str, bool)]) -> Result<PathBuf, MeasurementError> {
        let places: Vec<_> = places.iter().map(|(path, some)| ("libodd.so.1", *path, *some)).collect();
        let main = loaded();
        let search = Search {
            machine: main.object.machine,
            cache: LoaderCache::parse(&written(&places)).unwrap(),
            objects: vec![main],
            names: BTreeSet::new(),
        };
        let (file, _) = search.locate(b"libodd.so.1", 0)?;
        Ok(path_of(&file.kernel_path()?))
    }

    #[test]
    fn the_first_place_in_the_cache_that_fits_is_taken() {
        let fits = ("/usr/bin/true", false);
        assert_eq!(cached(&[fits, ("/usr/bin/env", false)]).unwrap(), Path::new(fits.0));
        for passed_over in ["/etc/passwd", "/nonexistent", "/usr"] {
            assert_eq!(cached(&[(passed_over, false), fits]).unwrap(), Path::new(fits.0), "{passed_over}");
        }
        for none in [&[][..], &[("/etc/passwd", false)]] {
            assert!(matches!(cached(none), Err(MeasurementError::LibraryNotFound { .. })));
        }
    }

    #[test]
    fn a_library_with_several_builds_is_refused() {
        let error = cached(&[("/usr/bin/true", true), ("/usr/bin/true", false)]).unwrap_err();
        assert!(matches!(error, MeasurementError::LibraryUndetermined { .. }), "{error}");
    }

    #[test]
    fn a_directory_with_several_builds_of_a_library_is_refused() {
        let keep = tempfile::tempdir().unwrap();
        let build = keep.path().join("glibc-hwcaps/x86-64-v3");
        std::fs::create_dir_all(&build).unwrap();
        std::fs::copy("/usr/bin/true", keep.path().join("libodd.so.1")).unwrap();
        let main = loaded();
        let search = Search {
            machine: main.object.machine,
            cache: LoaderCache::default(),
            objects: Vec::new(),
            names: BTreeSet::new(),
        };
        let look = || search.in_directory(keep.path(), b"libodd.so.1", &main);
        assert!(look().unwrap().is_some());
        std::fs::write(build.join("libodd.so.1"), "").unwrap();
        assert!(matches!(look(), Err(MeasurementError::LibraryUndetermined { .. })));
    }

    #[test]
    fn the_origin_is_the_directory_of_who_names_it() {
        let directories = loaded().directories(b"$ORIGIN/../lib:${ORIGIN}:/opt/x").unwrap();
        assert_eq!(directories, ["/opt/vendor/lib/../lib", "/opt/vendor/lib", "/opt/x"].map(PathBuf::from));
    }

    #[test]
    fn a_directory_that_depends_on_more_is_refused() {
        for list in ["$LIB", "/usr/$PLATFORM", "", "lib", "/opt:", "$ORIGIN/${LIB}"] {
            let error = loaded().directories(list.as_bytes()).unwrap_err();
            assert!(matches!(error, MeasurementError::LibraryUndetermined { .. }), "{list}: {error}");
        }
    }
}
