//! Every structure of the table of mechanisms has its pointers, lengths and gaps where the header has them, and nothing that
//! the known modules have is missing.

use cryptoki_sys::*;
use pkcs11_table::{Function, Layout, Target, layout, mechanism_name, message_layout};

use super::structures::{derivations, inside, of_messages, of_tls, of_wrapped, string_and_others};

#[test]
fn structures_are_as_the_header_has_them() {
    let function = Function::C_DeriveKey;
    let mut seen = Vec::new();
    for (kind, described) in [string_and_others(), derivations(), of_tls()].concat() {
        let structure = layout(function, kind).of_size(described.size).unwrap_or_else(|| panic!("{kind:#x}"));
        described.check(structure, mechanism_name(kind).unwrap());
        seen.push(structure);
    }
    for described in of_messages() {
        let structure = message_layout().of_size(described.size).unwrap();
        described.check(structure, "a message");
        assert!(structure.pointers.iter().all(|pointer| pointer.is_written));
        for kind in [CKM_AES_GCM, CKM_AES_CCM, CKM_CHACHA20_POLY1305] {
            assert_eq!(layout(Function::C_MessageDecryptInit, kind).of_size(described.size), Some(structure));
        }
    }
    let [gcm, ccm] = of_wrapped();
    for (kind, described) in [(CKM_AES_GCM, gcm), (CKM_AES_CCM, ccm)] {
        let structure = layout(Function::C_WrapKeyAuthenticated, kind).of_size(described.size).unwrap();
        described.check(structure, "a wrapped key");
    }
    // No structure of the table is without its check.
    for kind in 0..0x4100 {
        if let Layout::Structures(all) = layout(function, kind) {
            assert!(all.iter().all(|one| seen.contains(one)), "{kind:#x}");
        }
    }
}

#[test]
fn structures_that_pointers_lead_to_are_as_the_header_has_them() {
    let inner = |kind, size| {
        let structure = layout(Function::C_SignInit, kind).of_size(size).unwrap();
        match structure.pointers {
            [one] => match &one.target {
                Target::Structures(inner, _) => *inner,
                Target::Bytes(_) => panic!("bytes"),
            },
            _ => panic!("several"),
        }
    };
    let [one, oaep] = inside();
    one.check(inner(CKM_HOTP, size_of::<CK_OTP_PARAMS>()), "CK_OTP_PARAM");
    oaep.check(inner(CKM_RSA_AES_KEY_WRAP, size_of::<CK_RSA_AES_KEY_WRAP_PARAMS>()), "inside");
}

/// SoftHSM 2.6.1 and Kryoptic 1.5.4, those of their mechanisms that take no structure with pointers.
#[test]
fn what_the_known_modules_have_can_be_carried() {
    let flat = [
        CKM_AES_CBC,
        CKM_AES_CBC_PAD,
        CKM_AES_CFB1,
        CKM_AES_CFB128,
        CKM_AES_CFB8,
        CKM_AES_CMAC,
        CKM_AES_CMAC_GENERAL,
        CKM_AES_CTR,
        CKM_AES_CTS,
        CKM_AES_ECB,
        CKM_AES_KEY_GEN,
        CKM_AES_KEY_WRAP,
        CKM_AES_KEY_WRAP_KWP,
        CKM_AES_KEY_WRAP_PAD,
        CKM_AES_KEY_WRAP_PKCS7,
        CKM_AES_MAC,
        CKM_AES_MAC_GENERAL,
        CKM_AES_OFB,
        CKM_CHACHA20_KEY_GEN,
        CKM_CONCATENATE_BASE_AND_KEY,
        CKM_DES2_KEY_GEN,
        CKM_DES3_CBC,
        CKM_DES3_CBC_PAD,
        CKM_DES3_CMAC,
        CKM_DES3_ECB,
        CKM_DES3_KEY_GEN,
        CKM_DES_CBC,
        CKM_DES_CBC_PAD,
        CKM_DES_ECB,
        CKM_DES_KEY_GEN,
        CKM_DH_PKCS_DERIVE,
        CKM_DH_PKCS_KEY_PAIR_GEN,
        CKM_DH_PKCS_PARAMETER_GEN,
        CKM_DSA,
        CKM_DSA_KEY_PAIR_GEN,
        CKM_DSA_PARAMETER_GEN,
        CKM_DSA_SHA1,
        CKM_DSA_SHA224,
        CKM_DSA_SHA256,
        CKM_DSA_SHA384,
        CKM_DSA_SHA512,
        CKM_ECDSA,
        CKM_ECDSA_SHA1,
        CKM_ECDSA_SHA224,
        CKM_ECDSA_SHA256,
        CKM_ECDSA_SHA384,
        CKM_ECDSA_SHA3_224,
        CKM_ECDSA_SHA3_256,
        CKM_ECDSA_SHA3_384,
        CKM_ECDSA_SHA3_512,
        CKM_ECDSA_SHA512,
        CKM_EC_EDWARDS_KEY_PAIR_GEN,
        CKM_EC_KEY_PAIR_GEN,
        CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
        CKM_EXTRACT_KEY_FROM_KEY,
        CKM_GENERIC_SECRET_KEY_GEN,
        CKM_HKDF_KEY_GEN,
        CKM_HOTP_KEY_GEN,
        CKM_MD5,
        CKM_MD5_HMAC,
        CKM_MD5_RSA_PKCS,
        CKM_ML_DSA_KEY_PAIR_GEN,
        CKM_ML_KEM,
        CKM_ML_KEM_KEY_PAIR_GEN,
        CKM_PUB_KEY_FROM_PRIV_KEY,
        CKM_RSA_PKCS,
        CKM_RSA_PKCS_KEY_PAIR_GEN,
        CKM_RSA_PKCS_PSS,
        CKM_RSA_X_509,
        CKM_SHA1_KEY_DERIVATION,
        CKM_SHA1_RSA_PKCS,
        CKM_SHA1_RSA_PKCS_PSS,
        CKM_SHA224,
        CKM_SHA224_HMAC,
        CKM_SHA224_HMAC_GENERAL,
        CKM_SHA224_KEY_DERIVATION,
        CKM_SHA224_KEY_GEN,
        CKM_SHA224_RSA_PKCS,
        CKM_SHA224_RSA_PKCS_PSS,
        CKM_SHA256,
        CKM_SHA256_HMAC,
        CKM_SHA256_HMAC_GENERAL,
        CKM_SHA256_KEY_DERIVATION,
        CKM_SHA256_KEY_GEN,
        CKM_SHA256_RSA_PKCS,
        CKM_SHA256_RSA_PKCS_PSS,
        CKM_SHA384,
        CKM_SHA384_HMAC,
        CKM_SHA384_HMAC_GENERAL,
        CKM_SHA384_KEY_DERIVATION,
        CKM_SHA384_KEY_GEN,
        CKM_SHA384_RSA_PKCS,
        CKM_SHA384_RSA_PKCS_PSS,
        CKM_SHA3_224,
        CKM_SHA3_224_HMAC,
        CKM_SHA3_224_HMAC_GENERAL,
        CKM_SHA3_224_KEY_DERIVATION,
        CKM_SHA3_224_KEY_GEN,
        CKM_SHA3_224_RSA_PKCS,
        CKM_SHA3_224_RSA_PKCS_PSS,
        CKM_SHA3_256,
        CKM_SHA3_256_HMAC,
        CKM_SHA3_256_HMAC_GENERAL,
        CKM_SHA3_256_KEY_DERIVATION,
        CKM_SHA3_256_KEY_GEN,
        CKM_SHA3_256_RSA_PKCS,
        CKM_SHA3_256_RSA_PKCS_PSS,
        CKM_SHA3_384,
        CKM_SHA3_384_HMAC,
        CKM_SHA3_384_HMAC_GENERAL,
        CKM_SHA3_384_KEY_DERIVATION,
        CKM_SHA3_384_KEY_GEN,
        CKM_SHA3_384_RSA_PKCS,
        CKM_SHA3_384_RSA_PKCS_PSS,
        CKM_SHA3_512,
        CKM_SHA3_512_HMAC,
        CKM_SHA3_512_HMAC_GENERAL,
        CKM_SHA3_512_KEY_DERIVATION,
        CKM_SHA3_512_KEY_GEN,
        CKM_SHA3_512_RSA_PKCS,
        CKM_SHA3_512_RSA_PKCS_PSS,
        CKM_SHA512,
        CKM_SHA512_224,
        CKM_SHA512_224_HMAC,
        CKM_SHA512_224_HMAC_GENERAL,
        CKM_SHA512_224_KEY_DERIVATION,
        CKM_SHA512_224_KEY_GEN,
        CKM_SHA512_256,
        CKM_SHA512_256_HMAC,
        CKM_SHA512_256_HMAC_GENERAL,
        CKM_SHA512_256_KEY_DERIVATION,
        CKM_SHA512_256_KEY_GEN,
        CKM_SHA512_HMAC,
        CKM_SHA512_HMAC_GENERAL,
        CKM_SHA512_KEY_DERIVATION,
        CKM_SHA512_KEY_GEN,
        CKM_SHA512_RSA_PKCS,
        CKM_SHA512_RSA_PKCS_PSS,
        CKM_SHA_1,
        CKM_SHA_1_HMAC,
        CKM_SHA_1_HMAC_GENERAL,
        CKM_SHA_1_KEY_GEN,
        CKM_SLH_DSA_KEY_PAIR_GEN,
        CKM_TLS12_MAC,
        CKM_TLS_MAC,
    ];
    for kind in flat {
        assert_eq!(layout(Function::C_SignInit, kind), Layout::Flat, "{kind:#x}");
    }
    // With pointers that lead to results, or to lists of keys: the gate refuses them unseen.
    for kind in [
        CKM_SP800_108_COUNTER_KDF,
        CKM_SP800_108_DOUBLE_PIPELINE_KDF,
        CKM_SP800_108_FEEDBACK_KDF,
        CKM_TLS12_KEY_AND_MAC_DERIVE,
        CKM_TLS12_KEY_SAFE_DERIVE,
    ] {
        assert_eq!(layout(Function::C_DeriveKey, kind), Layout::Unknown, "{kind:#x}");
    }
}
