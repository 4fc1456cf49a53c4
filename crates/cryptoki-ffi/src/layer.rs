//! The one shape of a layer: it answers calls, whatever stands behind it.

use cryptoki_sys::CK_RV;

use crate::calls::{self, Call};

/// Answers calls of one function.
pub trait Layer<C: Call> {
    /// The answer.
    fn call(&self, call: C) -> CK_RV;
}

/// The call type of a row, and for rows of the library's own life cycle one that a layer answers anyway.
macro_rules! answered {
    (Library $name:ident) => {
        calls::C_GetInfo
    };
    ($class:ident $name:ident) => {
        calls::$name
    };
}

macro_rules! define_answers {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, $arguments:tt;)*
    })*) => {
        /// Answers calls of every function but those of the library's own life cycle.
        pub trait Answers: $($(Layer<answered!($class $name)> +)*)* {}

        impl<T: $($(Layer<answered!($class $name)> +)*)*> Answers for T {}
    };
}

pkcs11_table::pkcs11_functions!(define_answers);
