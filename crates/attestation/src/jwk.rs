//! Public keys: making, checking and naming them. The signature algorithm follows from the key alone.

use serde_json::json;

use crate::evidence::PublicJwk;
use crate::{base64url, canonical_json, digest::Digest};

const P256: &str = "P-256";
const ED25519: &str = "Ed25519";
const COORDINATE: usize = 32;
const RSA_BITS: core::ops::RangeInclusive<usize> = 2048..=4096;
/// Bytes of the largest exponent that every verifier takes (2^32 + 1 and above are not in use).
const RSA_EXPONENT_BYTES: usize = 4;

/// JOSE signature algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256; the signature is `r` and `s`, 32 bytes each.
    Es256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
    Ps256,
}

impl Algorithm {
    /// The value of the `alg` header parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
        }
    }
}

/// The value is not a public key that Trustshim uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum KeyError {
    #[error("the curve is not the one of this key type: P-256 for EC, Ed25519 for OKP")]
    Curve,
    #[error("a coordinate is not 32 bytes in base64url")]
    Coordinate,
    #[error("the EC point is not in uncompressed form")]
    PointForm,
    #[error("the RSA exponent is not an odd number from 3 to 2^32-1 in base64url without leading zeros")]
    RsaExponent,
    #[error("the RSA modulus is not an odd number of 2048 to 4096 bits in base64url without leading zeros")]
    RsaModulus,
}

impl PublicJwk {
    /// An Ed25519 key.
    pub fn ed25519(public: &[u8; 32]) -> Self {
        Self::OKP { crv: ED25519.to_owned(), x: base64url::encode(public) }
    }

    /// A P-256 key from its uncompressed point, `04 || x || y`.
    pub fn p256(point: &[u8; 65]) -> Result<Self, KeyError> {
        let [0x04, coordinates @ ..] = point else {
            return Err(KeyError::PointForm);
        };
        let (x, y) = coordinates.split_at(COORDINATE);
        Ok(Self::EC { crv: P256.to_owned(), x: base64url::encode(x), y: base64url::encode(y) })
    }

    /// An RSA key from modulus and public exponent in big-endian bytes; leading zeros are dropped.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let key = Self::RSA {
            n: base64url::encode(without_leading_zeros(modulus)),
            e: base64url::encode(without_leading_zeros(exponent)),
        };
        key.validate()?;
        Ok(key)
    }

    /// Checks curve, sizes and encoding. That an EC point lies on its curve shows when a signature is verified.
    pub fn validate(&self) -> Result<(), KeyError> {
        self.material().map(|_| ())
    }

    /// The name of the key: thumbprint (RFC 7638) with SHA-256 in base64url. It serves as `kid` and as the
    /// fingerprint that operators compare.
    pub fn thumbprint(&self) -> String {
        let members = match self {
            Self::EC { crv, x, y } => json!({"crv": crv, "kty": "EC", "x": x, "y": y}),
            Self::OKP { crv, x } => json!({"crv": crv, "kty": "OKP", "x": x}),
            Self::RSA { n, e } => json!({"e": e, "kty": "RSA", "n": n}),
        };
        base64url::encode(Digest::of(canonical_json::to_string(&members).as_bytes()).as_bytes())
    }

    /// The one algorithm that this key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::EC { .. } => Algorithm::Es256,
            Self::OKP { .. } => Algorithm::EdDsa,
            Self::RSA { .. } => Algorithm::Ps256,
        }
    }

    /// The checked bytes of the key.
    pub(crate) fn material(&self) -> Result<Material, KeyError> {
        match self {
            Self::EC { crv, x, y } if crv == P256 => {
                let mut point = vec![0x04];
                point.extend_from_slice(&coordinate(x)?);
                point.extend_from_slice(&coordinate(y)?);
                Ok(Material::P256 { point })
            }
            Self::OKP { crv, x } if crv == ED25519 => Ok(Material::Ed25519 { public: coordinate(x)? }),
            Self::EC { .. } | Self::OKP { .. } => Err(KeyError::Curve),
            Self::RSA { n, e } => {
                let modulus = odd_integer(n).ok_or(KeyError::RsaModulus)?;
                let exponent = odd_integer(e).ok_or(KeyError::RsaExponent)?;
                if !RSA_BITS.contains(&bits(&modulus)) {
                    return Err(KeyError::RsaModulus);
                }
                if exponent.len() > RSA_EXPONENT_BYTES || exponent == [1] {
                    return Err(KeyError::RsaExponent);
                }
                Ok(Material::Rsa { modulus, exponent })
            }
        }
    }
}

/// The bytes of a public key as verification takes them.
pub(crate) enum Material {
    Ed25519 { public: [u8; COORDINATE] },
    P256 { point: Vec<u8> },
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

fn coordinate(text: &str) -> Result<[u8; COORDINATE], KeyError> {
    base64url::decode(text).and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::Coordinate)
}

fn odd_integer(text: &str) -> Option<Vec<u8>> {
    let bytes = base64url::decode(text)?;
    let canonical = bytes.first().is_some_and(|first| *first != 0);
    let odd = bytes.last().is_some_and(|last| last & 1 == 1);
    (canonical && odd).then_some(bytes)
}

fn bits(integer: &[u8]) -> usize {
    match integer.split_first() {
        Some((first, rest)) => rest.len() * 8 + (u8::BITS - first.leading_zeros()) as usize,
        None => 0,
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 section 3.1.
    const RFC_7638_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let key = PublicJwk::RSA { n: RFC_7638_N.to_owned(), e: "AQAB".to_owned() };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037 appendix A.3.
        let key = PublicJwk::OKP {
            crv: "Ed25519".to_owned(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
        };
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_survives_json_and_takes_nothing_else() {
        let key = PublicJwk::ed25519(&[7; 32]);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicJwk>(&text).unwrap(), key);
        let private = text.replace("\"x\"", "\"d\":\"AA\",\"x\"");
        assert!(serde_json::from_str::<PublicJwk>(&private).is_err(), "{private}");
    }

    #[test]
    fn the_algorithm_follows_from_the_key() {
        let mut point = [1; 65];
        assert_eq!(PublicJwk::p256(&point), Err(KeyError::PointForm));
        point[0] = 4;
        assert_eq!(PublicJwk::p256(&point).unwrap().algorithm(), Algorithm::Es256);
        assert_eq!(PublicJwk::ed25519(&[0; 32]).algorithm(), Algorithm::EdDsa);
        assert_eq!(PublicJwk::rsa(&[0xff; 256], &[1, 0, 1]).unwrap().algorithm(), Algorithm::Ps256);
    }

    #[test]
    fn rsa_keys_have_one_text_and_a_sane_size() {
        let modulus = [0xff; 256];
        let key = PublicJwk::rsa(&modulus, &[1, 0, 1]).unwrap();
        assert_eq!(PublicJwk::rsa(&[&[0, 0], &modulus[..]].concat(), &[0, 1, 0, 1]), Ok(key));
        for modulus in [&[0xff_u8; 255][..], &[0x7f; 256], &[0xff; 513], &[0xfe; 256], &[], &[0; 256]] {
            assert_eq!(PublicJwk::rsa(modulus, &[1, 0, 1]), Err(KeyError::RsaModulus), "{}", modulus.len());
        }
        for exponent in [&[1_u8][..], &[2], &[], &[0], &[1, 0, 0, 0, 1]] {
            assert_eq!(PublicJwk::rsa(&modulus, exponent), Err(KeyError::RsaExponent), "{exponent:?}");
        }
    }

    #[test]
    fn malformed_coordinates_and_curves_are_refused() {
        let okp = |crv: &str, x: &str| PublicJwk::OKP { crv: crv.to_owned(), x: x.to_owned() };
        let x = base64url::encode(&[1; 32]);
        assert_eq!(okp("Ed25519", &x).validate(), Ok(()));
        assert_eq!(okp("X25519", &x).validate(), Err(KeyError::Curve));
        assert_eq!(okp("Ed25519", &format!("{x}=")).validate(), Err(KeyError::Coordinate));
        assert_eq!(okp("Ed25519", &base64url::encode(&[1; 31])).validate(), Err(KeyError::Coordinate));
    }
}
