//! Why a part of the guard cannot go on.

use std::io;
use std::path::PathBuf;

/// What ends a role, a client's connection, or one request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// The configuration file.
    #[error(transparent)]
    Configuration(#[from] configuration::ConfigurationError),
    /// The socket that applications connect to.
    #[error("[guard] socket: {path:?}: {source}")]
    Listening { path: PathBuf, source: io::Error },
    /// A user or group that the configuration names.
    #[error("[guard] {key}: there is no {name}")]
    NoSuchName { key: &'static str, name: String },
    /// The real module.
    #[error("[real_module] path: {0}")]
    Module(#[from] cryptoki_ffi::ModuleError),
    /// Where the attestation key is said to be.
    #[error(transparent)]
    Place(#[from] gated_module::PlaceError),
    /// The attester cannot be set up.
    #[error(transparent)]
    Attester(#[from] attester::AttesterError),
    /// A file with a PIN.
    #[error("the PIN in {path:?}: {source}")]
    PinFile { path: PathBuf, source: io::Error },
    /// Rights could not be given up.
    #[error("this process cannot be confined: {0}")]
    Confinement(#[source] linux_ffi::LinuxError),
    /// A role could not be started.
    #[error("the {role} cannot be started: {source}")]
    NotStarted { role: &'static str, source: io::Error },
    /// A role started, and gave up.
    #[error("the {role} gave up: {reason}")]
    GaveUp { role: &'static str, reason: String },
    /// A file that is there on every host.
    #[error("{path}: {source}")]
    Unreadable { path: &'static str, source: io::Error },
    /// The kernel.
    #[error(transparent)]
    Linux(#[from] linux_ffi::LinuxError),
    /// A channel between the guard's own processes.
    #[error("a channel between the guard's processes: {0}")]
    Channel(#[source] io::Error),
    /// The process at the other end of a channel has ended.
    #[error("the process at the other end has ended")]
    OtherSideGone,
    /// A message beyond the bound.
    #[error("a message between the guard's processes is too large")]
    MessageTooLarge,
    /// A message that has no place there.
    #[error("a message between the guard's processes is out of place")]
    OutOfPlace,
    /// What a client sent.
    #[error("what the client sent: {0}")]
    Wire(#[from] guard_wire::WireError),
    /// The client is not who it must be.
    #[error(transparent)]
    Peer(#[from] measurement::MeasurementError),
    /// The stream ended within a frame.
    #[error("the stream ended in the middle of a frame")]
    CutShort,
    /// Another process has the connection.
    #[error("it came from another process ({pid:?}) than the one that was pinned")]
    OtherSender { pid: Option<u32> },
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

impl GuardError {
    pub(crate) fn channel(source: io::Error) -> Self {
        Self::Channel(source)
    }
}
