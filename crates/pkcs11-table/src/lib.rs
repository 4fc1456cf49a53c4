//! The interface of PKCS#11 as data: one row per function with the version it came with, its class and its
//! arguments. A function without a class does not compile, and what the gate does not know is denied.

#![forbid(unsafe_code)]

mod functions;
mod mechanisms;

pub use mechanisms::{
    Buffer, Buffers, HandleField, Parameter, When, buffers, effective_use, generates_from_input,
    has_length_of_callers_choice, is_known, is_raw_rsa, mechanism_by_name, mechanism_name, parameter,
};

use core::fmt;

/// The version of the standard in which a function appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// PKCS#11 2.40.
    V2_40,
}

/// A use that is made of a key, or of the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Changing the token: initialisation, PINs, the security officer.
    Administer,
    /// Decryption.
    Decrypt,
    /// Deriving a key from another.
    Derive,
    /// Destroying an object.
    Destroy,
    /// Encryption.
    Encrypt,
    /// Generating a key.
    Generate,
    /// Bringing in a key from outside.
    Import,
    /// Changing or copying an object.
    Modify,
    /// Getting secret material out.
    Reveal,
    /// Signature or message authentication code.
    Sign,
    /// Unwrapping a key.
    Unwrap,
    /// Verification.
    Verify,
    /// Wrapping a key.
    Wrap,
}

/// What a function is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The library's own life cycle; answered by the shim.
    Library,
    /// Never makes use of a key, and is answered to anybody.
    Open,
    /// Has the HSM do something without a key: searching, digests, random numbers. Takes a trust token where the scope is
    /// `everything`.
    Keyless,
    /// Begins an operation with a key.
    Begin(Use),
    /// Goes on with an operation that was begun.
    Continue(Use),
    /// Goes on with two operations at once.
    Dual(Use, Use),
    /// Uses a key in one call.
    Use(Use),
    /// A use of a key or not, by its arguments.
    Conditional(Use),
}

macro_rules! define_functions {
    ($($name:ident: $since:ident, $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*) => {
        /// A function of PKCS#11.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum Function {
            $($name),*
        }

        impl Function {
            /// Every function, in the order of the function list.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The C name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// When it came.
            pub const fn since(self) -> Since {
                match self { $(Self::$name => Since::$since),* }
            }

            /// What it is to the gate.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class $(($(Use::$use),+))?),* }
            }

            /// The names of its arguments.
            pub const fn arguments(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$(stringify!($argument)),*]),* }
            }
        }
    };
}

pkcs11_functions!(define_functions);

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_40_has_68_functions() {
        assert_eq!(Function::ALL.iter().filter(|function| function.since() == Since::V2_40).count(), 68);
    }

    #[test]
    fn every_way_to_use_a_key_has_a_class_that_is_not_open() {
        let open: Vec<_> = Function::ALL
            .iter()
            .filter(|function| function.class() == Class::Open)
            .map(|f| f.name())
            .collect();
        // Written out, so that opening a function takes a change in two places.
        let expected = [
            "C_GetInfo",
            "C_GetSlotList",
            "C_GetSlotInfo",
            "C_GetTokenInfo",
            "C_GetMechanismList",
            "C_GetMechanismInfo",
            "C_OpenSession",
            "C_CloseSession",
            "C_CloseAllSessions",
            "C_GetSessionInfo",
            "C_Logout",
            "C_FindObjects",
            "C_FindObjectsFinal",
            "C_Digest",
            "C_DigestUpdate",
            "C_DigestFinal",
            "C_GetFunctionStatus",
            "C_CancelFunction",
            "C_WaitForSlotEvent",
        ];
        assert_eq!(open, expected);
        let keyless: Vec<_> = Function::ALL
            .iter()
            .filter(|function| function.class() == Class::Keyless)
            .map(|f| f.name())
            .collect();
        let expected =
            ["C_GetObjectSize", "C_FindObjectsInit", "C_DigestInit", "C_SeedRandom", "C_GenerateRandom"];
        assert_eq!(keyless, expected);
    }
}
