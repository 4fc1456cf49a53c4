//! One type per PKCS#11 function: a call as the application made it, made from the table.

#![allow(non_camel_case_types, non_snake_case)]

use cryptoki_sys::*;
use gate::{Open, Permit};
use pkcs11_table::Function;

use crate::lengths::{Argument as _, is_length};
use crate::lists::{Lists, entry};

mod sealed {
    pub trait Sealed {}
}

/// A call of one function, as the application made it. Only the table makes such types.
pub trait Call: sealed::Sealed + Sized {
    /// The function.
    const FUNCTION: Function;
    /// What it takes to forward it: [`Open`] where the table says so, else a [`Permit`].
    type Permit: Covers;

    /// Whether every length that is stated by value is one that memory can have.
    fn has_possible_lengths(&self) -> bool;

    /// Hands the call to the function of its name in the real module's lists.
    ///
    /// # Safety
    /// `lists` must be function lists that the real module gave out.
    #[doc(hidden)]
    unsafe fn forward(self, lists: &Lists) -> CK_RV;
}

/// Whether a permit is one for this function.
pub trait Covers: sealed::Sealed {
    #[doc(hidden)]
    fn covers(&self, function: Function) -> bool;
}

impl sealed::Sealed for Open {}
impl sealed::Sealed for Permit {}

impl Covers for Open {
    #[inline]
    fn covers(&self, _: Function) -> bool {
        // The type stands for the rows of the open class, and only those rows name it as their permit.
        true
    }
}

impl Covers for Permit {
    #[inline]
    fn covers(&self, function: Function) -> bool {
        self.function() == function
    }
}

macro_rules! permit_of {
    (Library) => {
        Open
    };
    (Open) => {
        Open
    };
    (Keyless) => {
        Open
    };
    (Begin) => {
        Permit
    };
    (Continue) => {
        Permit
    };
    (Dual) => {
        Permit
    };
    (Use) => {
        Permit
    };
    (Conditional) => {
        Permit
    };
}

macro_rules! define_calls {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        $($(define_calls!(@$since $name: $class, ($($argument: $type),*));)*)*
    };
    (@$since:ident $name:ident: $class:ident, ($($argument:ident: $type:ty),*)) => {
        #[doc = concat!("A call of `", stringify!($name), "`.")]
        #[derive(Clone, Copy)]
        pub struct $name {
            $(pub(crate) $argument: $type,)*
        }

        impl $name {
            /// Takes over the arguments of a call.
            ///
            /// # Safety
            /// A C caller made this call under the rules of PKCS#11: each pointer is NULL or points to what the
            /// standard says, for as long as the call lasts.
            #[allow(clippy::too_many_arguments)]
            pub const unsafe fn from_caller($($argument: $type),*) -> Self {
                Self { $($argument),* }
            }

            $(
                #[doc = concat!("The argument `", stringify!($argument), "`.")]
                pub const fn $argument(&self) -> $type {
                    self.$argument
                }
            )*
        }

        impl sealed::Sealed for $name {}

        impl Call for $name {
            const FUNCTION: Function = Function::$name;
            type Permit = permit_of!($class);

            #[inline]
            fn has_possible_lengths(&self) -> bool {
                true $(&& (!const { is_length(stringify!($argument)) } || self.$argument.can_be_length()))*
            }

            #[inline]
            unsafe fn forward(self, lists: &Lists) -> CK_RV {
                match entry!($since lists $name) {
                    // SAFETY: the arguments are a C caller's own, for the function of this name (`from_caller`).
                    Some(function) => unsafe { function($(self.$argument),*) },
                    None => CKR_FUNCTION_NOT_SUPPORTED,
                }
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(define_calls);
