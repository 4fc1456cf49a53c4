//! What targets share: keys and messages of the repository's vectors for signed messages, a caller's memory for calls in C,
//! calls that are made by chance.

pub mod caller;
pub mod calls_by_chance;

use std::fs;
use std::path::{Path, PathBuf};

use attestation::base64url;
pub use cryptoki_ffi::{Arena, Layer, Remote, calls, serve};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;

/// The seeds of the keys that the vectors are signed with; public, and of no use for anything else.
pub const TOKEN_SEED: &[u8; 32] = b"TEST KEY: token signer, vectors.";
pub const ATTESTATION_SEED: &[u8; 32] = b"TEST KEY: attestation, vectors..";

/// An input: a message as it is, or one to be signed first, so that what lies behind the signature is reached too.
pub enum Input {
    /// Header and payload were the input's, and the signature stands.
    Signed {
        message: String,
        payload: String,
    },
    Unsigned(String),
}

/// An input that begins with `{` is a payload, or a header and, on a line of its own, a payload; everything else is a
/// message. `None` for what is no text.
pub fn input(data: &[u8], seed: &[u8; 32], header: &str) -> Option<Input> {
    let text = core::str::from_utf8(data).ok()?;
    if !text.starts_with('{') {
        return Some(Input::Unsigned(text.strip_suffix('\n').unwrap_or(text).to_owned()));
    }
    let (header, payload) = text.split_once('\n').unwrap_or((header, text));
    let signed =
        format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
    let signature = SigningKey::from_bytes(seed).sign(signed.as_bytes());
    let message = format!("{signed}.{}", base64url::encode(&signature.to_bytes()));
    Some(Input::Signed { message, payload: payload.to_owned() })
}

/// The message with one bit of its signature changed.
pub fn tampered(message: &str) -> String {
    let (signed, signature) = message.rsplit_once('.').unwrap();
    let mut bytes = base64url::decode(signature).unwrap();
    bytes[0] ^= 1;
    format!("{signed}.{}", base64url::encode(&bytes))
}

/// The directory of the vectors.
fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/attestation/tests/vectors")
}

/// A JSON file of the vectors.
pub fn vector_json(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(vectors().join(file)).unwrap()).unwrap()
}

/// The vectors of `kind` that are to be accepted, and for evidence the key of each.
pub fn valid_vectors(kind: &str) -> Vec<(String, Value)> {
    let Value::Object(index) = vector_json("index.json") else { panic!("the index is no object") };
    let valid = index.into_iter().filter(|(_, entry)| entry["kind"] == kind && entry["expect"] == "valid");
    let read = valid.map(|(file, entry)| {
        let message = fs::read_to_string(vectors().join(file)).unwrap();
        (message.trim_end().to_owned(), entry["key"].clone())
    });
    read.collect()
}
