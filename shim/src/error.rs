//! Why the shim cannot start.

use cryptoki_ffi::CK_RV;
use cryptoki_sys::CKR_GENERAL_ERROR;

use crate::guarded::Unreachable;

/// `C_Initialize` fails for one of these; the log says which.
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
    /// The guard, which there is nothing to fall back from.
    #[error(transparent)]
    Guard(#[from] Unreachable),
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

impl StartError {
    /// What `C_Initialize` answers.
    pub(crate) const fn rv(&self) -> CK_RV {
        match self {
            // The guard is there, and has its reasons.
            Self::Guard(Unreachable::Turned { code, .. }) if *code != 0 => *code,
            _ => CKR_GENERAL_ERROR,
        }
    }
}
