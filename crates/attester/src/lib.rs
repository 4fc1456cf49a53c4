//! The attester: has a measurement signed by the attestation key and appraised by the policy server, and checks the trust
//! token that comes of it. Who measures what, its user says; in inline mode that is the own process.

#![forbid(unsafe_code)]

mod budget;
mod error;
mod failure;
mod inline;
mod issued;
mod signer;

pub use budget::Budget;
pub use error::AttesterError;
pub use inline::InlineAttester;
pub use issued::{Issued, Verifier};
pub use signer::{Outcome, Signer, Surroundings};
