//! JWS in compact form (RFC 7515), cut down to what Trustshim signs: three header parameters, no extensions, and an
//! algorithm that follows from the key and is never chosen by the message (RFC 8725 section 3.1).

use std::collections::BTreeMap;

use ring::signature;
use serde::Serialize;
use serde_json::Value;

use crate::base64url;
use crate::digest::escape;
use crate::evidence::PublicJwk;
use crate::jwk::{Algorithm, KeyError, Material};
use crate::strict_json::{self, JsonError};

/// Bytes of a header, decoded.
const MAX_HEADER: usize = 1024;

/// Why a message was refused before its claims were looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum JwsError {
    #[error("`alg` is `{found}`, but the key signs with {}", expected.name())]
    Algorithm { expected: Algorithm, found: String },
    #[error("`crit` is present: no extension is understood here")]
    Critical,
    #[error("the header: {0}")]
    Header(JsonError),
    #[error("the header parameter `{0}` is missing or not a string")]
    HeaderMissing(&'static str),
    #[error("the header parameter `{0}` is not used here")]
    HeaderUnknown(String),
    #[error("the key: {0}")]
    Key(#[from] KeyError),
    #[error("`kid` is `{found}`, which is not the key that was expected")]
    KeyUnknown { found: String },
    #[error("part {0} is not base64url without padding")]
    NotBase64(usize),
    #[error("not three parts separated by dots")]
    NotCompact,
    #[error("the signature does not verify")]
    Signature,
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("`typ` is `{found}` instead of `{expected}`")]
    Type { expected: &'static str, found: String },
}

impl JwsError {
    /// A stable name in kebab case for each kind of refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Algorithm { .. } => "algorithm",
            Self::Critical => "header-critical",
            Self::Header(JsonError::Duplicate(_)) => "header-duplicate",
            Self::Header(_) => "header-malformed",
            Self::HeaderMissing(_) => "header-missing",
            Self::HeaderUnknown(_) => "header-unknown",
            Self::Key(_) => "key-malformed",
            Self::KeyUnknown { .. } => "key-unknown",
            Self::NotBase64(_) => "not-base64url",
            Self::NotCompact => "not-compact",
            Self::Signature => "signature",
            Self::TooLong { .. } => "too-long",
            Self::Type { .. } => "type",
        }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

/// A message whose form and header are in order, and whose signature nobody has looked at.
pub(crate) struct Unverified<'a> {
    alg: String,
    kid: String,
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes `jwt` apart: at most `limit` bytes, of type `typ`.
    pub(crate) fn parse(jwt: &'a str, typ: &'static str, limit: usize) -> Result<Self, JwsError> {
        if jwt.len() > limit {
            return Err(JwsError::TooLong { limit });
        }
        let (signing_input, signature) = jwt.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if payload.contains('.') {
            return Err(JwsError::NotCompact);
        }
        let part = |number, text| base64url::decode(text).ok_or(JwsError::NotBase64(number));
        let mut header: BTreeMap<String, Value> =
            strict_json::parse(&part(1, header)?, MAX_HEADER).map_err(JwsError::Header)?;
        let mut take = |name| match header.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) | None => Err(JwsError::HeaderMissing(name)),
        };
        let (found, alg, kid) = (take("typ"), take("alg"), take("kid"));
        if header.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        if let Some(name) = header.keys().next() {
            return Err(JwsError::HeaderUnknown(escape(name.as_bytes())));
        }
        let found = found?;
        if found != typ {
            return Err(JwsError::Type { expected: typ, found: escape(found.as_bytes()) });
        }
        Ok(Self {
            alg: alg?,
            kid: kid?,
            signing_input,
            payload: part(2, payload)?,
            signature: part(3, signature)?,
        })
    }

    /// The key that the message claims to be signed with.
    pub(crate) fn claimed_key_id(&self) -> &str {
        &self.kid
    }

    /// The payload, believed by nobody yet.
    pub(crate) fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, once the signature by `key` stands.
    pub(crate) fn verify(self, key: &PublicJwk) -> Result<Vec<u8>, JwsError> {
        if self.kid != key.thumbprint() {
            return Err(self.key_unknown());
        }
        if self.alg != key.algorithm().name() {
            return Err(JwsError::Algorithm {
                expected: key.algorithm(),
                found: escape(self.alg.as_bytes()),
            });
        }
        if is_signed(&key.material()?, self.signing_input.as_bytes(), &self.signature) {
            Ok(self.payload)
        } else {
            Err(JwsError::Signature)
        }
    }

    pub(crate) fn key_unknown(&self) -> JwsError {
        JwsError::KeyUnknown { found: escape(self.kid.as_bytes()) }
    }
}

/// `header.payload`, the text that is signed.
pub(crate) fn signing_input(
    typ: &str,
    key: &PublicJwk,
    claims: &impl Serialize,
) -> serde_json::Result<String> {
    let header = Header { alg: key.algorithm().name(), kid: &key.thumbprint(), typ };
    let header = base64url::encode(&serde_json::to_vec(&header)?);
    Ok(format!("{header}.{}", base64url::encode(&serde_json::to_vec(claims)?)))
}

/// The whole message.
pub(crate) fn join(signing_input: &str, signature: &[u8]) -> String {
    format!("{signing_input}.{}", base64url::encode(signature))
}

fn is_signed(key: &Material, message: &[u8], signature: &[u8]) -> bool {
    match key {
        // `verify_strict` refuses small-order keys and other signatures that several keys would accept.
        Material::Ed25519 { public } => ed25519_dalek::VerifyingKey::from_bytes(public).is_ok_and(|key| {
            ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
        }),
        Material::P256 { point } => {
            signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok()
        }
        Material::Rsa { modulus, exponent } => signature::RsaPublicKeyComponents { n: modulus, e: exponent }
            .verify(&signature::RSA_PSS_2048_8192_SHA256, message, signature)
            .is_ok(),
    }
}
