//! Another process, measured from outside: held so that nobody else can take its place, confirmed by a nonce in its own
//! memory, and then measured and looked at.
//!
//! The types are the order of things: `Connected`, `Pinned`, `Confirmed`. Only a confirmed process can be measured, and a
//! measurement of one that has ended or executed a program meanwhile does not exist.
//!
//! What a process has under its own control can make whoever reads it wait: its memory (userfaultfd), files of a file
//! system that it serves (FUSE). Everything here but pinning therefore belongs into a process that can be killed.
//! Arguments and environment are the process's own memory, too: as it was started, or what it has written there since.

mod connected;
mod image;
mod start;
mod state;

use core::fmt;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use attestation::component::Component;
use attestation::digest::Digest;
use linux_ffi::NONCE;
use linux_ffi::peer::is_alive;

use crate::error::MeasurementError;
use crate::hashing::{Hasher, Hashing};
use crate::proc_file::ProcessDirectory;
use crate::process::{self, ATTEMPTS, Request};
use crate::subject::Subject;

pub use connected::Connected;
use connected::{ended, refuse_foreign};
use state::State;

/// A process that nobody else can be taken for: a hold on it, and its memory as it was before it was asked for anything.
///
/// When the process executes a program, its new memory is another one, and the held one is empty.
#[derive(Debug)]
pub struct Pinned {
    pid: u32,
    pidfd: OwnedFd,
    memory: File,
}

/// What a pinned process is held by, to be handed to another process of the guard's.
#[derive(Debug)]
pub struct Parts {
    /// The process's number.
    pub pid: u32,
    /// The hold on it.
    pub pidfd: OwnedFd,
    /// Its memory, `/proc/PID/mem`.
    pub memory: OwnedFd,
}

impl Pinned {
    /// The process's number, its own for as long as it lives.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The hold on the process: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The process's memory, to be handed on.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// [`MeasurementError::Linux`].
    pub fn is_alive(&self) -> Result<bool, MeasurementError> {
        Ok(is_alive(self.pidfd.as_fd())?)
    }

    /// What it is held by.
    pub fn into_parts(self) -> Parts {
        Parts { pid: self.pid, pidfd: self.pidfd, memory: self.memory.into() }
    }

    /// Takes over what another process of the guard's has pinned, and believes it that it belongs together.
    ///
    /// # Errors
    /// [`MeasurementError::Ended`].
    pub fn from_parts(parts: Parts) -> Result<Self, MeasurementError> {
        let pinned = Self { pid: parts.pid, pidfd: parts.pidfd, memory: parts.memory.into() };
        if pinned.is_alive()? { Ok(pinned) } else { Err(MeasurementError::Ended) }
    }

    /// Reads `nonce` back at `address`, where the process says that it has put it, and takes note of the program that it
    /// executes.
    ///
    /// The nonce must be fresh and told to nobody but through that process's connection.
    ///
    /// # Errors
    /// [`MeasurementError::NonceMissing`] where something else is there, or nothing; [`MeasurementError::Executed`] where the
    /// process has executed a program since it was pinned; [`MeasurementError::Ended`].
    pub fn confirm(self, address: u64, nonce: [u8; NONCE]) -> Result<Confirmed, MeasurementError> {
        let directory = ProcessDirectory::of(self.pid).map_err(ended)?;
        let image = image::of(&directory, &self.memory)?;
        let confirmed = Confirmed { pinned: self, address, nonce, image };
        confirmed.lives_on()?;
        confirmed.is_same_program()?;
        Ok(confirmed)
    }

    /// Takes over what another process of the guard's has confirmed, and believes it. Nothing is read.
    pub const fn confirmed_as(self, address: u64, nonce: [u8; NONCE], image: Digest) -> Confirmed {
        Confirmed { pinned: self, address, nonce, image }
    }
}

/// The process that has answered the challenge.
pub struct Confirmed {
    pinned: Pinned,
    address: u64,
    nonce: [u8; NONCE],
    /// Of the program that it has executed.
    image: Digest,
}

/// What a process is, and the state in which it was found to be that.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What is appraised.
    pub component: Component,
    /// To be compared with a later [`Confirmed::look`]: where it is the same, the component is, too. State of this one
    /// process, and of no meaning for another.
    pub state: Digest,
    /// The files named by arguments and declaration, by the paths that [`Confirmed::look`] wants.
    pub watched: Vec<PathBuf>,
}

/// Without the nonce, which is between the guard and that process.
impl fmt::Debug for Confirmed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Confirmed").field(&self.pinned).finish()
    }
}

impl Confirmed {
    /// The pinned process.
    pub const fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// Where the nonce is.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// By what its program is told from every other, to be handed to another process of the guard's.
    pub const fn image(&self) -> Digest {
        self.image
    }

    /// Whether the nonce still is in the process's memory: it is not once it has executed a program. One read of 32 bytes,
    /// for each message that comes in. That the message is the process's own has to be told by its sender.
    ///
    /// A process that shares the memory without being a thread (`vfork`, `CLONE_VM`) keeps it readable after the pinned one
    /// has executed a program: then [`Confirmed::measure`] and [`Confirmed::look`] fail.
    ///
    /// # Errors
    /// [`MeasurementError::NonceMissing`], [`MeasurementError::Ended`].
    pub fn holds(&self) -> Result<(), MeasurementError> {
        let mut found = [0; NONCE];
        match self.pinned.memory.read_exact_at(&mut found, self.address) {
            Ok(()) if found == self.nonce => Ok(()),
            _ if self.pinned.is_alive()? => Err(MeasurementError::NonceMissing),
            _ => Err(MeasurementError::Ended),
        }
    }

    /// The file that it executes, by the path that the kernel has for it.
    ///
    /// # Errors
    /// As [`Confirmed::look`].
    pub fn executable(&self) -> Result<PathBuf, MeasurementError> {
        self.while_it_lives(|subject| subject.process().link("exe"))
            .map(|path| PathBuf::from(OsString::from_vec(path)))
    }

    /// Measures the process as it would measure itself ([`crate::measure_self`]), by what the kernel says and by the very
    /// files that it has mapped, in whatever mount namespace. Takes `CAP_SYS_PTRACE`, `CAP_CHECKPOINT_RESTORE` and
    /// `CAP_DAC_READ_SEARCH`.
    ///
    /// # Errors
    /// [`MeasurementError`]: one probe that fails is enough. [`MeasurementError::Untrusted`] where the process's user can
    /// change a file that counts, [`MeasurementError::MixedCredentials`] where it has more than one user.
    pub fn measure(
        &self,
        request: &Request<'_>,
        hashing: &Hashing<'_>,
    ) -> Result<Measurement, MeasurementError> {
        self.while_it_lives(|subject| {
            for _ in 0..ATTEMPTS {
                if let Some(measurement) = measure_once(subject, request, hashing)? {
                    return Ok(measurement);
                }
            }
            Err(MeasurementError::MappingsUnsettled)
        })
    }

    /// The state in which the process is: what is mapped executable and from where, pages of it that were modified, tracer,
    /// restrictions, user, control group, namespaces, executed file; and which files are at the `watched` paths, and when
    /// they were changed.
    ///
    /// Without reading any file but those of procfs. Arguments are left out: a program may use them as its title.
    ///
    /// # Errors
    /// As [`Confirmed::measure`]; an error counts as another state.
    pub fn look(&self, watched: &[PathBuf]) -> Result<Digest, MeasurementError> {
        self.while_it_lives(|subject| Ok(State::of(subject, watched)?.digest))
    }

    /// What `probe` finds, if the process lives before and after with the memory that it had when it was pinned.
    fn while_it_lives<T>(
        &self,
        probe: impl FnOnce(&Subject) -> Result<T, MeasurementError>,
    ) -> Result<T, MeasurementError> {
        self.lives_on()?;
        let found = Subject::other(self.pinned.pid).and_then(|subject| {
            // The number is that process's for as long as it lives, and so is the directory.
            self.lives_on()?;
            self.is_same_program()?;
            refuse_foreign(subject.process())?;
            // What it runs now must be what was pinned: a sibling that shares the old memory keeps that readable.
            self.is_in(&subject)?;
            let found = probe(&subject)?;
            self.is_in(&subject)?;
            Ok(found)
        });
        // Before its errors: that the process has ended, or executes something else, explains all of them.
        self.lives_on()?;
        self.is_same_program()?;
        found
    }

    /// That it has not executed a program since it was confirmed. Somebody else may have kept its old memory alive, with the
    /// nonce in it, and what was sent in its name before may still be under way.
    fn is_same_program(&self) -> Result<(), MeasurementError> {
        let directory = ProcessDirectory::of(self.pinned.pid).map_err(ended)?;
        let now = image::now(&directory).map_err(ended)?;
        if now == self.image { Ok(()) } else { Err(MeasurementError::Executed) }
    }

    /// Whether the nonce is in the memory that the process has at this moment.
    fn is_in(&self, subject: &Subject) -> Result<(), MeasurementError> {
        let mut found = [0; NONCE];
        match subject.process().open("mem")?.read_exact_at(&mut found, self.address) {
            Ok(()) if found == self.nonce => Ok(()),
            _ => Err(MeasurementError::NonceMissing),
        }
    }

    fn lives_on(&self) -> Result<(), MeasurementError> {
        self.holds()?;
        if self.pinned.is_alive()? { Ok(()) } else { Err(MeasurementError::Ended) }
    }
}

/// Nothing where the process changes under the measurement.
///
/// The measurement is of the very mappings that the state was seen with, and state that can come and go, such as a tracer,
/// must be the same in both: so that no state is called measured that was not.
fn measure_once(
    subject: &Subject,
    request: &Request<'_>,
    hashing: &Hashing<'_>,
) -> Result<Option<Measurement>, MeasurementError> {
    let watched = process::named_files(subject, request)?;
    let state = State::of(subject, &watched)?;
    let hasher = &mut Hasher::among(hashing, subject.places(state.ids)?);
    let modified = &mut |range: &_| state.modified(range);
    let (component, measured) = match process::measure(subject, &state.mappings, modified, request, hasher) {
        Err(MeasurementError::MappingsUnsettled) => return Ok(None),
        other => other?,
    };
    let is_same = measured == watched
        && state.is_of(&component)
        && State::of(subject, &watched)?.digest == state.digest;
    Ok(is_same.then_some(Measurement { component, state: state.digest, watched }))
}
