//! What a call touches, in the terms of grants: objects and tokens by name, and by what they were made from.

use attestation::key_uri::{KeyUri, ObjectClass, ObjectIdentity, TokenIdentity};

/// Something that a grant can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// An object of a class that key URIs know.
    Object(ObjectIdentity),
    /// A token as a whole, with every object on it that has no name of its own.
    Token(TokenIdentity),
}

impl Named {
    /// Whether `uri` names it.
    pub fn is_named_by(&self, uri: &KeyUri) -> bool {
        match self {
            Self::Object(identity) => uri.matches(identity),
            Self::Token(identity) => uri.matches_token(identity),
        }
    }

    /// Whether `uri`, which names it, states all of its name that a call can give: of an object id, label and class, of a
    /// token its label.
    pub fn is_stated_by(&self, uri: &KeyUri) -> bool {
        match self {
            Self::Object(_) => uri.states_whole_name(),
            Self::Token(_) => uri.token().is_some(),
        }
    }

    /// The RFC 7512 URI of it alone.
    pub fn uri(&self) -> String {
        match self {
            Self::Object(identity) => identity.uri(),
            Self::Token(identity) => identity.uri(),
        }
    }

    /// `CKA_CLASS`, where it is an object.
    pub const fn class(&self) -> Option<ObjectClass> {
        match self {
            Self::Object(identity) => Some(identity.class),
            Self::Token(_) => None,
        }
    }
}

/// An object or token that a call touches, with everything that must be granted for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    named: Named,
    judged_by: Vec<Named>,
}

impl Subject {
    /// What is judged by its own name.
    pub fn of(named: Named) -> Self {
        Self { judged_by: vec![named.clone()], named }
    }

    /// What was made from others: it keeps their grants and no more. An object that outlasts the session has a name under
    /// which others will find it, and so needs the grants of that name as well.
    pub(crate) fn made_from(named: Named, origins: &[Named], lasting: bool) -> Self {
        if origins.is_empty() {
            return Self::of(named);
        }
        let mut judged_by = origins.to_vec();
        if lasting && !judged_by.contains(&named) {
            judged_by.push(named.clone());
        }
        Self { named, judged_by }
    }

    /// What it is.
    pub const fn named(&self) -> &Named {
        &self.named
    }

    /// Everything that a grant has to name; never empty.
    pub fn judged_by(&self) -> &[Named] {
        &self.judged_by
    }

    /// Whether it is an object of this class.
    pub fn is(&self, class: ObjectClass) -> bool {
        self.named.class() == Some(class)
    }
}

/// An object that a call is about to make, as its template and mechanism say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewObject {
    /// What it will be.
    pub named: Named,
    /// `CKA_TOKEN`: it outlasts the session.
    pub lasting: bool,
}
