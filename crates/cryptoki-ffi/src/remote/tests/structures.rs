//! The structures of the table of mechanisms as another's generation from the header has them.

use core::mem::offset_of;

use cryptoki_sys::*;
use pkcs11_table::{Extent, Structure, Target};

/// Whether a field is a pointer.
trait Field {
    const IS_POINTER: bool = false;
}

impl Field for CK_BYTE {}
impl Field for CK_ULONG {}
impl<const N: usize> Field for [CK_BYTE; N] {}
impl<T> Field for *mut T {
    const IS_POINTER: bool = true;
}

#[derive(Clone)]
pub(super) struct Described {
    pub(super) size: usize,
    /// Where each field is, how long, and whether it is a pointer.
    fields: Vec<(usize, usize, bool)>,
    /// Where the pointers are, and how much each leads to.
    pointers: Vec<(usize, Extent)>,
}

const fn size_and_kind<S, F: Field>(_: impl Fn(&S) -> &F + Copy) -> (usize, bool) {
    (size_of::<F>(), F::IS_POINTER)
}

/// `described!(STRUCTURE: FIELD, ...; POINTER: EXTENT, ...)`, with the extents `at FIELD`, `bits FIELD` and `fixed NUMBER`.
macro_rules! described {
    (@extent $structure:ty, at $($length:ident).+) => { Extent::At(offset_of!($structure, $($length).+)) };
    (@extent $structure:ty, bits $length:ident) => { Extent::Bits(offset_of!($structure, $length)) };
    (@extent $structure:ty, fixed $length:literal) => { Extent::Fixed($length) };
    (
        $structure:ty: $($($field:ident).+),*;
        $($($pointer:ident).+: $how:ident $($($length:ident).+)? $($fixed:literal)?),*
    ) => {
        Described {
            size: size_of::<$structure>(),
            fields: vec![$({
                let (length, is_pointer) = size_and_kind(|s: &$structure| &s.$($field).+);
                (offset_of!($structure, $($field).+), length, is_pointer)
            }),*],
            pointers: vec![$((
                offset_of!($structure, $($pointer).+),
                described!(@extent $structure, $how $($($length).+)? $($fixed)?),
            )),*],
        }
    };
}

impl Described {
    pub(super) fn check(&self, structure: &Structure, what: &str) {
        let mut covered = vec![false; self.size];
        for (offset, length, _) in &self.fields {
            covered[*offset..offset + length].fill(true);
        }
        let mut gaps = Vec::new();
        for at in (0..self.size).filter(|at| !covered[*at]) {
            match gaps.last_mut() {
                Some((_, end)) if *end == at => *end = at + 1,
                _ => gaps.push((at, at + 1)),
            }
        }
        let told = structure.pointers.iter().map(|pointer| match &pointer.target {
            Target::Bytes(extent) | Target::Structures(_, extent) => (pointer.offset, *extent),
        });
        let told: Vec<_> = told.collect();
        assert_eq!(
            (structure.size, structure.gaps, &told),
            (self.size, gaps.as_slice(), &self.pointers),
            "{what}"
        );
        let all = self.fields.iter().filter(|(_, _, is_pointer)| *is_pointer).map(|(offset, _, _)| *offset);
        assert!(all.eq(told.iter().map(|(offset, _)| *offset)), "{what}: each pointer, and none beside");
    }
}

pub(super) fn string_and_others() -> Vec<(CK_MECHANISM_TYPE, Described)> {
    let string = || described!(CK_KEY_DERIVATION_STRING_DATA: pData, ulLen; pData: at ulLen);
    let des = || described!(CK_DES_CBC_ENCRYPT_DATA_PARAMS: iv, pData, length; pData: at length);
    let oaep = || {
        described!(CK_RSA_PKCS_OAEP_PARAMS: hashAlg, mgf, source, pSourceData, ulSourceDataLen;
            pSourceData: at ulSourceDataLen)
    };
    let sign = || described!(CK_SIGN_ADDITIONAL_CONTEXT: hedgeVariant, pContext, ulContextLen; pContext: at ulContextLen);
    let hash_sign = || {
        described!(CK_HASH_SIGN_ADDITIONAL_CONTEXT: hedgeVariant, pContext, ulContextLen, hash;
            pContext: at ulContextLen)
    };
    let pbe = || {
        described!(CK_PBE_PARAMS: pInitVector, pPassword, ulPasswordLen, pSalt, ulSaltLen, ulIteration;
            pInitVector: fixed 8, pPassword: at ulPasswordLen, pSalt: at ulSaltLen)
    };
    let rc5 = || described!(CK_RC5_CBC_PARAMS: ulWordsize, ulRounds, pIv, ulIvLen; pIv: at ulIvLen);
    let dsa = || described!(CK_DSA_PARAMETER_GEN_PARAM: hash, pSeed, ulSeedLen, ulIndex; pSeed: at ulSeedLen);
    let gcm = || {
        described!(CK_GCM_PARAMS: pIv, ulIvLen, ulIvBits, pAAD, ulAADLen, ulTagBits;
            pIv: at ulIvLen, pAAD: at ulAADLen)
    };
    let poly = || {
        described!(CK_SALSA20_CHACHA20_POLY1305_PARAMS: pNonce, ulNonceLen, pAAD, ulAADLen;
            pNonce: at ulNonceLen, pAAD: at ulAADLen)
    };
    vec![
        (CKM_RSA_PKCS_OAEP, oaep()),
        (CKM_CONCATENATE_BASE_AND_DATA, string()),
        (CKM_CONCATENATE_DATA_AND_BASE, string()),
        (CKM_XOR_BASE_AND_DATA, string()),
        (CKM_DES_ECB_ENCRYPT_DATA, string()),
        (CKM_DES3_ECB_ENCRYPT_DATA, string()),
        (CKM_AES_ECB_ENCRYPT_DATA, string()),
        (CKM_CAMELLIA_ECB_ENCRYPT_DATA, string()),
        (CKM_ARIA_ECB_ENCRYPT_DATA, string()),
        (CKM_SEED_ECB_ENCRYPT_DATA, string()),
        (CKM_DES_CBC_ENCRYPT_DATA, des()),
        (CKM_DES3_CBC_ENCRYPT_DATA, des()),
        (
            CKM_AES_CBC_ENCRYPT_DATA,
            described!(CK_AES_CBC_ENCRYPT_DATA_PARAMS: iv, pData, length; pData: at length),
        ),
        (
            CKM_CAMELLIA_CBC_ENCRYPT_DATA,
            described!(CK_CAMELLIA_CBC_ENCRYPT_DATA_PARAMS: iv, pData, length; pData: at length),
        ),
        (
            CKM_ARIA_CBC_ENCRYPT_DATA,
            described!(CK_ARIA_CBC_ENCRYPT_DATA_PARAMS: iv, pData, length; pData: at length),
        ),
        (
            CKM_SEED_CBC_ENCRYPT_DATA,
            described!(CK_SEED_CBC_ENCRYPT_DATA_PARAMS: iv, pData, length; pData: at length),
        ),
        (CKM_ML_DSA, sign()),
        (CKM_SLH_DSA, sign()),
        (CKM_HASH_ML_DSA_SHA256, sign()),
        (CKM_HASH_SLH_DSA_SHAKE256, sign()),
        (CKM_HASH_ML_DSA, hash_sign()),
        (CKM_HASH_SLH_DSA, hash_sign()),
        (CKM_PBE_SHA1_DES3_EDE_CBC, pbe()),
        (CKM_PBA_SHA1_WITH_SHA1_HMAC, pbe()),
        (CKM_RC5_CBC, rc5()),
        (CKM_RC5_CBC_PAD, rc5()),
        (CKM_DSA_PROBABILISTIC_PARAMETER_GEN, dsa()),
        (CKM_DSA_SHAWE_TAYLOR_PARAMETER_GEN, dsa()),
        (CKM_DSA_FIPS_G_GEN, dsa()),
        (CKM_AES_GCM, gcm()),
        (CKM_AES_GMAC, gcm()),
        (
            CKM_AES_CCM,
            described!(CK_CCM_PARAMS: ulDataLen, pNonce, ulNonceLen, pAAD, ulAADLen, ulMACLen;
                pNonce: at ulNonceLen, pAAD: at ulAADLen),
        ),
        (
            CKM_CHACHA20,
            described!(CK_CHACHA20_PARAMS: pBlockCounter, blockCounterBits, pNonce, ulNonceBits;
                pBlockCounter: bits blockCounterBits, pNonce: bits ulNonceBits),
        ),
        (
            CKM_SALSA20,
            described!(CK_SALSA20_PARAMS: pBlockCounter, pNonce, ulNonceBits;
                pBlockCounter: fixed 8, pNonce: bits ulNonceBits),
        ),
        (CKM_CHACHA20_POLY1305, poly()),
        (CKM_SALSA20_POLY1305, poly()),
        (
            CKM_EDDSA,
            described!(CK_EDDSA_PARAMS: phFlag, ulContextDataLen, pContextData; pContextData: at ulContextDataLen),
        ),
        (CKM_HOTP, described!(CK_OTP_PARAMS: pParams, ulCount; pParams: at ulCount)),
        (
            CKM_RSA_AES_KEY_WRAP,
            described!(CK_RSA_AES_KEY_WRAP_PARAMS: ulAESKeyBits, pOAEPParams; pOAEPParams: fixed 1),
        ),
        (
            CKM_PKCS5_PBKD2,
            described!(CK_PKCS5_PBKD2_PARAMS2: saltSource, pSaltSourceData, ulSaltSourceDataLen, iterations, prf,
                pPrfData, ulPrfDataLen, pPassword, ulPasswordLen;
                pSaltSourceData: at ulSaltSourceDataLen, pPrfData: at ulPrfDataLen, pPassword: at ulPasswordLen),
        ),
        (
            CKM_HKDF_DERIVE,
            described!(CK_HKDF_PARAMS: bExtract, bExpand, prfHashMechanism, ulSaltType, pSalt, ulSaltLen, hSaltKey,
                pInfo, ulInfoLen; pSalt: at ulSaltLen, pInfo: at ulInfoLen),
        ),
    ]
}

pub(super) fn derivations() -> Vec<(CK_MECHANISM_TYPE, Described)> {
    let ecdh = || {
        described!(CK_ECDH1_DERIVE_PARAMS: kdf, ulSharedDataLen, pSharedData, ulPublicDataLen, pPublicData;
            pSharedData: at ulSharedDataLen, pPublicData: at ulPublicDataLen)
    };
    let ecdh_aes = || {
        described!(CK_ECDH_AES_KEY_WRAP_PARAMS: ulAESKeyBits, kdf, ulSharedDataLen, pSharedData;
            pSharedData: at ulSharedDataLen)
    };
    vec![
        (CKM_ECDH1_DERIVE, ecdh()),
        (CKM_ECDH1_COFACTOR_DERIVE, ecdh()),
        (CKM_ECDH_AES_KEY_WRAP, ecdh_aes()),
        (CKM_ECDH_X_AES_KEY_WRAP, ecdh_aes()),
        (CKM_ECDH_COF_AES_KEY_WRAP, ecdh_aes()),
        (
            CKM_X9_42_DH_DERIVE,
            described!(CK_X9_42_DH1_DERIVE_PARAMS: kdf, ulOtherInfoLen, pOtherInfo, ulPublicDataLen, pPublicData;
                pOtherInfo: at ulOtherInfoLen, pPublicData: at ulPublicDataLen),
        ),
        (
            CKM_X9_42_DH_HYBRID_DERIVE,
            described!(CK_X9_42_DH2_DERIVE_PARAMS: kdf, ulOtherInfoLen, pOtherInfo, ulPublicDataLen, pPublicData,
                ulPrivateDataLen, hPrivateData, ulPublicDataLen2, pPublicData2;
                pOtherInfo: at ulOtherInfoLen, pPublicData: at ulPublicDataLen, pPublicData2: at ulPublicDataLen2),
        ),
        (
            CKM_X9_42_MQV_DERIVE,
            described!(CK_X9_42_MQV_DERIVE_PARAMS: kdf, ulOtherInfoLen, OtherInfo, ulPublicDataLen, PublicData,
                ulPrivateDataLen, hPrivateData, ulPublicDataLen2, PublicData2, publicKey;
                OtherInfo: at ulOtherInfoLen, PublicData: at ulPublicDataLen, PublicData2: at ulPublicDataLen2),
        ),
        (
            CKM_ECMQV_DERIVE,
            described!(CK_ECMQV_DERIVE_PARAMS: kdf, ulSharedDataLen, pSharedData, ulPublicDataLen, pPublicData,
                ulPrivateDataLen, hPrivateData, ulPublicDataLen2, pPublicData2, publicKey;
                pSharedData: at ulSharedDataLen, pPublicData: at ulPublicDataLen, pPublicData2: at ulPublicDataLen2),
        ),
        (
            CKM_GOSTR3410_KEY_WRAP,
            described!(CK_GOSTR3410_KEY_WRAP_PARAMS: pWrapOID, ulWrapOIDLen, pUKM, ulUKMLen, hKey;
                pWrapOID: at ulWrapOIDLen, pUKM: at ulUKMLen),
        ),
        (
            CKM_GOSTR3410_DERIVE,
            described!(CK_GOSTR3410_DERIVE_PARAMS: kdf, pPublicData, ulPublicDataLen, pUKM, ulUKMLen;
                pPublicData: at ulPublicDataLen, pUKM: at ulUKMLen),
        ),
        (
            CKM_IKE2_PRF_PLUS_DERIVE,
            described!(CK_IKE2_PRF_PLUS_DERIVE_PARAMS: prfMechanism, bHasSeedKey, hSeedKey, pSeedData, ulSeedDataLen;
                pSeedData: at ulSeedDataLen),
        ),
        (
            CKM_IKE_PRF_DERIVE,
            described!(CK_IKE_PRF_DERIVE_PARAMS: prfMechanism, bDataAsKey, bRekey, pNi, ulNiLen, pNr, ulNrLen, hNewKey;
                pNi: at ulNiLen, pNr: at ulNrLen),
        ),
        (
            CKM_IKE1_PRF_DERIVE,
            described!(CK_IKE1_PRF_DERIVE_PARAMS: prfMechanism, bHasPrevKey, hKeygxy, hPrevKey, pCKYi, ulCKYiLen,
                pCKYr, ulCKYrLen, keyNumber; pCKYi: at ulCKYiLen, pCKYr: at ulCKYrLen),
        ),
        (
            CKM_IKE1_EXTENDED_DERIVE,
            described!(CK_IKE1_EXTENDED_DERIVE_PARAMS: prfMechanism, bHasKeygxy, hKeygxy, pExtraData, ulExtraDataLen;
                pExtraData: at ulExtraDataLen),
        ),
    ]
}

pub(super) fn of_tls() -> Vec<(CK_MECHANISM_TYPE, Described)> {
    macro_rules! with_randoms {
        ($structure:ty: $($before:ident),*; $($after:ident),*; $version:literal) => {
            described!($structure: $($before,)* RandomInfo.pClientRandom, RandomInfo.ulClientRandomLen,
                RandomInfo.pServerRandom, RandomInfo.ulServerRandomLen, pVersion $(, $after)*;
                RandomInfo.pClientRandom: at RandomInfo.ulClientRandomLen,
                RandomInfo.pServerRandom: at RandomInfo.ulServerRandomLen, pVersion: fixed $version)
        };
    }
    let ssl3 = || with_randoms!(CK_SSL3_MASTER_KEY_DERIVE_PARAMS: ; ; 2);
    let tls12 = || with_randoms!(CK_TLS12_MASTER_KEY_DERIVE_PARAMS: ; prfHashMechanism; 2);
    let wtls = || with_randoms!(CK_WTLS_MASTER_KEY_DERIVE_PARAMS: DigestMechanism; ; 1);
    let extended = || {
        described!(CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS: prfHashMechanism, pSessionHash, ulSessionHashLen,
            pVersion; pSessionHash: at ulSessionHashLen, pVersion: fixed 2)
    };
    let kdf = || {
        described!(CK_TLS_KDF_PARAMS: prfMechanism, pLabel, ulLabelLength, RandomInfo.pClientRandom,
            RandomInfo.ulClientRandomLen, RandomInfo.pServerRandom, RandomInfo.ulServerRandomLen, pContextData,
            ulContextDataLength;
            pLabel: at ulLabelLength, RandomInfo.pClientRandom: at RandomInfo.ulClientRandomLen,
            RandomInfo.pServerRandom: at RandomInfo.ulServerRandomLen, pContextData: at ulContextDataLength)
    };
    vec![
        (CKM_SSL3_MASTER_KEY_DERIVE, ssl3()),
        (CKM_SSL3_MASTER_KEY_DERIVE_DH, ssl3()),
        (CKM_TLS_MASTER_KEY_DERIVE, ssl3()),
        (CKM_TLS_MASTER_KEY_DERIVE_DH, ssl3()),
        (CKM_TLS12_MASTER_KEY_DERIVE, tls12()),
        (CKM_TLS12_MASTER_KEY_DERIVE_DH, tls12()),
        (CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE, extended()),
        (CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH, extended()),
        (CKM_WTLS_MASTER_KEY_DERIVE, wtls()),
        (CKM_WTLS_MASTER_KEY_DERIVE_DH_ECC, wtls()),
        (CKM_TLS12_KDF, kdf()),
        (CKM_TLS_KDF, kdf()),
    ]
}

pub(super) fn of_messages() -> [Described; 3] {
    [
        described!(CK_GCM_MESSAGE_PARAMS: pIv, ulIvLen, ulIvFixedBits, ivGenerator, pTag, ulTagBits;
            pIv: at ulIvLen, pTag: bits ulTagBits),
        described!(CK_CCM_MESSAGE_PARAMS: ulDataLen, pNonce, ulNonceLen, ulNonceFixedBits, nonceGenerator, pMAC,
            ulMACLen; pNonce: at ulNonceLen, pMAC: at ulMACLen),
        described!(CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS: pNonce, ulNonceLen, pTag;
            pNonce: at ulNonceLen, pTag: fixed 16),
    ]
}

/// Those of keys that are wrapped together with other data.
pub(super) fn of_wrapped() -> [Described; 2] {
    let gcm = described!(CK_GCM_WRAP_PARAMS: pIv, ulIvLen, ulIvFixedBits, ivGenerator, pAAD, ulAADLen, ulTagBits;
        pIv: at ulIvLen, pAAD: at ulAADLen);
    let ccm = described!(CK_CCM_WRAP_PARAMS: ulDataLen, pNonce, ulNonceLen, ulNonceFixedBits, nonceGenerator, pAAD,
        ulAADLen, ulMACLen; pNonce: at ulNonceLen, pAAD: at ulAADLen);
    [gcm, ccm]
}

/// Those that pointers lead to: of one-time passwords, and of OAEP.
pub(super) fn inside() -> [Described; 2] {
    let one = described!(CK_OTP_PARAM: type_, pValue, ulValueLen; pValue: at ulValueLen);
    let oaep = described!(CK_RSA_PKCS_OAEP_PARAMS: hashAlg, mgf, source, pSourceData, ulSourceDataLen;
        pSourceData: at ulSourceDataLen);
    [one, oaep]
}
