//! The rules: what has to be granted for each use of a key, an object or the token. Pure functions from what a call
//! touches to its demands; docs/ARCHITECTURE.md has them as a table.

mod keys;
mod objects;

use std::sync::Arc;

use attestation::grant::Operation;
use pkcs11_table::{Function, Use};

use crate::authorize::{Demand, Name};
use crate::subject::{Named, Subject};

pub use keys::{
    Mechanism, begin, decapsulate, derive, encapsulate, generate, set_operation_state, unwrap, wrap,
};
pub use objects::{
    AttributeRequest, ObjectKind, administer, change, copy, create, destroy, harmless, initialise,
    is_harmless, is_harmless_search, reveal,
};

/// A permission that is asked for: every demand must be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demands {
    /// Of the call that is judged.
    pub(crate) function: Function,
    /// Empty where the call makes no use of anything that is guarded.
    pub(crate) all: Vec<Demand>,
}

impl Demands {
    /// Nothing has to be granted.
    pub(crate) const fn none(function: Function) -> Self {
        Self { function, all: Vec::new() }
    }

    pub(crate) fn one(function: Function, demand: Demand) -> Self {
        Self { function, all: vec![demand] }
    }

    /// What each demand is about, for tests and records.
    pub fn iter(&self) -> impl Iterator<Item = &Demand> {
        self.all.iter()
    }
}

fn demand(operation: Operation, subject: &Arc<Subject>, mechanism: Option<u64>) -> Demand {
    Demand { operation, subject: Arc::clone(subject), mechanism, name: Name::Borne }
}

/// A demand on what an object is called once the call has made it.
fn given(operation: Operation, new: &Named, mechanism: Option<u64>) -> Demand {
    let name = match new {
        Named::Object(_) => Name::Given,
        // It has no name of its own: grants on the whole token cover it.
        Named::Token(_) => Name::Borne,
    };
    Demand { operation, subject: Arc::new(Subject::of(new.clone())), mechanism, name }
}

/// The operation that a grant has to name for a use.
pub(crate) const fn operation(of: Use) -> Operation {
    match of {
        Use::Administer => Operation::Administer,
        Use::Decapsulate => Operation::Decapsulate,
        Use::Decrypt => Operation::Decrypt,
        Use::Derive => Operation::Derive,
        Use::Destroy => Operation::Destroy,
        Use::Encapsulate => Operation::Encapsulate,
        Use::Encrypt => Operation::Encrypt,
        Use::Generate => Operation::Generate,
        Use::Import => Operation::Import,
        Use::Modify => Operation::Modify,
        Use::Reveal => Operation::Reveal,
        Use::Sign => Operation::Sign,
        Use::Unwrap => Operation::Unwrap,
        Use::Verify => Operation::Verify,
        Use::Wrap => Operation::Wrap,
    }
}
