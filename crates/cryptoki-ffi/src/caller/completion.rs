//! Whether a call has ended the operation that it went on with, or completed a message of it.

use cryptoki_sys::*;

use crate::calls;

/// Whether the output of an operation was given out, so that the operation is over: `CKR_OK` with a buffer.
macro_rules! completes {
    ($($call:ident: $output:ident;)*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation or message: anything but a question for the size and a buffer too small
            /// for it (PKCS#11 2.40 section 5.2).
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
    C_SignMessage: output; C_VerifyRecover: output;
}

macro_rules! never_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// An update, or the beginning of a message, ends nothing by succeeding.
            pub const fn completes(&self, _: CK_RV) -> bool {
                false
            }
        }
    )*};
}

never_completes!(
    C_DecryptDigestUpdate,
    C_DecryptMessageBegin,
    C_DecryptUpdate,
    C_DecryptVerifyUpdate,
    C_DigestEncryptUpdate,
    C_EncryptMessageBegin,
    C_EncryptUpdate,
    C_SignEncryptUpdate,
    C_SignMessageBegin,
    C_SignUpdate,
    C_VerifyMessageBegin,
    C_VerifySignatureUpdate,
    C_VerifyUpdate
);

macro_rules! always_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation or message: it has no output to ask the size of.
            pub const fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK
            }
        }
    )*};
}

always_completes!(C_Verify, C_VerifyFinal, C_VerifyMessage, C_VerifySignature, C_VerifySignatureFinal);

/// Whether a message has been enciphered or deciphered: a question for the size has no place for the output. Where there is
/// no input, no output is due, and the answer may be all in the message's parameter (PKCS#11 3.2 section 5.9).
macro_rules! completes_message {
    ($($call:ident $(by $end:ident)?;)*) => {$(
        impl calls::$call {
            /// Whether `rv` means that a message is complete.
            pub fn completes(&self, rv: CK_RV) -> bool {
                let is_last = true $(&& self.$end & CKF_END_OF_MESSAGE != 0)?;
                rv == CKR_OK && is_last && (!self.output.is_null() || self.input_len == 0)
            }
        }
    )*};
}

completes_message! {
    C_DecryptMessage;
    C_DecryptMessageNext by flags;
    C_EncryptMessage;
    C_EncryptMessageNext by flags;
}

impl calls::C_SignMessageNext {
    /// Whether `rv` means that a message is complete: the last part is the one with a place for the signature's length
    /// (PKCS#11 3.2 section 5.14).
    pub fn completes(&self, rv: CK_RV) -> bool {
        rv == CKR_OK && !self.output_len.is_null() && !self.output.is_null()
    }
}

impl calls::C_VerifyMessageNext {
    /// Whether `rv` means that a message is complete: the last part is the one with the signature (PKCS#11 3.2 section
    /// 5.16).
    pub fn completes(&self, rv: CK_RV) -> bool {
        rv == CKR_OK && !self.signature.is_null()
    }
}
