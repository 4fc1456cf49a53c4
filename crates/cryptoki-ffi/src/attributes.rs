//! Which attributes hold nothing secret on any object: an explicit list, so that what is unknown counts as secret.

use cryptoki_sys::*;

/// Whether `kind` is made of the value of a secret key and given out all the same, sensitive or not: of a key of one byte the
/// check value tells the byte, and so on.
pub const fn is_made_of_the_value(kind: CK_ATTRIBUTE_TYPE) -> bool {
    kind == CKA_CHECK_VALUE
}

/// Whether `kind` never holds secret material, on keys included (PKCS#11 3.2 sections 4.4 to 4.15). Templates, such as
/// `CKA_DECAPSULATE_TEMPLATE`, can hold any attribute.
pub const fn is_public_attribute(kind: CK_ATTRIBUTE_TYPE) -> bool {
    matches!(
        kind,
        CKA_CLASS
            | CKA_TOKEN
            | CKA_PRIVATE
            | CKA_MODIFIABLE
            | CKA_COPYABLE
            | CKA_DESTROYABLE
            | CKA_LABEL
            | CKA_ID
            | CKA_SUBJECT
            | CKA_ISSUER
            | CKA_SERIAL_NUMBER
            | CKA_KEY_TYPE
            | CKA_START_DATE
            | CKA_END_DATE
            | CKA_LOCAL
            | CKA_KEY_GEN_MECHANISM
            | CKA_ALLOWED_MECHANISMS
            | CKA_SENSITIVE
            | CKA_ALWAYS_SENSITIVE
            | CKA_EXTRACTABLE
            | CKA_NEVER_EXTRACTABLE
            | CKA_ALWAYS_AUTHENTICATE
            | CKA_WRAP_WITH_TRUSTED
            | CKA_TRUSTED
            | CKA_ENCRYPT
            | CKA_DECRYPT
            | CKA_SIGN
            | CKA_SIGN_RECOVER
            | CKA_VERIFY
            | CKA_VERIFY_RECOVER
            | CKA_WRAP
            | CKA_UNWRAP
            | CKA_DERIVE
            | CKA_MODULUS
            | CKA_MODULUS_BITS
            | CKA_PUBLIC_EXPONENT
            | CKA_PUBLIC_KEY_INFO
            | CKA_EC_PARAMS
            | CKA_EC_POINT
            | CKA_PRIME
            | CKA_SUBPRIME
            | CKA_BASE
            | CKA_VALUE_LEN
            | CKA_UNIQUE_ID
            | CKA_APPLICATION
            | CKA_OBJECT_ID
            | CKA_PARAMETER_SET
            | CKA_ENCAPSULATE
            | CKA_DECAPSULATE
            | CKA_HSS_LEVELS
            | CKA_HSS_LMS_TYPE
            | CKA_HSS_LMOTS_TYPE
            | CKA_HSS_LMS_TYPES
            | CKA_HSS_LMOTS_TYPES
            | CKA_HSS_KEYS_REMAINING
            | CKA_MECHANISM_TYPE
            | CKA_PROFILE_ID
            | CKA_OBJECT_VALIDATION_FLAGS
            | CKA_VALIDATION_TYPE
            | CKA_VALIDATION_VERSION
            | CKA_VALIDATION_LEVEL
            | CKA_VALIDATION_MODULE_ID
            | CKA_VALIDATION_FLAG
            | CKA_VALIDATION_AUTHORITY_TYPE
            | CKA_VALIDATION_COUNTRY
            | CKA_VALIDATION_CERTIFICATE_IDENTIFIER
            | CKA_VALIDATION_CERTIFICATE_URI
            | CKA_VALIDATION_VENDOR_URI
            | CKA_VALIDATION_PROFILE
            | CKA_TRUST_SERVER_AUTH
            | CKA_TRUST_CLIENT_AUTH
            | CKA_TRUST_CODE_SIGNING
            | CKA_TRUST_EMAIL_PROTECTION
            | CKA_TRUST_IPSEC_IKE
            | CKA_TRUST_TIME_STAMPING
            | CKA_TRUST_OCSP_SIGNING
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keys_of_3_2_keep_secret_is_secret() {
        for secret in [
            CKA_SEED,
            CKA_VALUE,
            CKA_WRAP_TEMPLATE,
            CKA_UNWRAP_TEMPLATE,
            CKA_DERIVE_TEMPLATE,
            CKA_ENCAPSULATE_TEMPLATE,
            CKA_DECAPSULATE_TEMPLATE,
            CKA_VENDOR_DEFINED | 1,
        ] {
            assert!(!is_public_attribute(secret), "{secret:#x}");
        }
        for public in [CKA_PARAMETER_SET, CKA_ENCAPSULATE, CKA_DECAPSULATE, CKA_UNIQUE_ID] {
            assert!(is_public_attribute(public), "{public:#x}");
        }
    }
}
