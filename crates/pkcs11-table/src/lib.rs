//! The interface of PKCS#11 as data: one row per function with the version it came with, its class and its
//! arguments. A function without a class does not compile, and what the gate does not know is denied.

#![forbid(unsafe_code)]

mod form;
mod functions;
mod mechanisms;

pub use form::Form;

pub use mechanisms::{
    Extent, FlatMechanisms, HandleField, Layout, Parameter, Pointer, Structure, Target, When, effective_use,
    generates_from_input, has_length_of_callers_choice, is_known, is_raw_rsa, is_vendors, layout,
    mechanism_by_name, mechanism_name, message_layout, message_parameter_is_unclear, parameter, with_buffers,
};

use core::fmt;

/// The version of the standard in which a function appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// PKCS#11 2.40.
    V2_40,
    /// PKCS#11 3.0; 3.1 has the same functions.
    V3_0,
    /// PKCS#11 3.2.
    V3_2,
}

/// A use that is made of a key, or of the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Changing the token: initialisation, PINs, the security officer.
    Administer,
    /// Getting a key out of what was made with a public key for its private half.
    Decapsulate,
    /// Decryption.
    Decrypt,
    /// Deriving a key from another.
    Derive,
    /// Destroying an object.
    Destroy,
    /// Making a key together with what its peer gets it from.
    Encapsulate,
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
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        /// A function of PKCS#11.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum Function {
            $($($name),*),*
        }

        impl Function {
            /// Every function, in the order of the function list.
            pub const ALL: &'static [Self] = &[$($(Self::$name),*),*];

            /// The C name.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$name => stringify!($name)),*),* }
            }

            /// When it came.
            pub const fn since(self) -> Since {
                match self { $($(Self::$name => Since::$since),*),* }
            }

            /// What it is to the gate.
            pub const fn class(self) -> Class {
                match self { $($(Self::$name => Class::$class $(($(Use::$use),+))?),*),* }
            }

            /// The names of its arguments.
            pub const fn arguments(self) -> &'static [&'static str] {
                match self { $($(Self::$name => &[$(stringify!($argument)),*]),*),* }
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
    fn the_versions_have_68_92_and_104_functions() {
        let up_to = |since| Function::ALL.iter().filter(|function| function.since() <= since).count();
        assert_eq!([Since::V2_40, Since::V3_0, Since::V3_2].map(up_to), [68, 92, 104]);
        // A function list has those of its own version behind those of the versions before.
        assert!(Function::ALL.is_sorted_by_key(|function| function.since()));
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
            "C_SessionCancel",
            "C_GetSessionValidationFlags",
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
    /// The others are written out too, so that a function does not come to be judged as another use by a slip.
    #[test]
    fn functions_of_3_0_and_3_2_have_these_classes() {
        let newer = Function::ALL.iter().filter(|function| function.since() > Since::V2_40);
        let of = |class: Class| -> Vec<_> {
            newer
                .clone()
                .filter(|function| function.class() == class)
                .map(|function| function.name())
                .collect()
        };
        assert_eq!(of(Class::Library), ["C_GetInterfaceList", "C_GetInterface"]);
        assert_eq!(of(Class::Conditional(Use::Administer)), ["C_LoginUser"]);
        assert_eq!(of(Class::Begin(Use::Encrypt)), ["C_MessageEncryptInit"]);
        assert_eq!(of(Class::Begin(Use::Decrypt)), ["C_MessageDecryptInit"]);
        assert_eq!(of(Class::Begin(Use::Sign)), ["C_MessageSignInit"]);
        assert_eq!(of(Class::Begin(Use::Verify)), ["C_MessageVerifyInit", "C_VerifySignatureInit"]);
        assert_eq!(
            of(Class::Continue(Use::Encrypt)),
            ["C_EncryptMessage", "C_EncryptMessageBegin", "C_EncryptMessageNext", "C_MessageEncryptFinal"]
        );
        assert_eq!(
            of(Class::Continue(Use::Decrypt)),
            ["C_DecryptMessage", "C_DecryptMessageBegin", "C_DecryptMessageNext", "C_MessageDecryptFinal"]
        );
        assert_eq!(
            of(Class::Continue(Use::Sign)),
            ["C_SignMessage", "C_SignMessageBegin", "C_SignMessageNext", "C_MessageSignFinal"]
        );
        assert_eq!(
            of(Class::Continue(Use::Verify)),
            [
                "C_VerifyMessage",
                "C_VerifyMessageBegin",
                "C_VerifyMessageNext",
                "C_MessageVerifyFinal",
                "C_VerifySignature",
                "C_VerifySignatureUpdate",
                "C_VerifySignatureFinal"
            ]
        );
        assert_eq!(of(Class::Use(Use::Encapsulate)), ["C_EncapsulateKey"]);
        assert_eq!(of(Class::Use(Use::Decapsulate)), ["C_DecapsulateKey"]);
        assert_eq!(of(Class::Use(Use::Reveal)), ["C_AsyncComplete", "C_AsyncGetID", "C_AsyncJoin"]);
        assert_eq!(of(Class::Use(Use::Wrap)), ["C_WrapKeyAuthenticated"]);
        assert_eq!(of(Class::Use(Use::Unwrap)), ["C_UnwrapKeyAuthenticated"]);
    }
}
