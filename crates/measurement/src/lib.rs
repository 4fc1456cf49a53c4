//! Probes that measure a process: who runs it, which code is mapped, from which files, in which state. The calling process
//! measures itself, or another one from outside ([`peer`]); and what a program that does not run yet would be measured as
//! is told from its files.
//!
//! A probe that fails is an error, never a gap in the measurement. Everything runs on the caller's thread inside
//! other people's programs: no panic, no thread, no output, bounded memory. What it cannot see is said where it
//! is not seen: a process that lies to itself about itself is outside of what inline measuring can tell.

#![forbid(unsafe_code)]

mod arguments;
mod build_id;
#[cfg(test)]
mod cached_files_tests;
mod digest_cache;
mod elf;
mod environment;
mod error;
mod files;
mod hashing;
mod host;
mod inside;
mod libraries;
mod loader_cache;
mod mapped;
#[cfg(not(fuzzing))]
mod maps;
// For the fuzz target of its name.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod maps;
mod needed;
pub mod peer;
mod principal;
mod proc_file;
mod process;
mod program;
mod runtime;
mod scripts;
mod subject;
mod text_pages;
mod trusted_place;

pub use digest_cache::{CacheFigures, DigestCache};
pub use error::MeasurementError;
pub use files::measure_file;
pub use hashing::Hashing;
pub use host::{boot_id, host_name};
pub use loader_cache::cached_libraries;
pub use needed::soname;
pub use process::{Request, measure_object, measure_self};
pub use program::{Program, measure_program};
