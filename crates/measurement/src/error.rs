//! Why a measurement could not be made. Paths in here are escaped.

use std::io;

use linux_ffi::LinuxError;

/// Why a measurement could not be made; there is no partial one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeasurementError {
    #[error("the process has more than {limit} bytes of arguments")]
    ArgumentsTooLong { limit: usize },
    #[error("{path} changed while it was measured")]
    Changed { path: String },
    #[error("{path} was deleted while it was measured")]
    Deleted { path: String },
    /// Btrfs subvolumes, and overlays before Linux 6.8, show another device to `stat` than in the map.
    #[error(
        "{path} is on device {found} but is mapped from device {mapped}: another file, or a file system that shows two device numbers (btrfs, overlayfs)"
    )]
    DeviceMismatch { path: String, mapped: String, found: String },
    #[error("the process has ended")]
    Ended,
    #[error("the environment holds {name} twice")]
    EnvironmentAmbiguous { name: String },
    #[error("the environment variables that steer code loading have more than {limit} bytes")]
    EnvironmentTooLong { limit: usize },
    #[error("the process is in a user namespace of its own, where a user id is whatever its maker wants")]
    ForeignUserNamespace,
    #[error("the library {name} that {needed_by} needs cannot be found")]
    LibraryNotFound { name: String, needed_by: String },
    #[error(
        "which library {name} {needed_by} would load cannot be told: {reason}; measure the program while it runs"
    )]
    LibraryUndetermined { name: String, needed_by: String, reason: &'static str },
    #[error(transparent)]
    Linux(#[from] LinuxError),
    #[error("{path} is no longer the file that is mapped")]
    MappingReplaced { path: String },
    #[error("the executable mappings kept changing while they were measured")]
    MappingsUnsettled,
    #[error("{path}: {reason}")]
    Malformed { path: String, reason: &'static str },
    #[error("the map of the process's memory: line {line} cannot be understood")]
    MapsMalformed { line: usize },
    #[error("no file is mapped at {address:#x}")]
    NoMapping { address: usize },
    /// Real, effective, saved and file system ids of all threads must agree: else there is no one user to judge.
    #[error("the process acts as more than one user or group")]
    MixedCredentials,
    #[error(
        "the nonce is not in the process's memory: another process answers, or it has executed a program"
    )]
    NonceMissing,
    #[error(
        "{path} is no ELF file for this machine: of a script, measure the interpreter with the script as its argument"
    )]
    NotAProgram { path: String },
    #[error("{path} is not on procfs")]
    NotProcfs { path: String },
    #[error("{path} is not a regular file")]
    NotRegular { path: String },
    #[error("the process has executed another program since it has connected")]
    Executed,
    #[error("the number of the process that has connected belongs to another one by now")]
    NumberReused,
    #[error("the time that the measurement may take is over")]
    OutOfTime,
    #[error(
        "the script that the interpreter runs cannot be told from its argument `{argument}`: give it by its absolute path"
    )]
    ScriptUndetermined { argument: String },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: String, limit: u64 },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("{path} is not trusted: {reason}")]
    Untrusted { path: String, reason: &'static str },
    #[error("{path}: {source}")]
    Unreadable { path: String, source: io::Error },
}
