//! Permits: the values without which no call reaches the real module.
//!
//! Their constructors are private to this crate, they are not `Clone`, and the call that uses one consumes it.

use pkcs11_table::{Class, Function};

/// Lets one call of one function through.
#[derive(Debug)]
#[must_use = "a permit that is not used means that a call was refused after all"]
pub struct Permit {
    function: Function,
}

impl Permit {
    pub(crate) const fn new(function: Function) -> Self {
        Self { function }
    }

    /// The function that was judged; the real module is asked for no other.
    pub const fn function(&self) -> Function {
        self.function
    }
}

/// Lets calls through that use no key. Costs nothing.
#[derive(Debug)]
pub struct Open(());

impl Open {
    /// The permit of a call that the gate has judged, though it uses no key.
    pub(crate) const fn judged() -> Self {
        Self(())
    }

    /// The permit of a function whose row in the table is open or belongs to the library's life cycle.
    pub const fn of(function: Function) -> Option<Self> {
        match function.class() {
            Class::Library | Class::Open => Some(Self(())),
            Class::Keyless
            | Class::Begin(_)
            | Class::Continue(_)
            | Class::Dual(..)
            | Class::Use(_)
            | Class::Conditional(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_that_may_use_a_key_has_an_open_permit() {
        for function in
            [Function::C_SignInit, Function::C_Sign, Function::C_Login, Function::C_GetAttributeValue]
        {
            assert!(Open::of(function).is_none(), "{function}");
        }
        assert!(Open::of(Function::C_GetInfo).is_some());
    }
}
