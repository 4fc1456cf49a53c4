//! Calls that are a use of a key or not by the object that they touch; pure.

use pkcs11_table::{Class, Function};

use crate::denial::{Refusal, operation};
use crate::permit::Permit;

/// What an object is, as far as the gate has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `CKO_CERTIFICATE`.
    Certificate,
    /// `CKO_DATA` with `CKA_PRIVATE` true or unknown.
    PrivateData,
    /// `CKO_PRIVATE_KEY`.
    PrivateKey,
    /// `CKO_DATA` with `CKA_PRIVATE` false.
    PublicData,
    /// `CKO_PUBLIC_KEY`.
    PublicKey,
    /// `CKO_SECRET_KEY`.
    SecretKey,
    /// Anything else.
    Unknown,
}

/// What a `C_GetAttributeValue` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeRequest {
    /// The object that is asked.
    pub kind: ObjectKind,
    /// Every attribute of the template is one that holds nothing secret, on any kind of object.
    pub only_public_attributes: bool,
    /// `CKA_SENSITIVE` is true: the token itself never answers with the value (PKCS#11 2.40 section 4.9).
    pub sensitive: bool,
}

/// Judges a creation, a change or a destruction of an object of `kind`.
///
/// # Errors
/// [`Refusal::NoRule`] where the object is one that a grant would be needed for.
pub fn judge_object(function: Function, kind: ObjectKind) -> Result<Permit, Refusal> {
    let Class::Conditional(used) = function.class() else {
        return Err(Refusal::WrongClass);
    };
    let harmless = match function {
        Function::C_CreateObject => {
            matches!(kind, ObjectKind::Certificate | ObjectKind::PrivateData | ObjectKind::PublicData)
        }
        Function::C_CopyObject | Function::C_DestroyObject | Function::C_SetAttributeValue => {
            matches!(kind, ObjectKind::PublicData)
        }
        _ => return Err(Refusal::WrongClass),
    };
    if harmless { Ok(Permit::new(function)) } else { Err(Refusal::NoRule(operation(used))) }
}

/// Judges a `C_GetAttributeValue`.
///
/// # Errors
/// [`Refusal::NoRule`] where the answer could hold secret material.
pub fn judge_attributes(request: AttributeRequest) -> Result<Permit, Refusal> {
    let harmless = request.only_public_attributes
        || match request.kind {
            ObjectKind::Certificate | ObjectKind::PublicData | ObjectKind::PublicKey => true,
            ObjectKind::PrivateKey | ObjectKind::SecretKey => request.sensitive,
            ObjectKind::PrivateData | ObjectKind::Unknown => false,
        };
    if harmless {
        Ok(Permit::new(Function::C_GetAttributeValue))
    } else {
        Err(Refusal::NoRule(attestation::grant::Operation::Reveal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ObjectKind; 7] = [
        ObjectKind::Certificate,
        ObjectKind::PrivateData,
        ObjectKind::PrivateKey,
        ObjectKind::PublicData,
        ObjectKind::PublicKey,
        ObjectKind::SecretKey,
        ObjectKind::Unknown,
    ];

    fn permitted(function: Function) -> Vec<ObjectKind> {
        KINDS.into_iter().filter(|kind| judge_object(function, *kind).is_ok()).collect()
    }

    #[test]
    fn keys_and_unknown_classes_cannot_be_created() {
        assert_eq!(
            permitted(Function::C_CreateObject),
            [ObjectKind::Certificate, ObjectKind::PrivateData, ObjectKind::PublicData]
        );
    }

    #[test]
    fn only_public_data_can_be_changed_copied_or_destroyed() {
        for function in [Function::C_CopyObject, Function::C_DestroyObject, Function::C_SetAttributeValue] {
            assert_eq!(permitted(function), [ObjectKind::PublicData], "{function}");
        }
    }

    #[test]
    fn no_other_function_is_judged_by_its_object() {
        for function in
            [Function::C_WrapKey, Function::C_SignInit, Function::C_Login, Function::C_GetAttributeValue]
        {
            assert_eq!(permitted(function), [], "{function}");
        }
    }

    #[test]
    fn values_of_keys_that_are_not_sensitive_are_not_given_out() {
        for kind in [ObjectKind::PrivateKey, ObjectKind::SecretKey] {
            let ask = |only_public_attributes, sensitive| {
                judge_attributes(AttributeRequest { kind, only_public_attributes, sensitive }).is_ok()
            };
            assert!(!ask(false, false));
            assert!(ask(false, true));
            assert!(ask(true, false));
        }
    }

    #[test]
    fn private_data_and_unknown_objects_are_not_given_out() {
        for kind in [ObjectKind::PrivateData, ObjectKind::Unknown] {
            let request = AttributeRequest { kind, only_public_attributes: false, sensitive: true };
            assert!(judge_attributes(request).is_err());
        }
    }
}
