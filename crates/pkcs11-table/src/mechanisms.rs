//! What the gate has to know about mechanisms, by their numbers in the standard (PKCS#11 3.2, `pkcs11t.h`).

use crate::Use;

/// Whether a mechanism is the bare RSA function, which signs and decrypts alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RawRsa {
    /// `CKM_RSA_X_509`: no padding, so a signature is a decryption and the reverse.
    Yes,
    /// Any other mechanism.
    No,
}

/// `CKM_RSA_X_509`.
const RSA_X_509: u64 = 0x0000_0003;

/// The uses that an operation with this mechanism amounts to, `begun` being the one that the caller asked for.
///
/// Raw RSA is sign and decrypt at once: whoever may do only one of them with a key must not get the other by it.
pub const fn mechanism_uses(mechanism: u64, begun: Use) -> (Use, Option<Use>) {
    match (raw_rsa(mechanism), begun) {
        (RawRsa::Yes, Use::Sign) => (Use::Sign, Some(Use::Decrypt)),
        (RawRsa::Yes, Use::Decrypt) => (Use::Decrypt, Some(Use::Sign)),
        (RawRsa::Yes | RawRsa::No, begun) => (begun, None),
    }
}

const fn raw_rsa(mechanism: u64) -> RawRsa {
    match mechanism {
        RSA_X_509 => RawRsa::Yes,
        _ => RawRsa::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_rsa_needs_sign_and_decrypt() {
        assert_eq!(mechanism_uses(3, Use::Sign), (Use::Sign, Some(Use::Decrypt)));
        assert_eq!(mechanism_uses(3, Use::Decrypt), (Use::Decrypt, Some(Use::Sign)));
        assert_eq!(mechanism_uses(1, Use::Sign), (Use::Sign, None));
    }
}
