//! The structures of PKCS#11 that hold pointers, as 64-bit Linux lays them out.

use super::{Extent, Pointer, Structure, Target, When};

/// A pointer to bytes.
const fn bytes(offset: usize, extent: Extent) -> Pointer {
    Pointer { offset, target: Target::Bytes(extent), when: When::Always, is_written: false }
}

/// A pointer to bytes whose length is at another offset.
const fn buffer(offset: usize, length: usize) -> Pointer {
    bytes(offset, Extent::At(length))
}

/// A pointer to bytes that the module writes to.
const fn output(offset: usize, extent: Extent) -> Pointer {
    Pointer { offset, target: Target::Bytes(extent), when: When::Always, is_written: true }
}

const fn structure(size: usize, pointers: &'static [Pointer]) -> Structure {
    Structure { size, pointers, gaps: &[] }
}

const fn with_gaps(size: usize, pointers: &'static [Pointer], gaps: &'static [(usize, usize)]) -> Structure {
    Structure { size, pointers, gaps }
}

/// `CKF_HKDF_SALT_NULL` and `CKF_HKDF_SALT_KEY`: nobody looks at the salt.
const NO_SALT: &[u64] = &[1, 4];

/// `CK_RSA_PKCS_OAEP_PARAMS`.
pub(super) const OAEP: Structure = structure(40, &[buffer(24, 32)]);
/// `CK_SIGN_ADDITIONAL_CONTEXT`.
pub(super) const SIGN_CONTEXT: Structure = structure(24, &[buffer(8, 16)]);
/// `CK_HASH_SIGN_ADDITIONAL_CONTEXT`.
pub(super) const HASH_SIGN_CONTEXT: Structure = structure(32, &[buffer(8, 16)]);
/// `CK_X9_42_DH1_DERIVE_PARAMS`, `CK_ECDH1_DERIVE_PARAMS`.
pub(super) const DH1: Structure = structure(40, &[buffer(16, 8), buffer(32, 24)]);
/// `CK_X9_42_DH2_DERIVE_PARAMS`.
pub(super) const DH2: Structure = structure(72, &[buffer(16, 8), buffer(32, 24), buffer(64, 56)]);
/// `CK_X9_42_MQV_DERIVE_PARAMS`, `CK_ECMQV_DERIVE_PARAMS`.
pub(super) const MQV: Structure = structure(80, &[buffer(16, 8), buffer(32, 24), buffer(64, 56)]);
/// `CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS`; the version, a `CK_VERSION`, is told.
pub(super) const TLS12_EXTENDED_MASTER_KEY: Structure =
    structure(32, &[buffer(8, 16), output(24, Extent::Fixed(2))]);
/// `CK_OTP_PARAM`.
const OTP_ONE: Structure = structure(24, &[buffer(8, 16)]);
/// `CK_OTP_PARAMS`.
pub(super) const OTP: Structure = structure(
    16,
    &[Pointer {
        offset: 0,
        target: Target::Structures(&OTP_ONE, Extent::At(8)),
        when: When::Always,
        is_written: false,
    }],
);
/// `CK_RC5_CBC_PARAMS`.
pub(super) const RC5_CBC: Structure = structure(32, &[buffer(16, 24)]);
/// `CK_KEY_DERIVATION_STRING_DATA`.
pub(super) const STRING: Structure = structure(16, &[buffer(0, 8)]);
/// `CK_SSL3_MASTER_KEY_DERIVE_PARAMS`; the version is told.
pub(super) const SSL3_MASTER_KEY: Structure =
    structure(40, &[buffer(0, 8), buffer(16, 24), output(32, Extent::Fixed(2))]);
/// `CK_PBE_PARAMS`; the initialisation vector is told.
pub(super) const PBE: Structure =
    structure(48, &[output(0, Extent::Fixed(8)), buffer(8, 16), buffer(24, 32)]);
/// `CK_PKCS5_PBKD2_PARAMS2`.
pub(super) const PBKD2: Structure = structure(72, &[buffer(8, 16), buffer(40, 48), buffer(56, 64)]);
/// `CK_WTLS_MASTER_KEY_DERIVE_PARAMS`; the version, a byte, is told.
pub(super) const WTLS_MASTER_KEY: Structure =
    structure(48, &[buffer(8, 16), buffer(24, 32), output(40, Extent::Fixed(1))]);
/// `CK_TLS_KDF_PARAMS`.
pub(super) const TLS_KDF: Structure =
    structure(72, &[buffer(8, 16), buffer(24, 32), buffer(40, 48), buffer(56, 64)]);
/// `CK_TLS12_MASTER_KEY_DERIVE_PARAMS`; the version is told.
pub(super) const TLS12_MASTER_KEY: Structure =
    structure(48, &[buffer(0, 8), buffer(16, 24), output(32, Extent::Fixed(2))]);
/// `CK_AES_CBC_ENCRYPT_DATA_PARAMS` and those of other ciphers with blocks of 16 bytes.
pub(super) const CBC16: Structure = structure(32, &[buffer(16, 24)]);
/// `CK_DES_CBC_ENCRYPT_DATA_PARAMS`.
pub(super) const CBC8: Structure = structure(24, &[buffer(8, 16)]);
/// `CK_ECDH_AES_KEY_WRAP_PARAMS`.
pub(super) const ECDH_AES: Structure = structure(32, &[buffer(24, 16)]);
/// `CK_RSA_AES_KEY_WRAP_PARAMS`.
pub(super) const RSA_AES: Structure = structure(
    16,
    &[Pointer {
        offset: 8,
        target: Target::Structures(&OAEP, Extent::Fixed(1)),
        when: When::Always,
        is_written: false,
    }],
);
/// `CK_EDDSA_PARAMS`.
pub(super) const EDDSA: Structure = with_gaps(24, &[buffer(16, 8)], &[(1, 8)]);
/// `CK_GCM_PARAMS`.
pub(super) const GCM_PLAIN: Structure = structure(48, &[buffer(0, 8), buffer(24, 32)]);
/// `CK_GCM_MESSAGE_PARAMS`; the vector may be made by the module, the tag is made by it.
pub(super) const GCM_MESSAGE: Structure =
    structure(48, &[output(0, Extent::At(8)), output(32, Extent::Bits(40))]);
/// `CK_GCM_WRAP_PARAMS`.
pub(super) const GCM_WRAP: Structure = structure(56, &[output(0, Extent::At(8)), buffer(32, 40)]);
/// `CK_CCM_PARAMS`.
pub(super) const CCM_PLAIN: Structure = structure(48, &[buffer(8, 16), buffer(24, 32)]);
/// `CK_CCM_MESSAGE_PARAMS`.
pub(super) const CCM_MESSAGE: Structure =
    structure(56, &[output(8, Extent::At(16)), output(40, Extent::At(48))]);
/// `CK_CCM_WRAP_PARAMS`.
pub(super) const CCM_WRAP: Structure = structure(64, &[output(8, Extent::At(16)), buffer(40, 48)]);
/// `CK_GOSTR3410_KEY_WRAP_PARAMS`.
pub(super) const GOST_WRAP: Structure = structure(40, &[buffer(0, 8), buffer(16, 24)]);
/// `CK_GOSTR3410_DERIVE_PARAMS`.
pub(super) const GOST_DERIVE: Structure = structure(40, &[buffer(8, 16), buffer(24, 32)]);
/// `CK_CHACHA20_PARAMS`.
pub(super) const CHACHA20: Structure =
    structure(32, &[bytes(0, Extent::Bits(8)), bytes(16, Extent::Bits(24))]);
/// `CK_SALSA20_PARAMS`.
pub(super) const SALSA20: Structure =
    structure(24, &[bytes(0, Extent::Fixed(8)), bytes(8, Extent::Bits(16))]);
/// `CK_SALSA20_CHACHA20_POLY1305_PARAMS`.
pub(super) const POLY1305: Structure = structure(32, &[buffer(0, 8), buffer(16, 24)]);
/// `CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS`; a tag of Poly1305 has 16 bytes.
pub(super) const POLY1305_MESSAGE: Structure =
    structure(24, &[output(0, Extent::At(8)), output(16, Extent::Fixed(16))]);
/// `CK_DSA_PARAMETER_GEN_PARAM`.
pub(super) const DSA_PARAMETERS: Structure = structure(32, &[buffer(8, 16)]);
/// `CK_HKDF_PARAMS`.
pub(super) const HKDF: Structure = with_gaps(
    64,
    &[
        Pointer { when: When::Unless(16, NO_SALT), ..buffer(24, 32) },
        Pointer { when: When::Flag(1), ..buffer(48, 56) },
    ],
    &[(2, 8)],
);
/// `CK_IKE2_PRF_PLUS_DERIVE_PARAMS`.
pub(super) const IKE2_PRF_PLUS: Structure = with_gaps(40, &[buffer(24, 32)], &[(9, 16)]);
/// `CK_IKE_PRF_DERIVE_PARAMS`.
pub(super) const IKE_PRF: Structure = with_gaps(56, &[buffer(16, 24), buffer(32, 40)], &[(10, 16)]);
/// `CK_IKE1_PRF_DERIVE_PARAMS`.
pub(super) const IKE1_PRF: Structure = with_gaps(72, &[buffer(32, 40), buffer(48, 56)], &[(9, 16), (65, 72)]);
/// `CK_IKE1_EXTENDED_DERIVE_PARAMS`.
pub(super) const IKE1_EXTENDED: Structure = with_gaps(40, &[buffer(24, 32)], &[(9, 16)]);
