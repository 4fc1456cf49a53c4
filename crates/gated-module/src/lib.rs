//! The real module behind the gate, as one layer that answers every call of an application: in the application's own
//! process, or for it in the guard's. With it what both need: the attestation key hidden, and the log of refusals.

#![forbid(unsafe_code)]

mod error;
mod log;
mod module;
mod pin_file;
mod place;
mod seen;

pub use error::PlaceError;
pub use log::Log;
pub use module::{GatedModule, Logins};
pub use pin_file::{PinFile, Pins};
pub use place::AttestationPlace;
