//! Uses of keys: operations, and the making of keys from keys.

use std::sync::Arc;

use attestation::grant::Operation;
use attestation::key_uri::ObjectClass;
use pkcs11_table::{
    Function, Use, effective_use, generates_from_input, has_length_of_callers_choice, is_raw_rsa,
};

use super::{Demands, demand, given, operation};
use crate::authorize::Demand;
use crate::subject::{NewObject, Subject};

/// A mechanism with the objects that its parameter names.
#[derive(Clone, Copy, Debug)]
pub struct Mechanism<'a> {
    /// `CKM_` number.
    pub kind: u64,
    /// What the handles in the parameter lead to.
    pub names: &'a [Arc<Subject>],
}

impl Mechanism<'_> {
    /// A demand on `subject`, and the same on everything that the parameter names.
    fn demands(self, operation: Operation, subject: &Arc<Subject>) -> Vec<Demand> {
        core::iter::once(subject)
            .chain(self.names)
            .map(|subject| demand(operation, subject, Some(self.kind)))
            .collect()
    }

    /// What it takes for `new` to come to be by `operation` from `parents`.
    ///
    /// An object that ends with its session is judged by its parents for as long as it lives (`Provenance`), whatever it is
    /// called; one that lasts will be judged by its name, elsewhere and later, so that name must be granted. So must the
    /// name of what has no parents.
    fn new_object(self, operation: Operation, parents: &[&Arc<Subject>], new: &NewObject) -> Option<Demand> {
        let needed = new.lasting || parents.is_empty();
        needed.then(|| given(operation, &new.named, Some(self.kind)))
    }
}

/// To begin `begun` with `key`. Public keys keep nothing secret (PKCS#11 2.40 section 4.8): to encrypt and verify with
/// them is free.
pub fn begin(function: Function, begun: Use, mechanism: Mechanism<'_>, key: &Arc<Subject>) -> Demands {
    if key.is(ObjectClass::Public)
        && matches!(begun, Use::Encrypt | Use::Verify)
        && mechanism.names.is_empty()
    {
        return Demands::none(function);
    }
    let used = effective_use(begun, key.is(ObjectClass::Private));
    let mut all = mechanism.demands(operation(used), key);
    if is_raw_rsa(mechanism.kind) {
        for also in [Operation::Sign, Operation::Decrypt] {
            if operation(used) != also {
                all.push(demand(also, key, Some(mechanism.kind)));
            }
        }
    }
    if used == Use::Verify && has_length_of_callers_choice(mechanism.kind) {
        all.push(demand(Operation::Sign, key, Some(mechanism.kind)));
    }
    Demands { function, all }
}

/// To restore an operation state with these keys, the first for encryption or decryption, the second for signing or
/// verifying. The state does not say which of the two it is, so both are needed.
pub fn set_operation_state(
    function: Function,
    encryption: Option<&Arc<Subject>>,
    authentication: Option<&Arc<Subject>>,
) -> Demands {
    let ciphers = [Operation::Reveal, Operation::Encrypt, Operation::Decrypt];
    let signatures = [Operation::Reveal, Operation::Sign, Operation::Verify];
    let all =
        encryption.into_iter().flat_map(|key| ciphers.map(|operation| demand(operation, key, None))).chain(
            authentication
                .into_iter()
                .flat_map(|key| signatures.map(|operation| demand(operation, key, None))),
        );
    Demands { function, all: all.collect() }
}

/// To wrap `key` with `wrapping`: `wrap` on the one, `extract` on the other.
pub fn wrap(
    function: Function,
    mechanism: Mechanism<'_>,
    wrapping: &Arc<Subject>,
    key: &Arc<Subject>,
) -> Demands {
    let mut all = mechanism.demands(Operation::Wrap, wrapping);
    all.push(demand(Operation::Extract, key, Some(mechanism.kind)));
    Demands { function, all }
}

/// To unwrap a key with `unwrapping`. What comes out and is no key is the plain text of what was wrapped, for anybody to read.
pub fn unwrap(
    function: Function,
    mechanism: Mechanism<'_>,
    unwrapping: &Arc<Subject>,
    new: &NewObject,
) -> Demands {
    made_by(Operation::Unwrap, function, mechanism, unwrapping, new)
}

/// To derive a key from `base`, and from every key that the mechanism's parameter names. What is derived and is no key
/// (`CKM_HKDF_DATA`) can be read by anybody who finds it, so deriving it reveals something of them all.
pub fn derive(function: Function, mechanism: Mechanism<'_>, base: &Arc<Subject>, new: &NewObject) -> Demands {
    made_by(Operation::Derive, function, mechanism, base, new)
}

fn made_by(
    operation: Operation,
    function: Function,
    mechanism: Mechanism<'_>,
    base: &Arc<Subject>,
    new: &NewObject,
) -> Demands {
    let mut all = mechanism.demands(operation, base);
    if !new.named.class().is_some_and(ObjectClass::is_key) {
        all.extend(mechanism.demands(Operation::Reveal, base));
    }
    all.extend(mechanism.new_object(operation, &[base], new));
    Demands { function, all }
}

/// To make a key together with what the owner of the private half of `public` gets it from, which is what `encapsulate` on
/// that key says, public though it is: whoever has the private half knows the new key.
pub fn encapsulate(
    function: Function,
    mechanism: Mechanism<'_>,
    public: &Arc<Subject>,
    new: &NewObject,
) -> Demands {
    made_by(Operation::Encapsulate, function, mechanism, public, new)
}

/// To get a key with `private` out of what was made with its public half.
pub fn decapsulate(
    function: Function,
    mechanism: Mechanism<'_>,
    private: &Arc<Subject>,
    new: &NewObject,
) -> Demands {
    made_by(Operation::Decapsulate, function, mechanism, private, new)
}

/// To generate `new` (of a pair: both halves).
pub fn generate(function: Function, mechanism: Mechanism<'_>, new: &[NewObject]) -> Demands {
    let mut all: Vec<_> = mechanism
        .names
        .iter()
        .map(|subject| demand(Operation::Generate, subject, Some(mechanism.kind)))
        .collect();
    for object in new {
        all.extend(mechanism.new_object(Operation::Generate, &[], object));
        if generates_from_input(mechanism.kind) {
            all.extend(mechanism.new_object(Operation::Import, &[], object));
        }
    }
    Demands { function, all }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
