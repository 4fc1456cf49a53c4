//! The attestation key pair: found by its URI, or generated; what the token says about it; its signatures.

use attestation::digest::Digest;
use attestation::evidence::{HsmClaims, KeyClaims, PublicJwk, SigningInput};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::attestation_token::OpenToken;
use super::key_uri::AttestationKeyUri;
use super::public_key::{self, ED25519_NAME, ED25519_OID, P256_OID};
use crate::error::CliError;

const RSA_BITS: u64 = 3072;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];
/// As long as the digest (RFC 7518 section 3.5).
const PSS_SALT: u64 = 32;

/// What the key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256
    P256,
    /// Ed25519
    Ed25519,
    /// RSA-PSS, 3072 bits, SHA-256
    RsaPss,
}

/// A key pair in an open token.
pub struct AttestationKey {
    token: OpenToken,
    private: ObjectHandle,
    public: PublicJwk,
    claims: KeyClaims,
}

impl AttestationKey {
    /// The key that the URI names, where the token has it.
    pub fn find(token: OpenToken, uri: &AttestationKeyUri) -> Result<Result<Self, OpenToken>, CliError> {
        let Some(private) = find_one(&token.session, uri, ObjectClass::PRIVATE_KEY)? else {
            return Ok(Err(token));
        };
        let public =
            find_one(&token.session, uri, ObjectClass::PUBLIC_KEY)?.ok_or_else(|| CliError::KeyForm {
                what: "the attestation key",
                why: "the token has its private part but no public part of the same label and id".into(),
            })?;
        Self::of(token, private, public).map(Ok)
    }

    /// Makes a new key pair: inside the token, for signing only, never to leave it.
    pub fn generate(
        token: OpenToken,
        uri: &AttestationKeyUri,
        algorithm: Algorithm,
    ) -> Result<Self, CliError> {
        let name: Vec<Attribute> =
            [uri.label().map(Attribute::Label), uri.id().map(Attribute::Id)].into_iter().flatten().collect();
        let mut private = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
        ];
        private.extend(name.iter().cloned());
        let generate = |mechanism: &Mechanism<'_>, form: &[Attribute]| {
            let mut public = vec![
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Verify(true),
                Attribute::Encrypt(false),
                Attribute::Wrap(false),
            ];
            public.extend(name.iter().chain(form).cloned());
            token.session.generate_key_pair(mechanism, &public, &private)
        };
        let pair = match algorithm {
            Algorithm::P256 => generate(&Mechanism::EccKeyPairGen, &[Attribute::EcParams(P256_OID.to_vec())]),
            // Tokens differ in which of the two names of the curve they know.
            Algorithm::Ed25519 => {
                generate(&Mechanism::EccEdwardsKeyPairGen, &[Attribute::EcParams(ED25519_OID.to_vec())])
                    .or_else(|_| {
                        generate(
                            &Mechanism::EccEdwardsKeyPairGen,
                            &[Attribute::EcParams(ED25519_NAME.to_vec())],
                        )
                    })
            }
            Algorithm::RsaPss => generate(
                &Mechanism::RsaPkcsKeyPairGen,
                &[Attribute::ModulusBits(RSA_BITS.into()), Attribute::PublicExponent(RSA_EXPONENT.to_vec())],
            ),
        };
        let (public, private) =
            pair.map_err(|source| CliError::Token { doing: "generating the attestation key", source })?;
        Self::of(token, private, public)
    }

    fn of(token: OpenToken, private: ObjectHandle, public: ObjectHandle) -> Result<Self, CliError> {
        let public = public_key::read(&token.session, public)?;
        let claims = key_claims(&token.session, private)?;
        Ok(Self { token, private, public, claims })
    }

    /// Refuses a key that could be outside the token as well.
    pub fn require_safe(&self, uri: &AttestationKeyUri) -> Result<(), CliError> {
        match unsafe_because(self.claims) {
            Some(why) => Err(CliError::KeyUnsafe { uri: uri.as_str().to_owned(), why }),
            None => Ok(()),
        }
    }

    /// The public part.
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// Token and key as the evidence states them.
    pub fn claims(&self) -> HsmClaims {
        self.token.identity.claims(self.claims)
    }

    /// Has the token sign. Only what this product itself has put together can be signed.
    pub fn sign(&self, input: &SigningInput) -> Result<Vec<u8>, CliError> {
        let pss = PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: PSS_SALT.into(),
        };
        let digest = Digest::of(input.bytes());
        let (mechanism, data) = match &self.public {
            PublicJwk::EC { .. } => (Mechanism::Ecdsa, digest.as_bytes().as_slice()),
            PublicJwk::OKP { .. } => {
                (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), input.bytes())
            }
            PublicJwk::RSA { .. } if self.token.mechanisms.contains(&MechanismType::SHA256_RSA_PKCS_PSS) => {
                (Mechanism::Sha256RsaPkcsPss(pss), input.bytes())
            }
            PublicJwk::RSA { .. } => (Mechanism::RsaPkcsPss(pss), digest.as_bytes().as_slice()),
        };
        self.token
            .session
            .sign(&mechanism, self.private, data)
            .map_err(|source| CliError::Token { doing: "signing with the attestation key", source })
    }
}

fn find_one(
    session: &Session,
    uri: &AttestationKeyUri,
    class: ObjectClass,
) -> Result<Option<ObjectHandle>, CliError> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(uri.label().map(Attribute::Label));
    template.extend(uri.id().map(Attribute::Id));
    let found = session
        .find_objects(&template)
        .map_err(|source| CliError::Token { doing: "looking for the attestation key", source })?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        more => Err(CliError::AmbiguousKey { uri: uri.as_str().to_owned(), keys: more.len() }),
    }
}

fn key_claims(session: &Session, key: ObjectHandle) -> Result<KeyClaims, CliError> {
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    let attributes = session
        .get_attributes(key, &wanted)
        .map_err(|source| CliError::Token { doing: "reading the attestation key's attributes", source })?;
    // What the token does not say counts as the worse.
    let mut claims =
        KeyClaims { sensitive: false, extractable: true, never_extractable: false, local: false };
    for attribute in attributes {
        match attribute {
            Attribute::Sensitive(value) => claims.sensitive = value,
            Attribute::Extractable(value) => claims.extractable = value,
            Attribute::NeverExtractable(value) => claims.never_extractable = value,
            Attribute::Local(value) => claims.local = value,
            _ => {}
        }
    }
    Ok(claims)
}

fn unsafe_because(claims: KeyClaims) -> Option<&'static str> {
    if claims.extractable {
        Some("it can be extracted (CKA_EXTRACTABLE)")
    } else if !claims.sensitive {
        Some("its value can be read (not CKA_SENSITIVE)")
    } else if !claims.local {
        Some("it was not generated inside the token (not CKA_LOCAL)")
    } else if !claims.never_extractable {
        Some("it could be extracted once (not CKA_NEVER_EXTRACTABLE)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_never_was_outside_is_safe() {
        let safe = KeyClaims { sensitive: true, extractable: false, never_extractable: true, local: true };
        assert_eq!(unsafe_because(safe), None);
        for claims in [
            KeyClaims { sensitive: false, ..safe },
            KeyClaims { extractable: true, ..safe },
            KeyClaims { never_extractable: false, ..safe },
            KeyClaims { local: false, ..safe },
        ] {
            assert!(unsafe_because(claims).is_some(), "{claims:?}");
        }
    }
}
