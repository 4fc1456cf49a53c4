//! `libtrustshim.so`: a PKCS#11 provider in front of a real one, which lets attested software alone use its keys.
//!
//! `exports` is the C face, made from the table of functions; `interfaces` says which of its lists are offered;
//! `instance` is the life cycle; `inline` is the
//! layer that gates in the application's own process.

#![deny(unsafe_code)]

mod attester;
mod error;
mod exports;
mod inline;
mod instance;
mod interfaces;
mod layer;
mod log;
