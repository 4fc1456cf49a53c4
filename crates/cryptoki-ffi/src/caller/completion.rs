//! Whether a call has ended the operation that it went on with.

use cryptoki_sys::*;

use crate::calls;

/// Whether the output of an operation was given out, so that the operation is over: `CKR_OK` with a buffer.
macro_rules! completes {
    ($($call:ident: $output:ident;)*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation: anything but a question for the size and a buffer too small for it
            /// (PKCS#11 2.40 section 5.2).
            pub fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK && !self.$output.is_null()
            }
        }
    )*};
}

completes! {
    C_Sign: output; C_SignFinal: output; C_SignRecover: output;
    C_Decrypt: output; C_DecryptFinal: output;
    C_Encrypt: output; C_EncryptFinal: output;
    C_VerifyRecover: output;
}

macro_rules! never_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// An update never ends the operation by succeeding.
            pub const fn completes(&self, _: CK_RV) -> bool {
                false
            }
        }
    )*};
}

never_completes!(
    C_DecryptDigestUpdate,
    C_DecryptUpdate,
    C_DecryptVerifyUpdate,
    C_DigestEncryptUpdate,
    C_EncryptUpdate,
    C_SignEncryptUpdate,
    C_SignUpdate,
    C_VerifyUpdate
);

macro_rules! always_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation: it has no output to ask the size of.
            pub const fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK
            }
        }
    )*};
}

always_completes!(C_Verify, C_VerifyFinal);
