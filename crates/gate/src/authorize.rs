//! The decision itself: a pure function of trust token, use, key and clock.

use attestation::key_uri::{ObjectClass, ObjectIdentity};
use attestation::token::VerifiedToken;
use pkcs11_table::{Use, mechanism_uses};

use crate::denial::{Refusal, operation};

/// What a call would do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    begun: Use,
    also: Option<Use>,
    key: ObjectIdentity,
}

impl KeyUse {
    /// The use that the caller asks for with this mechanism (a `CKM_` number), and whatever it amounts to besides.
    pub const fn new(begun: Use, mechanism: u64, key: ObjectIdentity) -> Self {
        let (begun, also) = mechanism_uses(mechanism, begun);
        Self { begun, also, key }
    }

    /// The key.
    pub const fn key(&self) -> &ObjectIdentity {
        &self.key
    }

    /// The use that was asked for.
    pub const fn begun(&self) -> Use {
        self.begun
    }

    /// Whether no grant is needed: public keys keep nothing secret (PKCS#11 2.40 section 4.8).
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.key.class, ObjectClass::Public) && matches!(self.begun, Use::Encrypt | Use::Verify)
    }
}

/// Whether `token` lets `key_use` happen at `now_boottime_ms` (`CLOCK_BOOTTIME` in milliseconds).
///
/// # Errors
/// The first reason against it.
pub fn authorize(token: &VerifiedToken, key_use: &KeyUse, now_boottime_ms: u64) -> Result<(), Refusal> {
    if now_boottime_ms >= token.deadline_boottime_ms() {
        return Err(Refusal::TokenExpired);
    }
    for wanted in core::iter::once(key_use.begun).chain(key_use.also).map(operation) {
        let granted = token
            .grants()
            .iter()
            .any(|grant| grant.operations.contains(&wanted) && grant.uri.matches(&key_use.key));
        if !granted {
            return Err(Refusal::NotGranted {
                operation: wanted,
                key: key_use.key.uri(),
                component: token.claims().component.clone(),
                version: token.claims().version.clone(),
            });
        }
    }
    Ok(())
}
