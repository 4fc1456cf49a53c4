//! Challenge, evidence and token over HTTPS, and the operator's side of the same API.
//!
//! This crate is loaded into other people's processes: it blocks, starts no thread, logs nothing, reads no
//! proxy from the environment, and keeps no connection or lock between two requests, so that a fork between
//! them is harmless.

#![forbid(unsafe_code)]

mod address;
mod client;
mod error;
mod exchange;
mod resolver;
mod trust;

pub use address::segment;
pub use client::{Client, Settings};
pub use error::ClientError;
