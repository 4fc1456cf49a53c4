//! Why the attestation key has no place.

use std::path::PathBuf;

/// The place of the attestation key cannot be told, or its PIN not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PlaceError {
    /// The attestation key's URI.
    #[error("[attestation] key: {0}")]
    Key(#[source] attestation::key_uri::KeyUriError),
    /// The URI says neither token nor serial number, or neither object nor id.
    #[error("[attestation] key: the URI must say token= or serial=, and object= or id=")]
    KeyVague,
    /// The file with the PIN.
    #[error("{path:?}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
}
