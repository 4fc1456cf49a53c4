//! The attestation key as the operator's tool reaches it: directly in the vendor's module.

mod attestation_key;
mod attestation_token;
mod key_uri;
mod module;
mod pin;
mod public_key;

pub use attestation_key::{Algorithm, AttestationKey};
pub use attestation_token::AttestationToken;
pub use key_uri::AttestationKeyUri;
pub use module::{Module, check as check_module};
pub use pin::Pin;
