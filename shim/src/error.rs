//! Why the shim cannot start.

use std::path::PathBuf;

/// `C_Initialize` fails with `CKR_GENERAL_ERROR` for one of these; the log says which.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration file.
    #[error(transparent)]
    Configuration(#[from] configuration::ConfigurationError),
    /// The real module.
    #[error("[real_module] path: {0}")]
    Module(#[from] cryptoki_ffi::ModuleError),
    /// A forked child: what the parent had initialised is there, and cannot be ended.
    #[error(
        "the real module holds on to what the parent process had initialised, and cannot be begun anew: another thread \
         was in it when this process was forked"
    )]
    InUseAtFork,
    /// What guarded mode takes.
    #[error("{path:?}: `mode = \"guarded\"`: the client of the guard is not in this build")]
    NoGuardClient { path: PathBuf },
    /// The page that tells a child from its parent.
    #[error("no wipe-on-fork page: {0}")]
    Linux(#[from] linux_ffi::LinuxError),
    /// The attester cannot be set up.
    #[error(transparent)]
    Attester(#[from] attester::AttesterError),
    /// The attestation key's URI.
    #[error(transparent)]
    Place(#[from] gated_module::PlaceError),
}
