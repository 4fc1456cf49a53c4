//! One number for the state of a process: it changes whenever the process's measurement might.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use attestation::component::{Component, Principal, Runtime};
use attestation::digest::Digest;
use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::error::MeasurementError;
use crate::files::FileIdentity;
use crate::maps::{MappedName, Mapping, Source};
use crate::principal;
use crate::proc_file::{ProcessDirectory, unreadable};
use crate::process::ATTEMPTS;
use crate::runtime::{Ids, Status};
use crate::subject::Subject;
use crate::text_pages::PageMap;

const NAMESPACES: &[&str] = &["ns/user", "ns/pid", "ns/mnt"];

/// What was seen of a process at one time.
#[derive(Debug)]
pub(super) struct State {
    /// Of everything that was seen.
    pub(super) digest: Digest,
    pub(super) mappings: Vec<Mapping>,
    pub(super) ids: Ids,
    /// Pages of private mappings of files that are the process's own copies, by where the mapping begins.
    modified: BTreeMap<u64, u64>,
    status: Status,
    dumpable: bool,
    principal: Principal,
}

impl State {
    /// The state that `subject` is in, and the versions of the files at the `watched` paths.
    pub(super) fn of(subject: &Subject, watched: &[PathBuf]) -> Result<Self, MeasurementError> {
        for _ in 1..ATTEMPTS {
            match Self::seen(subject, watched) {
                Err(MeasurementError::MappingsUnsettled) => {}
                other => return other,
            }
        }
        Self::seen(subject, watched)
    }

    /// Whether `component` has what comes and goes as it was seen here.
    pub(super) fn is_of(&self, component: &Component) -> bool {
        let Runtime { traced, no_new_privs, seccomp, dumpable, .. } = component.runtime;
        component.principal == self.principal
            && (traced, no_new_privs, seccomp, dumpable)
                == (self.status.traced, self.status.no_new_privs, self.status.seccomp, self.dumpable)
    }

    /// As it was seen here, of one of the mappings.
    pub(super) fn modified(&self, range: &Range<u64>) -> Result<u64, MeasurementError> {
        self.modified.get(&range.start).copied().ok_or(MeasurementError::MappingsUnsettled)
    }

    fn seen(subject: &Subject, watched: &[PathBuf]) -> Result<Self, MeasurementError> {
        let process = subject.process();
        let mut seen = Seen(Sha256::new());
        seen.bytes(b"trustshim process state 1");
        let mappings = subject.mappings()?;
        let modified = code(&mut seen, process, &mappings)?;
        let status = Status::read(process)?;
        let ids = subject.ids(&status)?;
        let dumpable = subject.dumpable(ids)?;
        seen.numbers([
            status.traced.into(),
            status.no_new_privs.into(),
            status.seccomp.into(),
            dumpable.into(),
            ids.uid.into(),
            ids.gid.into(),
        ]);
        let principal = principal::read(process, ids)?;
        seen.bytes(principal.unit.as_deref().unwrap_or_default().as_bytes());
        for name in NAMESPACES {
            seen.bytes(&process.link(name)?);
        }
        seen.bytes(&process.link("exe")?);
        seen.identity(subject.executable_identity()?);
        for path in watched {
            seen.bytes(path.as_os_str().as_encoded_bytes());
            seen.version(&subject.stat(path)?);
        }
        Ok(Self { digest: seen.digest(), mappings, ids, modified, status, dumpable, principal })
    }
}

/// Code of files is told mapping by mapping. A program that compiles at run time changes its own all the time: of that
/// the number counts, as in the measurement.
fn code(
    seen: &mut Seen,
    process: &ProcessDirectory,
    mappings: &[Mapping],
) -> Result<BTreeMap<u64, u64>, MeasurementError> {
    let mut pages = PageMap::open(process)?;
    let mut modified = BTreeMap::new();
    let mut known = BTreeSet::new();
    let [mut anonymous, mut memory_files, mut writable] = [0_u64; 3];
    for mapping in mappings {
        writable += u64::from(mapping.writable);
        let name = match &mapping.source {
            Source::Kernel => continue,
            Source::Anonymous => {
                anonymous += 1;
                continue;
            }
            Source::Memfd => {
                memory_files += 1;
                continue;
            }
            Source::File(name) => name,
        };
        let range = &mapping.range;
        seen.numbers([range.start, range.end, mapping.writable.into(), mapping.shared.into()]);
        seen.bytes(&name.name);
        if known.insert(name) {
            seen.version(&version(process, mapping, name)?);
        }
        if !mapping.shared {
            let count = pages.modified(range)?;
            seen.number(count);
            modified.insert(range.start, count);
        }
    }
    seen.numbers([anonymous, memory_files, writable]);
    Ok(modified)
}

/// Of the mapped file itself, which may be changed where it is.
fn version(
    process: &ProcessDirectory,
    mapping: &Mapping,
    name: &MappedName,
) -> Result<Stat, MeasurementError> {
    let link = format!("map_files/{:x}-{:x}", mapping.range.start, mapping.range.end);
    match statat(process, &link, AtFlags::empty()) {
        Ok(stat) if FileIdentity::of(&stat).inode == name.inode => Ok(stat),
        Ok(_) | Err(Errno::NOENT) => Err(MeasurementError::MappingsUnsettled),
        Err(errno) => Err(unreadable(&process.path_of(&link), errno.into())),
    }
}

/// Everything that is seen, each part with its length, so that no two states read the same.
struct Seen(Sha256);

impl Seen {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn numbers<const COUNT: usize>(&mut self, numbers: [u64; COUNT]) {
        for number in numbers {
            self.number(number);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn identity(&mut self, FileIdentity { device: (major, minor), inode }: FileIdentity) {
        self.numbers([major.into(), minor.into(), inode]);
    }

    fn version(&mut self, stat: &Stat) {
        self.identity(FileIdentity::of(stat));
        self.numbers([stat.st_size, stat.st_mtime, stat.st_ctime].map(i64::cast_unsigned));
        self.numbers([stat.st_mtime_nsec, stat.st_ctime_nsec]);
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::{Hasher, Hashing};
    use crate::process::{self, Request};

    #[test]
    fn a_component_of_another_state_is_told() {
        let subject = Subject::other(std::process::id()).unwrap();
        let state = State::of(&subject, &[]).unwrap();
        let request = Request { name: "test", configuration: &[] };
        let modified = &mut |range: &_| state.modified(range);
        let hasher = &mut Hasher::new(&Hashing::afresh());
        let (component, _) = process::measure(&subject, &state.mappings, modified, &request, hasher).unwrap();
        assert!(state.is_of(&component));
        let changes: [fn(&mut Component); 6] = [
            |component| component.runtime.traced ^= true,
            |component| component.runtime.no_new_privs ^= true,
            |component| component.runtime.seccomp += 1,
            |component| component.runtime.dumpable ^= true,
            |component| component.principal.uid += 1,
            |component| component.principal.unit = Some("other.service".to_owned()),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = component.clone();
            change(&mut other);
            assert!(!state.is_of(&other), "{index}");
        }
        assert!(state.modified(&(1..2)).is_err(), "of no mapping that was seen");
    }

    #[test]
    fn parts_are_kept_apart() {
        let digest = |parts: &[&[u8]]| {
            let mut seen = Seen(Sha256::new());
            parts.iter().for_each(|part| seen.bytes(part));
            seen.digest()
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
    }
}
