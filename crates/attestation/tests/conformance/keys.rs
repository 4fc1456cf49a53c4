//! The keys of the vectors. They are public and of no use for anything else.

use attestation::base64url;
use attestation::evidence::PublicJwk;
use attestation::token::TokenIssuer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer as _, SigningKey};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents};

pub const TOKEN_SEED: &[u8; 32] = b"TEST KEY: token signer, vectors.";
pub const OTHER_SEED: &[u8; 32] = b"TEST KEY: a stranger to vectors.";
pub const ATTESTATION_SEED: &[u8; 32] = b"TEST KEY: attestation, vectors..";
pub const ATTESTER_SEED: &[u8; 32] = b"TEST KEY: in-memory, vectors....";

/// A key that can sign as the vectors need it, rightly or wrongly.
pub enum TestKey {
    Ed25519(SigningKey),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl TestKey {
    pub fn ed25519(seed: &[u8; 32]) -> Self {
        Self::Ed25519(SigningKey::from_bytes(seed))
    }

    pub fn p256() -> Self {
        let der = der(include_str!("../vectors/test-keys/p256.pem"));
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, &der, &SystemRandom::new()).unwrap())
    }

    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(&der(include_str!("../vectors/test-keys/rsa.pem"))).unwrap())
    }

    pub fn public(&self) -> PublicJwk {
        match self {
            Self::Ed25519(key) => PublicJwk::ed25519(key.verifying_key().as_bytes()),
            Self::P256(key) => PublicJwk::p256(key.public_key().as_ref().try_into().unwrap()).unwrap(),
            Self::Rsa(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                PublicJwk::rsa(&parts.n, &parts.e).unwrap()
            }
        }
    }

    pub fn kid(&self) -> String {
        self.public().thumbprint()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => sign_rsa(key, &signature::RSA_PSS_SHA256, message),
        }
    }

    /// RSASSA-PKCS1-v1_5, the padding that `PS256` does not use.
    pub fn sign_pkcs1(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => sign_rsa(key, &signature::RSA_PKCS1_SHA256, message),
            Self::Ed25519(_) | Self::P256(_) => panic!("PKCS#1 is for RSA keys"),
        }
    }

    /// A whole message: any header, any payload, and a signature that stands.
    pub fn message(&self, header: &str, payload: &str) -> String {
        let input = signing_input(header, payload);
        let signature = self.sign(input.as_bytes());
        format!("{input}.{}", base64url::encode(&signature))
    }
}

pub fn signing_input(header: &str, payload: &str) -> String {
    format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()))
}

/// The issuer of the vectors.
pub fn token_issuer() -> TokenIssuer {
    let pem = SigningKey::from_bytes(TOKEN_SEED).to_pkcs8_pem(LineEnding::LF).unwrap();
    TokenIssuer::from_pkcs8_pem(&pem).unwrap()
}

fn sign_rsa(key: &RsaKeyPair, padding: &'static dyn signature::RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

pub fn der(pem: &str) -> Vec<u8> {
    let body = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    STANDARD.decode(body.take_while(|line| !line.starts_with("-----END")).collect::<String>()).unwrap()
}
