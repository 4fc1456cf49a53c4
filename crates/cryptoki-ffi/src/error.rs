//! What can be wrong with the real module.

use std::path::PathBuf;

use cryptoki_sys::CK_RV;

/// The real module cannot be used, or refused one of the attester's own calls.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The path holds a NUL byte.
    #[error("{0:?} is no path")]
    BadPath(PathBuf),
    /// The dynamic loader refused.
    #[error("{path:?} cannot be loaded: {message}")]
    NotLoaded {
        /// The module.
        path: PathBuf,
        /// The loader's message.
        message: String,
    },
    /// There is no `C_GetFunctionList`.
    #[error("{0:?} is not a PKCS#11 module: it has no C_GetFunctionList")]
    NotAModule(PathBuf),
    /// `C_GetFunctionList` gave an error, no list, or a list of another major version.
    #[error("{0:?} gave no function list of PKCS#11 2 or 3")]
    NoList(PathBuf),
    /// The functions lead back here.
    #[error("{0:?} is Trustshim itself, or calls of its own functions come back to Trustshim")]
    Ourselves(PathBuf),
    /// No token has the label or serial number that the attestation key's URI gives.
    #[error("no token {0} is present")]
    NoToken(String),
    /// Several tokens have it.
    #[error("more than one token {0} is present: add serial= to the attestation key's URI")]
    ManyTokens(String),
    /// The attestation key is not there, or not to be seen without a login.
    #[error(
        "there is no attestation key {0} that this login can see; has it been enrolled (trustshim enroll)?"
    )]
    NoKey(String),
    /// Several keys answer to it.
    #[error("more than one key is {0}: the attestation key must be the only one")]
    ManyKeys(String),
    /// The key is of a type that evidence cannot be signed with.
    #[error("the attestation key {0} is neither P-256, Ed25519 nor RSA of 2048 to 4096 bits")]
    KeyType(String),
    /// A function failed.
    #[error("{function} answered {rv:#x}")]
    Failed {
        /// The function.
        function: &'static str,
        /// Its return value.
        rv: CK_RV,
    },
}

/// `Ok` for `CKR_OK`.
pub(crate) fn check(function: &'static str, rv: CK_RV) -> Result<(), ModuleError> {
    if rv == cryptoki_sys::CKR_OK { Ok(()) } else { Err(ModuleError::Failed { function, rv }) }
}
