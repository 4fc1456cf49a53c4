//! What the parts of Trustshim say to each other: evidence, reference values, trust tokens, grants and the
//! wire types of the policy server. Data and pure functions only; no FFI, no probes, no I/O.

#![forbid(unsafe_code)]

pub mod api;
pub mod attester_key;
pub mod base64url;
mod canonical_json;
pub mod component;
pub mod decision;
pub mod digest;
pub mod evidence;
pub mod grant;
pub mod jwk;
pub mod jws;
pub mod key_uri;
pub mod reference;
pub mod strict_json;
pub mod token;
