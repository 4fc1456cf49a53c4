//! One number for the state of a process: it changes whenever the process's measurement might.

use std::collections::BTreeSet;
use std::path::PathBuf;

use attestation::digest::Digest;
use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::error::MeasurementError;
use crate::files::FileIdentity;
use crate::maps::{MappedName, Mapping, Source};
use crate::proc_file::{ProcessDirectory, unreadable};
use crate::process::ATTEMPTS;
use crate::runtime::Status;
use crate::subject::Subject;
use crate::text_pages::PageMap;

const NAMESPACES: &[&str] = &["ns/user", "ns/pid", "ns/mnt"];

/// The state that `subject` is in, and the versions of the files at the `watched` paths.
pub(super) fn look(subject: &Subject, watched: &[PathBuf]) -> Result<Digest, MeasurementError> {
    for _ in 1..ATTEMPTS {
        match look_once(subject, watched) {
            Err(MeasurementError::MappingsUnsettled) => {}
            other => return other,
        }
    }
    look_once(subject, watched)
}

fn look_once(subject: &Subject, watched: &[PathBuf]) -> Result<Digest, MeasurementError> {
    let process = subject.process();
    let mut seen = Seen(Sha256::new());
    seen.bytes(b"trustshim process state 1");
    code(&mut seen, process, &subject.mappings()?)?;
    let status = Status::read(process)?;
    let ids = subject.ids(&status)?;
    for number in [
        u32::from(status.traced),
        u32::from(status.no_new_privs),
        status.seccomp.into(),
        ids.uid,
        ids.gid,
        subject.dumpable(ids)?.into(),
    ] {
        seen.number(number.into());
    }
    for name in NAMESPACES {
        seen.bytes(&process.link(name)?);
    }
    seen.bytes(&process.read("cgroup", 64 * 1024)?);
    seen.bytes(&process.link("exe")?);
    seen.identity(subject.executable_identity()?);
    for path in watched {
        seen.bytes(path.as_os_str().as_encoded_bytes());
        seen.version(&subject.stat(path)?);
    }
    Ok(seen.digest())
}

/// Code of files is told mapping by mapping. A program that compiles at run time changes its own all the time: of that
/// the number counts, as in the measurement.
fn code(seen: &mut Seen, process: &ProcessDirectory, mappings: &[Mapping]) -> Result<(), MeasurementError> {
    let mut pages = PageMap::open(process)?;
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
        for number in [mapping.range.start, mapping.range.end, mapping.writable.into(), mapping.shared.into()]
        {
            seen.number(number);
        }
        seen.bytes(&name.name);
        if known.insert(name) {
            seen.version(&version(process, mapping, name)?);
        }
        seen.number(if mapping.shared { 0 } else { pages.modified(&mapping.range)? });
    }
    for number in [anonymous, memory_files, writable] {
        seen.number(number);
    }
    Ok(())
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

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn identity(&mut self, FileIdentity { device: (major, minor), inode }: FileIdentity) {
        for number in [major.into(), minor.into(), inode] {
            self.number(number);
        }
    }

    fn version(&mut self, stat: &Stat) {
        self.identity(FileIdentity::of(stat));
        for number in [stat.st_size, stat.st_mtime, stat.st_ctime] {
            self.number(number.cast_unsigned());
        }
        for number in [stat.st_mtime_nsec, stat.st_ctime_nsec] {
            self.number(number);
        }
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}
