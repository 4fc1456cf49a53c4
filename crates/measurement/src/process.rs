//! The whole measurement of a process, put together from its parts.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attestation::component::{Component, MeasuredFile, Runtime};
use attestation::digest::escape;

use crate::error::MeasurementError;
use crate::files::FileIdentity;
use crate::hashing::{Hasher, Hashing};
use crate::mapped::{Found, MappedFile};
use crate::maps::{MappedName, Mapping, Source};
use crate::runtime::Status;
use crate::subject::Subject;
use crate::text_pages::PageMap;
use crate::{arguments, environment, principal, scripts};

/// How often the set of mapped files may change under the measurement before it is given up.
pub(crate) const ATTEMPTS: usize = 3;

/// What the caller knows about the component that it runs in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The name in the local configuration.
    pub name: &'a str,
    /// The declared configuration files; a symbolic link is measured as what it leads to.
    pub configuration: &'a [PathBuf],
}

/// Measures the calling process.
///
/// # Errors
/// [`MeasurementError`]: one probe that fails is enough. Among others a process that is not dumpable may not read
/// its own page map and environment unless it is root's, and cannot be measured from inside.
pub fn measure_self(request: &Request<'_>, hashing: &Hashing<'_>) -> Result<Component, MeasurementError> {
    let (subject, hasher) = (Subject::own()?, &mut Hasher::new(hashing));
    let code = settled(
        || subject.mappings(),
        |mappings| {
            let mut pages = PageMap::open(subject.process())?;
            Code::measure(&subject, mappings, &mut |range| pages.modified(range), hasher)
        },
    )?;
    whole(&subject, code, request, hasher).map(|(component, _)| component)
}

/// The component that `subject` is with these `mappings` and their `modified` pages, and the paths of the files that it was
/// asked about, script and configuration.
pub(crate) fn measure(
    subject: &Subject,
    mappings: &[Mapping],
    modified: &mut Modified<'_>,
    request: &Request<'_>,
    hasher: &mut Hasher<'_>,
) -> Result<(Component, Vec<PathBuf>), MeasurementError> {
    whole(subject, Code::measure(subject, mappings, modified, hasher)?, request, hasher)
}

fn whole(
    subject: &Subject,
    code: Code,
    request: &Request<'_>,
    hasher: &mut Hasher<'_>,
) -> Result<(Component, Vec<PathBuf>), MeasurementError> {
    let process = subject.process();
    let (path, executable) = code.executable(subject, hasher)?;
    let arguments = arguments::read(process)?;
    let status = Status::read(process)?;
    let ids = subject.ids(&status)?;
    let script = scripts::find(&path, &arguments)?;
    let mut files = |paths: &[PathBuf]| sorted(paths.iter().map(|path| named(subject, path, hasher)));
    let component = Component {
        name: request.name.to_owned(),
        principal: principal::read(process, ids)?,
        scripts: files(script.as_slice())?,
        executable,
        configuration: files(request.configuration)?,
        argv: arguments.iter().map(|argument| escape(argument)).collect(),
        environment: environment::read(process)?,
        runtime: Runtime {
            traced: status.traced,
            no_new_privs: status.no_new_privs,
            seccomp: status.seccomp,
            dumpable: subject.dumpable(ids)?,
            anonymous_executable: code.anonymous,
            deleted_executable: code.deleted,
            memfd_executable: code.memfd,
            writable_executable: code.writable,
            modified_text_pages: code.modified_pages,
        },
        mappings: sorted(code.files.into_iter().map(|(_, file)| Ok(file)))?,
    };
    Ok((component, script.into_iter().chain(request.configuration.iter().cloned()).collect()))
}

/// The paths of the files that `subject` will be asked about.
pub(crate) fn named_files(
    subject: &Subject,
    request: &Request<'_>,
) -> Result<Vec<PathBuf>, MeasurementError> {
    let process = subject.process();
    let script = scripts::find(&process.link("exe")?, &arguments::read(process)?)?;
    Ok(script.into_iter().chain(request.configuration.iter().cloned()).collect())
}

/// Measures the regular file that `path` leads `subject` to, and shows it by the kernel's path for it.
fn named(subject: &Subject, path: &Path, hasher: &mut Hasher<'_>) -> Result<MeasuredFile, MeasurementError> {
    let file = subject.open(path)?;
    let shown = file.kernel_path()?;
    file.measure(&shown, hasher)
}

/// Measures the file that is mapped executable at `address`: of a loaded library, what is loaded, by whatever name
/// the loader was given.
///
/// # Errors
/// [`MeasurementError`], among others where the file on disk is no longer the one that is mapped.
pub fn measure_object(address: *const (), hashing: &Hashing<'_>) -> Result<MeasuredFile, MeasurementError> {
    let wanted = address.addr();
    let mapping =
        Subject::own()?.mappings()?.into_iter().find(|mapping| mapping.range.contains(&(wanted as u64)));
    let Some(Mapping { source: Source::File(name), .. }) = mapping else {
        return Err(MeasurementError::NoMapping { address: wanted });
    };
    match MappedFile::find(&name)? {
        Found::Living(file) => file.measure(&mut Hasher::new(hashing)),
        Found::Deleted | Found::SharedMemory => Err(MeasurementError::Deleted { path: escape(&name.name) }),
    }
}

/// Measures what is mapped, and looks again whether that still is what is mapped: other threads go on loading
/// libraries meanwhile.
fn settled<T>(
    mut look: impl FnMut() -> Result<Vec<Mapping>, MeasurementError>,
    mut measure: impl FnMut(&[Mapping]) -> Result<T, MeasurementError>,
) -> Result<T, MeasurementError> {
    let mut mappings = look()?;
    for _ in 0..ATTEMPTS {
        let measured = measure(&mappings)?;
        let again = look()?;
        if sources(&mappings) == sources(&again) {
            return Ok(measured);
        }
        mappings = again;
    }
    Err(MeasurementError::MappingsUnsettled)
}

/// How many pages of a private mapping of a file are the process's own copies.
pub(crate) type Modified<'a> = dyn FnMut(&Range<u64>) -> Result<u64, MeasurementError> + 'a;

/// All executable code of the process.
#[derive(Default)]
struct Code {
    /// A file with two names that are both mapped is here twice.
    files: Vec<(FileIdentity, MeasuredFile)>,
    anonymous: u32,
    deleted: u32,
    memfd: u32,
    writable: u32,
    modified_pages: u64,
}

impl Code {
    fn measure(
        subject: &Subject,
        mappings: &[Mapping],
        modified: &mut Modified<'_>,
        hasher: &mut Hasher<'_>,
    ) -> Result<Self, MeasurementError> {
        let mut code = Self::default();
        let mut known = BTreeMap::new();
        for mapping in mappings {
            code.add(subject, mapping, &mut known, modified, hasher)?;
        }
        Ok(code)
    }

    fn add<'a>(
        &mut self,
        subject: &Subject,
        mapping: &'a Mapping,
        known: &mut BTreeMap<&'a MappedName, Kind>,
        modified: &mut Modified<'_>,
        hasher: &mut Hasher<'_>,
    ) -> Result<(), MeasurementError> {
        self.writable += u32::from(mapping.writable);
        let kind = match &mapping.source {
            Source::Anonymous => Kind::Anonymous,
            Source::Kernel => return Ok(()),
            Source::Memfd => Kind::Memfd,
            Source::File(name) => match known.get(name) {
                Some(kind) => *kind,
                None => {
                    let found = subject.find(&mapping.range, name, &hasher.places)?;
                    let kind = self.add_file(found, hasher)?;
                    known.insert(name, kind);
                    kind
                }
            },
        };
        match kind {
            Kind::Anonymous => self.anonymous += 1,
            Kind::Deleted => self.deleted += 1,
            Kind::Memfd => self.memfd += 1,
            Kind::Measured => {}
        }
        // A private mapping of anything that is a file to the kernel; anonymous memory has no original to compare.
        if matches!(kind, Kind::Deleted | Kind::Measured) && !mapping.shared {
            self.modified_pages += modified(&mapping.range)?;
        }
        Ok(())
    }

    fn add_file(&mut self, found: Found, hasher: &mut Hasher<'_>) -> Result<Kind, MeasurementError> {
        match found {
            Found::Deleted => Ok(Kind::Deleted),
            Found::SharedMemory => Ok(Kind::Anonymous),
            Found::Living(file) => {
                self.files.push((file.identity(), file.measure(hasher)?));
                Ok(Kind::Measured)
            }
        }
    }

    /// The executable's path as the kernel has it, and its measurement; one without a name any more is counted among the
    /// deleted ones.
    fn executable(
        &self,
        subject: &Subject,
        hasher: &mut Hasher<'_>,
    ) -> Result<(Vec<u8>, MeasuredFile), MeasurementError> {
        let path = subject.process().link("exe")?;
        let file = subject.executable()?;
        let file_identity = file.identity();
        let shown = escape(&path);
        let mapped =
            self.files.iter().find(|(identity, file)| *identity == file_identity && file.path == shown);
        let measured = match mapped {
            Some((_, mapped)) => mapped.clone(),
            None => file.measure(&path, hasher)?,
        };
        Ok((path, measured))
    }
}

/// What was found behind a mapping.
#[derive(Clone, Copy)]
enum Kind {
    Anonymous,
    Deleted,
    Measured,
    Memfd,
}

/// The files and kinds of memory that are mapped, whatever their number: a JIT compiler's mappings come and go.
fn sources(mappings: &[Mapping]) -> BTreeSet<&Source> {
    mappings.iter().map(|mapping| &mapping.source).collect()
}

/// By path, each once.
pub(crate) fn sorted(
    files: impl Iterator<Item = Result<MeasuredFile, MeasurementError>>,
) -> Result<Vec<MeasuredFile>, MeasurementError> {
    let files: Vec<_> = files.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
    match files.array_windows().find(|[one, other]| one.path == other.path) {
        // Read twice, by two of its names, with two results.
        Some([one, _]) => Err(MeasurementError::Changed { path: one.path.clone() }),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> Mapping {
        let name = MappedName { device: (0, 1), inode, name: b"/lib".to_vec() };
        Mapping { range: 0..4096, writable: false, shared: false, source: Source::File(name) }
    }

    /// Measures where the files that are mapped change at every look, as told: the measured inodes, and how
    /// often it was measured.
    fn with_looks(looks: &[&[u64]]) -> (Result<Vec<Mapping>, MeasurementError>, usize) {
        let mut looks = looks.iter();
        let mut measured = 0;
        let look = || Ok(looks.next().unwrap().iter().map(|inode| file(*inode)).collect());
        let result = settled(look, |mappings| {
            measured += 1;
            Ok(mappings.to_vec())
        });
        (result, measured)
    }

    #[test]
    fn a_library_that_is_loaded_meanwhile_is_measured_too() {
        let (result, measured) = with_looks(&[&[1], &[1, 2], &[1, 2]]);
        assert_eq!((result.unwrap(), measured), (vec![file(1), file(2)], 2));
    }

    #[test]
    fn a_second_mapping_of_a_measured_file_changes_nothing() {
        let (result, measured) = with_looks(&[&[1], &[1, 1]]);
        assert_eq!((result.unwrap(), measured), (vec![file(1)], 1));
    }

    #[test]
    fn a_process_that_never_settles_is_refused() {
        let (result, measured) = with_looks(&[&[1], &[2], &[3], &[4]]);
        assert!(matches!(result, Err(MeasurementError::MappingsUnsettled)));
        assert_eq!(measured, ATTEMPTS);
    }
}
