//! Public keys as tokens give them, as JSON web keys.

use attestation::evidence::PublicJwk;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;

use crate::error::CliError;

/// DER of the object identifier of P-256, `1.2.840.10045.3.1.7`.
pub(super) const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// DER of the object identifier of Ed25519, `1.3.101.112` (RFC 8410).
pub(super) const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// DER of the curve's name as a PrintableString, the form of PKCS#11 3.0 section 2.3.10.
pub(super) const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

const OCTET_STRING: u8 = 0x04;

/// Reads the public key object.
pub(super) fn read(session: &Session, key: ObjectHandle) -> Result<PublicJwk, CliError> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let attributes = session
        .get_attributes(key, &wanted)
        .map_err(|source| CliError::Token { doing: "reading the public key", source })?;
    let mut parts = Parts::default();
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(kind) => parts.kind = Some(kind),
            Attribute::EcParams(bytes) => parts.curve = bytes,
            Attribute::EcPoint(bytes) => parts.point = bytes,
            Attribute::Modulus(bytes) => parts.modulus = bytes,
            Attribute::PublicExponent(bytes) => parts.exponent = bytes,
            _ => {}
        }
    }
    parts.jwk()
}

#[derive(Default)]
struct Parts {
    kind: Option<KeyType>,
    curve: Vec<u8>,
    point: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Parts {
    fn jwk(&self) -> Result<PublicJwk, CliError> {
        let refuse = |why: String| CliError::KeyForm { what: "the attestation key's public part", why };
        if self.kind == Some(KeyType::RSA) {
            return PublicJwk::rsa(&self.modulus, &self.exponent).map_err(|error| refuse(error.to_string()));
        }
        if self.curve == P256_OID {
            let point =
                octets::<65>(&self.point).ok_or_else(|| refuse("CKA_EC_POINT is no P-256 point".into()))?;
            return PublicJwk::p256(&point).map_err(|error| refuse(error.to_string()));
        }
        if self.curve == ED25519_OID || self.curve == ED25519_NAME {
            let point =
                octets::<32>(&self.point).ok_or_else(|| refuse("CKA_EC_POINT is no Ed25519 key".into()))?;
            return Ok(PublicJwk::ed25519(&point));
        }
        Err(refuse("it is neither P-256, Ed25519 nor RSA".into()))
    }
}

/// The content of a DER octet string of `N` bytes, or the `N` bytes themselves, as some tokens give them.
fn octets<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    if let Ok(raw) = bytes.try_into() {
        return Some(raw);
    }
    let content = bytes.strip_prefix(&[OCTET_STRING, u8::try_from(N).ok()?])?;
    content.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_wrapped_or_bare() {
        let bare = [7; 32];
        let wrapped = [&[0x04, 32], bare.as_slice()].concat();
        assert_eq!(octets::<32>(&bare), Some(bare));
        assert_eq!(octets::<32>(&wrapped), Some(bare));
    }

    #[test]
    fn other_lengths_and_tags_are_refused() {
        let wrong_tag = [&[0x03, 32], [7; 32].as_slice()].concat();
        let wrong_length = [&[0x04, 31], [7; 32].as_slice()].concat();
        let trailing = [&[0x04, 32], [7; 33].as_slice()].concat();
        for bytes in [wrong_tag, wrong_length, trailing, Vec::new(), vec![7; 31]] {
            assert_eq!(octets::<32>(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn other_curves_are_refused() {
        let parts = Parts { kind: Some(KeyType::EC), curve: vec![0x06, 0x01, 0x01], ..Parts::default() };
        assert!(matches!(parts.jwk(), Err(CliError::KeyForm { .. })));
    }
}
