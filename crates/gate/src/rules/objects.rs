//! Uses of objects as such, and of the token: making, changing, destroying, reading, administering.

use std::sync::Arc;

use attestation::grant::Operation;
use attestation::key_uri::ObjectClass;
use pkcs11_table::Function;

use super::{Demands, demand, given};
use crate::authorize::{Demand, Name};
use crate::subject::{Named, NewObject, Subject};

/// What an object is, as far as the rules have to know.
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
    /// Anything else. It has no name in key URIs, so the token as a whole must be granted.
    Unknown,
}

impl ObjectKind {
    /// The class by which key URIs know it.
    pub const fn class(self) -> Option<ObjectClass> {
        match self {
            Self::Certificate => Some(ObjectClass::Certificate),
            Self::PrivateData | Self::PublicData => Some(ObjectClass::Data),
            Self::PrivateKey => Some(ObjectClass::Private),
            Self::PublicKey => Some(ObjectClass::Public),
            Self::SecretKey => Some(ObjectClass::Secret),
            Self::Unknown => None,
        }
    }

    /// Whether it is a key.
    pub const fn is_key(self) -> bool {
        matches!(self, Self::PrivateKey | Self::PublicKey | Self::SecretKey)
    }
}

/// What a `C_GetAttributeValue` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeRequest {
    /// The object that is asked.
    pub kind: ObjectKind,
    /// Every attribute of the template is one that holds nothing secret, on any kind of object.
    pub only_public_attributes: bool,
    /// `CKA_SENSITIVE` is true: the token itself never answers with the value (PKCS#11 2.40 section 4.9), and it is not asked for
    /// anything that is made of the value.
    pub sensitive: bool,
}

/// To create an object with these attributes: certificates and data are free.
pub fn create(function: Function, kind: ObjectKind, new: &NewObject) -> Demands {
    match kind {
        ObjectKind::Certificate | ObjectKind::PrivateData | ObjectKind::PublicData => Demands::none(function),
        ObjectKind::PrivateKey | ObjectKind::PublicKey | ObjectKind::SecretKey | ObjectKind::Unknown => {
            Demands::one(function, given(Operation::Import, &new.named, None))
        }
    }
}

/// To change an object: as it is before and, where `after` says that it gets another name or comes to last, as it is then.
/// Private data that the call may make public can be read by anybody afterwards.
pub fn change(
    function: Function,
    (kind, may_be_public): (ObjectKind, bool),
    before: &Arc<Subject>,
    after: Option<&Named>,
) -> Demands {
    let name = Name::Changed { from: Arc::clone(before) };
    becomes(function, (kind, may_be_public), before, after.map(|after| (after, name)))
}

/// To copy an object. A copy that lasts will be found by its own name; one of the session is judged by its original. Where the
/// original lasts (`lasts`), its name has been given already, and a second object of that name is none that was not there.
/// A copy of private data may be public, as its template or the token has it (PKCS#11 2.40 section 5.7, `C_CopyObject`).
pub fn copy(
    function: Function,
    kind: ObjectKind,
    (original, lasts): (&Arc<Subject>, bool),
    new: &NewObject,
) -> Demands {
    let name = match lasts && *original.named() == new.named {
        true => Name::Borne,
        false => Name::Changed { from: Arc::clone(original) },
    };
    becomes(function, (kind, true), original, new.lasting.then_some((&new.named, name)))
}

fn becomes(
    function: Function,
    (kind, may_be_public): (ObjectKind, bool),
    before: &Arc<Subject>,
    after: Option<(&Named, Name)>,
) -> Demands {
    if kind == ObjectKind::PublicData {
        return Demands::none(function);
    }
    let mut all = vec![demand(Operation::Modify, before, None)];
    if kind == ObjectKind::PrivateData && may_be_public {
        all.push(demand(Operation::Reveal, before, None));
    }
    all.extend(after.map(|(after, name)| {
        let after = Arc::new(Subject::of(after.clone()));
        Demand { name, ..demand(Operation::Modify, &after, None) }
    }));
    Demands { function, all }
}

/// To destroy an object.
pub fn destroy(function: Function, kind: ObjectKind, object: &Arc<Subject>) -> Demands {
    match kind {
        ObjectKind::PublicData => Demands::none(function),
        _ => Demands::one(function, demand(Operation::Destroy, object, None)),
    }
}

/// Whether the answer can hold nothing secret; else it takes [`reveal`].
pub const fn is_harmless(request: AttributeRequest) -> bool {
    request.only_public_attributes
        || match request.kind {
            ObjectKind::Certificate | ObjectKind::PublicData | ObjectKind::PublicKey => true,
            ObjectKind::PrivateKey | ObjectKind::SecretKey => request.sensitive,
            ObjectKind::PrivateData | ObjectKind::Unknown => false,
        }
}

/// To do what uses no key, changes nothing and reveals nothing.
pub const fn harmless(function: Function) -> Demands {
    Demands::none(function)
}

/// To get something out that is made of the secrets of `objects`.
pub fn reveal<'a>(function: Function, objects: impl IntoIterator<Item = &'a Arc<Subject>>) -> Demands {
    let all = objects.into_iter().map(|subject| demand(Operation::Reveal, subject, None)).collect();
    Demands { function, all }
}

/// Whether a search can tell nothing secret. One by an attribute that may hold a secret tells whether an object has just that
/// value, so that a key could be had by trying; certificates and public keys keep none.
pub const fn is_harmless_search(only_public_attributes: bool, kind: Option<ObjectKind>) -> bool {
    only_public_attributes || matches!(kind, Some(ObjectKind::Certificate | ObjectKind::PublicKey))
}

/// To administer a token.
pub fn administer(function: Function, token: &Arc<Subject>) -> Demands {
    Demands::one(function, demand(Operation::Administer, token, None))
}

/// To initialise a token: the one that is there, and the one that it becomes. Under a new name it could pass for a token that
/// others have grants on.
pub fn initialise(function: Function, before: &Arc<Subject>, after: &Arc<Subject>) -> Demands {
    let name = if before == after { Name::Borne } else { Name::Given };
    let become_it = Demand { name, ..demand(Operation::Administer, after, None) };
    Demands { function, all: vec![demand(Operation::Administer, before, None), become_it] }
}

#[cfg(test)]
mod tests {
    use attestation::key_uri::TokenIdentity;

    use super::*;
    use crate::subject::Named;

    const KINDS: [ObjectKind; 7] = [
        ObjectKind::Certificate,
        ObjectKind::PrivateData,
        ObjectKind::PrivateKey,
        ObjectKind::PublicData,
        ObjectKind::PublicKey,
        ObjectKind::SecretKey,
        ObjectKind::Unknown,
    ];

    fn named(name: &str) -> Named {
        Named::Token(TokenIdentity {
            label: name.into(),
            serial: "1".into(),
            model: "m".into(),
            manufacturer: "v".into(),
        })
    }

    fn subject(name: &str) -> Arc<Subject> {
        Arc::new(Subject::of(named(name)))
    }

    fn shown(demands: &Demands) -> Vec<(Operation, String)> {
        let name = |subject: &Subject| match subject.named() {
            Named::Token(token) => token.label.clone(),
            Named::Object(_) => panic!("an object"),
        };
        demands.iter().map(|demand| (demand.operation, name(&demand.subject))).collect()
    }

    fn free(demands: impl Fn(ObjectKind) -> Demands) -> Vec<ObjectKind> {
        KINDS.into_iter().filter(|kind| demands(*kind).iter().next().is_none()).collect()
    }

    #[test]
    fn a_search_by_what_may_be_secret_is_harmless_among_public_things_only() {
        for kind in KINDS {
            assert!(is_harmless_search(true, Some(kind)), "{kind:?}");
            let is_public = matches!(kind, ObjectKind::Certificate | ObjectKind::PublicKey);
            assert_eq!(is_harmless_search(false, Some(kind)), is_public, "{kind:?}");
        }
        assert!(is_harmless_search(true, None));
        assert!(!is_harmless_search(false, None));
    }

    #[test]
    fn keys_and_objects_of_unknown_classes_need_import() {
        let new = NewObject { named: named("new"), lasting: false };
        let create = |kind| create(Function::C_CreateObject, kind, &new);
        assert_eq!(free(create), [ObjectKind::Certificate, ObjectKind::PrivateData, ObjectKind::PublicData]);
        for kind in
            [ObjectKind::PrivateKey, ObjectKind::PublicKey, ObjectKind::SecretKey, ObjectKind::Unknown]
        {
            assert_eq!(shown(&create(kind)), [(Operation::Import, "new".into())]);
        }
    }

    #[test]
    fn only_public_data_is_free_to_change_copy_and_destroy() {
        let (object, after) = (subject("object"), named("after"));
        let new = NewObject { named: named("copy"), lasting: true };
        let change = |kind| change(Function::C_SetAttributeValue, (kind, false), &object, Some(&after));
        let copy = |kind| copy(Function::C_CopyObject, kind, (&object, true), &new);
        let destroy = |kind| destroy(Function::C_DestroyObject, kind, &object);
        assert_eq!(free(change), [ObjectKind::PublicData]);
        assert_eq!(free(copy), [ObjectKind::PublicData]);
        assert_eq!(free(destroy), [ObjectKind::PublicData]);
        let kind = ObjectKind::PrivateKey;
        assert_eq!(
            shown(&change(kind)),
            [(Operation::Modify, "object".into()), (Operation::Modify, "after".into())]
        );
        assert_eq!(
            shown(&copy(kind)),
            [(Operation::Modify, "object".into()), (Operation::Modify, "copy".into())]
        );
        assert_eq!(shown(&destroy(kind)), [(Operation::Destroy, "object".into())]);
    }

    #[test]
    fn private_data_that_may_become_public_is_revealed() {
        let (object, new) = (subject("object"), NewObject { named: named("copy"), lasting: false });
        let modify = [(Operation::Modify, "object".to_owned())];
        let both = [(Operation::Modify, "object".to_owned()), (Operation::Reveal, "object".to_owned())];
        let change = |kind, may_be_public| {
            shown(&change(Function::C_SetAttributeValue, (kind, may_be_public), &object, None))
        };
        let copy = |kind| shown(&copy(Function::C_CopyObject, kind, (&object, true), &new));
        assert_eq!(change(ObjectKind::PrivateData, false), modify);
        assert_eq!(change(ObjectKind::PrivateData, true), both);
        assert_eq!(copy(ObjectKind::PrivateData), both);
        for kind in KINDS.into_iter().filter(|kind| *kind != ObjectKind::PrivateData) {
            assert_eq!(change(kind, true), change(kind, false), "{kind:?}");
            assert!(copy(kind).iter().all(|(operation, _)| *operation == Operation::Modify), "{kind:?}");
        }
    }

    #[test]
    fn a_change_of_other_attributes_and_a_copy_for_the_session_need_the_object_only() {
        let object = subject("object");
        let expected = [(Operation::Modify, "object".to_owned())];
        assert_eq!(
            shown(&change(Function::C_SetAttributeValue, (ObjectKind::SecretKey, true), &object, None)),
            expected
        );
        let new = NewObject { named: named("copy"), lasting: false };
        assert_eq!(
            shown(&copy(Function::C_CopyObject, ObjectKind::SecretKey, (&object, true), &new)),
            expected
        );
    }

    #[test]
    fn values_of_keys_that_are_not_sensitive_need_reveal() {
        for kind in [ObjectKind::PrivateKey, ObjectKind::SecretKey] {
            let is_free = |only_public_attributes, sensitive| {
                is_harmless(AttributeRequest { kind, only_public_attributes, sensitive })
            };
            assert!(!is_free(false, false));
            assert!(is_free(false, true));
            assert!(is_free(true, false));
        }
    }

    #[test]
    fn private_data_and_unknown_objects_need_reveal() {
        let free = |only_public_attributes, sensitive| {
            let is_free = |kind: &ObjectKind| {
                is_harmless(AttributeRequest { kind: *kind, only_public_attributes, sensitive })
            };
            KINDS.into_iter().filter(is_free).collect::<Vec<_>>()
        };
        let public = [ObjectKind::Certificate, ObjectKind::PublicData, ObjectKind::PublicKey];
        assert_eq!(free(false, false), public);
        assert!(!free(false, true).contains(&ObjectKind::PrivateData));
        assert!(!free(false, true).contains(&ObjectKind::Unknown));
        assert_eq!(free(true, false), KINDS);
    }

    #[test]
    fn every_object_and_every_token_of_a_call_is_asked_for() {
        let (one, other) = (subject("one"), subject("other"));
        assert_eq!(
            shown(&reveal(Function::C_GetOperationState, [&one, &other])),
            [(Operation::Reveal, "one".into()), (Operation::Reveal, "other".into())]
        );
        assert_eq!(
            shown(&initialise(Function::C_InitToken, &one, &other)),
            [(Operation::Administer, "one".into()), (Operation::Administer, "other".into())]
        );
        assert_eq!(shown(&administer(Function::C_InitPIN, &one)), [(Operation::Administer, "one".into())]);
    }

    #[test]
    fn objects_have_the_class_of_key_uris() {
        for (kind, class, is_key) in [
            (ObjectKind::Certificate, Some(ObjectClass::Certificate), false),
            (ObjectKind::PrivateData, Some(ObjectClass::Data), false),
            (ObjectKind::PrivateKey, Some(ObjectClass::Private), true),
            (ObjectKind::PublicData, Some(ObjectClass::Data), false),
            (ObjectKind::PublicKey, Some(ObjectClass::Public), true),
            (ObjectKind::SecretKey, Some(ObjectClass::Secret), true),
            (ObjectKind::Unknown, None, false),
        ] {
            assert_eq!((kind.class(), kind.is_key()), (class, is_key), "{kind:?}");
        }
    }
}
