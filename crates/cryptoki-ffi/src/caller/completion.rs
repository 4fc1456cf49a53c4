//! Whether a call has ended the operation that it went on with.

use cryptoki_sys::*;
use pkcs11_table::Use;

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

            /// Always `None`: what is given out by this call ends the operation.
            pub const fn yields(&self, _: CK_RV) -> Option<Use> {
                None
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

/// An update never ends the operation by succeeding, but may give out a part of its result.
macro_rules! never_completes {
    ($($call:ident: $yields:expr;)*) => {$(
        impl calls::$call {
            /// Always false: an update never ends the operation by succeeding.
            pub const fn completes(&self, _: CK_RV) -> bool {
                false
            }

            /// Of which operation `rv` means that a part of the result was given out.
            pub fn yields(&self, rv: CK_RV) -> Option<Use> {
                let yields: fn(&Self) -> Option<Use> = $yields;
                yields(self).filter(|_| rv == CKR_OK)
            }
        }
    )*};
}

never_completes! {
    C_DecryptDigestUpdate: |call| (!call.output.is_null()).then_some(Use::Decrypt);
    C_DecryptUpdate: |call| (!call.output.is_null()).then_some(Use::Decrypt);
    C_DecryptVerifyUpdate: |call| (!call.output.is_null()).then_some(Use::Decrypt);
    C_DigestEncryptUpdate: |call| (!call.output.is_null()).then_some(Use::Encrypt);
    C_EncryptUpdate: |call| (!call.output.is_null()).then_some(Use::Encrypt);
    C_SignEncryptUpdate: |call| (!call.output.is_null()).then_some(Use::Encrypt);
    C_SignUpdate: |_| None;
    C_VerifyUpdate: |_| None;
}

macro_rules! always_completes {
    ($($call:ident),*) => {$(
        impl calls::$call {
            /// Whether `rv` ends the operation: it has no output to ask the size of.
            pub const fn completes(&self, rv: CK_RV) -> bool {
                rv == CKR_OK
            }

            /// Always `None`: a verification gives nothing out.
            pub const fn yields(&self, _: CK_RV) -> Option<Use> {
                None
            }
        }
    )*};
}

always_completes!(C_Verify, C_VerifyFinal);

#[cfg(test)]
mod tests {
    use super::*;

    fn update(output: *mut CK_BYTE) -> calls::C_DecryptUpdate {
        let none = core::ptr::null_mut();
        // SAFETY: the call is not forwarded, so that nobody looks where its pointers lead.
        unsafe { calls::C_DecryptUpdate::from_caller(1, none, 0, output, core::ptr::null_mut()) }
    }

    #[test]
    fn an_update_gives_out_a_part_unless_it_fails_or_asks_for_the_size() {
        let mut place = 0;
        assert_eq!(update(&raw mut place).yields(CKR_OK), Some(Use::Decrypt));
        assert_eq!(update(&raw mut place).yields(CKR_BUFFER_TOO_SMALL), None);
        assert_eq!(update(core::ptr::null_mut()).yields(CKR_OK), None);
    }
}
