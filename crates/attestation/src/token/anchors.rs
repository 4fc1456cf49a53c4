//! The keys that trust tokens may be signed with: a JWK set (RFC 7517 section 5) that the operator pins in a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TokenError;
use crate::digest::escape;
use crate::evidence::PublicJwk;
use crate::jwk::Algorithm;
use crate::strict_json;

const MAX_ANCHORS: usize = 64 * 1024;

/// Ed25519 keys by key id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchors {
    keys: BTreeMap<String, PublicJwk>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwkSet {
    pub(super) keys: Vec<AnchorJwk>,
}

/// One key of the set. A private key (`d`) does not parse.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnchorJwk {
    kty: String,
    crv: String,
    x: String,
    kid: String,
    alg: String,
    #[serde(rename = "use")]
    usage: String,
}

impl AnchorJwk {
    pub(super) fn new(public: &[u8; 32]) -> Option<Self> {
        let key = PublicJwk::ed25519(public);
        let kid = key.thumbprint();
        match key {
            PublicJwk::OKP { crv, x } => Some(Self {
                kty: "OKP".to_owned(),
                crv,
                x,
                kid,
                alg: Algorithm::EdDsa.name().to_owned(),
                usage: "sig".to_owned(),
            }),
            PublicJwk::EC { .. } | PublicJwk::RSA { .. } => None,
        }
    }

    /// Checks everything that the entry says about itself.
    fn into_key(self) -> Result<(String, PublicJwk), TokenError> {
        let key = PublicJwk::OKP { crv: self.crv, x: self.x };
        let sound = self.kty == "OKP"
            && self.alg == Algorithm::EdDsa.name()
            && self.usage == "sig"
            && key.validate().is_ok()
            && key.thumbprint() == self.kid;
        if sound { Ok((self.kid, key)) } else { Err(TokenError::AnchorKey(escape(self.kid.as_bytes()))) }
    }
}

impl Anchors {
    /// Parses a JWK set of Ed25519 public keys, each with `kid`, `alg` and `use`. One bad key refuses the set.
    pub fn parse(jwks: &str) -> Result<Self, TokenError> {
        let set: JwkSet =
            strict_json::parse(jwks.as_bytes(), MAX_ANCHORS).map_err(TokenError::AnchorsMalformed)?;
        let mut keys = BTreeMap::new();
        for entry in set.keys {
            let (kid, key) = entry.into_key()?;
            if keys.insert(kid.clone(), key).is_some() {
                return Err(TokenError::AnchorDuplicate(kid));
            }
        }
        if keys.is_empty() { Err(TokenError::AnchorsEmpty) } else { Ok(Self { keys }) }
    }

    pub(super) fn key(&self, kid: &str) -> Option<&PublicJwk> {
        self.keys.get(kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenIssuer;

    #[test]
    fn what_the_issuer_publishes_can_be_pinned() {
        let (issuer, _) = TokenIssuer::generate().unwrap();
        let anchors = Anchors::parse(&issuer.jwks()).unwrap();
        assert_eq!(anchors.key(issuer.key_id()), Some(&issuer.public_jwk()));
    }

    #[test]
    fn a_set_with_one_bad_key_is_refused() {
        let (issuer, _) = TokenIssuer::generate().unwrap();
        let jwks = issuer.jwks();
        let entry = jwks.strip_prefix("{\"keys\":[").unwrap().strip_suffix("]}").unwrap();
        let kid = issuer.key_id();
        for (text, code) in [
            ("{\"keys\":[]}".to_owned(), "anchors-empty"),
            (String::new(), "anchors-malformed"),
            (format!("{jwks}{jwks}"), "anchors-malformed"),
            (format!("{{\"keys\":[{entry},{entry}]}}"), "anchor-duplicate"),
            (jwks.replace("\"x\"", "\"d\":\"AA\",\"x\""), "anchors-malformed"),
            (jwks.replace("\"crv\"", "\"crv\":\"Ed25519\",\"crv\""), "anchors-malformed"),
            (jwks.replace("Ed25519", "X25519"), "anchor-key"),
            (jwks.replace("EdDSA", "none"), "anchor-key"),
            (jwks.replace("\"sig\"", "\"enc\""), "anchor-key"),
            (jwks.replace("OKP", "oct"), "anchor-key"),
            (jwks.replace(kid, "other"), "anchor-key"),
        ] {
            assert_eq!(Anchors::parse(&text).expect_err(&text).code(), code, "{text}");
        }
    }
}
