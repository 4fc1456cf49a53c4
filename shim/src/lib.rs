//! `libtrustshim.so`: a PKCS#11 provider in front of a real one, which lets attested software alone use its keys.
//!
//! `exports` is the C face, made from the table of functions; `interfaces` says which of its lists are offered;
//! `instance` is the life cycle; `provider` is what answers in it, by the mode; `inline` gates in the application's own
//! process; `preload` is how the shim gets in front of a real module that the application opens by its own path.

#![deny(unsafe_code)]

mod error;
mod exports;
mod guarded;
mod inline;
mod instance;
mod interfaces;
mod preload;
mod provider;
