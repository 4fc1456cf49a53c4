//! Issuing trust tokens: the policy server's side.

use core::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use super::anchors::{AnchorJwk, JwkSet};
use super::{
    ConfirmationThumbprint, EAR_PROFILE, ISSUER, MAX_LIFETIME_S, MAX_TOKEN, Statuses, TOKEN_TYP, TokenClaims,
    TokenError, TrustshimClaims, VerifierId,
};
use crate::attester_key::random_signing_key;
use crate::evidence::PublicJwk;
use crate::jws::{self, JwsError};

/// Holds the token-signing key.
pub struct TokenIssuer {
    key: SigningKey,
    key_id: String,
}

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// [`ISSUER`]; anything else is refused, because gates refuse it.
    pub issuer: String,
    /// Names the token, for records.
    pub jti: String,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// 1 to [`MAX_LIFETIME_S`]; for `exp`. What the gate goes by is `trustshim.deadline_boottime_ms`.
    pub lifetime_s: u64,
    /// What it is bound to; `None` makes a token that is to be handed in.
    pub binding: Option<Binding>,
    /// The results of the appraisal.
    pub statuses: Statuses,
    /// What the gate decides by.
    pub trustshim: TrustshimClaims,
}

/// The one attestation that a token answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The challenge that the evidence answered.
    pub nonce: String,
    /// Thumbprint of the attester's key, from the evidence's `cnf`.
    pub cnf: String,
}

impl TokenIssuer {
    /// Makes a new key, and gives it out as PKCS#8 in PEM for safe keeping.
    pub fn generate() -> Result<(Self, Zeroizing<String>), TokenError> {
        let key = random_signing_key()?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| TokenError::SigningKey)?;
        Ok((Self::new(key), pem))
    }

    /// Takes the key from PKCS#8 in PEM.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, TokenError> {
        SigningKey::from_pkcs8_pem(pem).map(Self::new).map_err(|_| TokenError::SigningKey)
    }

    fn new(key: SigningKey) -> Self {
        let key_id = PublicJwk::ed25519(key.verifying_key().as_bytes()).thumbprint();
        Self { key, key_id }
    }

    /// The `kid` of its tokens: the public key's thumbprint.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key.
    pub fn public_jwk(&self) -> PublicJwk {
        PublicJwk::ed25519(self.key.verifying_key().as_bytes())
    }

    /// A JWK set with the public key, as [`super::Anchors::parse`] reads it.
    pub fn jwks(&self) -> String {
        let keys = AnchorJwk::new(self.key.verifying_key().as_bytes()).into_iter().collect();
        serde_json::json!(JwkSet { keys }).to_string()
    }

    /// Signs a token.
    pub fn issue(&self, facts: &TokenFacts) -> Result<String, TokenError> {
        if facts.issuer != ISSUER {
            return Err(TokenError::other(&facts.issuer, |found| TokenError::OtherIssuer { found }));
        }
        if !(1..=MAX_LIFETIME_S).contains(&facts.lifetime_s) {
            return Err(TokenError::Lifetime(facts.lifetime_s));
        }
        let claims = TokenClaims {
            eat_profile: EAR_PROFILE.to_owned(),
            ear_verifier_id: VerifierId {
                build: concat!("trustshim-policy-server ", env!("CARGO_PKG_VERSION")).to_owned(),
                developer: "https://trustshim.org".to_owned(),
            },
            iss: facts.issuer.clone(),
            jti: facts.jti.clone(),
            iat: facts.issued_at,
            nbf: facts.issued_at,
            exp: facts.issued_at.checked_add(facts.lifetime_s).ok_or(TokenError::Times)?,
            eat_nonce: facts.binding.as_ref().map(|bound| bound.nonce.clone()),
            cnf: facts.binding.as_ref().map(|bound| ConfirmationThumbprint { jkt: bound.cnf.clone() }),
            submods: facts.statuses.into(),
            trustshim: facts.trustshim.clone(),
        };
        let text =
            jws::signing_input(TOKEN_TYP, &self.public_jwk(), &claims).map_err(|_| TokenError::Unwritable)?;
        let token = jws::join(&text, &self.key.sign(text.as_bytes()).to_bytes());
        if token.len() > MAX_TOKEN { Err(JwsError::TooLong { limit: MAX_TOKEN }.into()) } else { Ok(token) }
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
