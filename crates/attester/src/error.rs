//! Why the attester cannot be set up.

use std::path::PathBuf;

/// The attester cannot be set up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AttesterError {
    /// A file that the configuration names cannot be read.
    #[error("{path:?}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The pinned keys.
    #[error("[policy_server] anchors: {0}")]
    Anchors(#[source] attestation::token::TokenError),
    /// The in-memory key.
    #[error("the attester's key: {0}")]
    MemoryKey(#[source] attestation::attester_key::NoRandomness),
    /// Boot id or host name.
    #[error(transparent)]
    Host(#[from] measurement::MeasurementError),
}
