//! Which attributes hold nothing secret on any object: an explicit list, so that what is unknown counts as secret.

use cryptoki_sys::*;

/// Whether `kind` is made of the value of a secret key and given out all the same, sensitive or not: of a key of one byte the
/// check value tells the byte, and so on.
pub const fn is_made_of_the_value(kind: CK_ATTRIBUTE_TYPE) -> bool {
    kind == CKA_CHECK_VALUE
}

/// Whether `kind` never holds secret material, on keys included (PKCS#11 2.40 sections 4.4 to 4.9).
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
    )
}
