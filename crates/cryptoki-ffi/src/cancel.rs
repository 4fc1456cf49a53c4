//! Ending an operation in the real module that its owner may not finish, so that the session stays usable.
//!
//! The calls made here carry data of a fixed form, never the caller's, and their output is wiped.

use cryptoki_sys::*;
use gate::Running;
use pkcs11_table::Use;
use zeroize::Zeroize as _;

use crate::real_module::RealModule;

/// Longer than any modulus or digest, so that mechanisms with a bound on their input end the operation with
/// `CKR_DATA_LEN_RANGE`.
const TOO_LONG: usize = 16 * 1024;

/// How the attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No operation runs any more.
    Yes,
    /// The real module holds on to it.
    No,
}

impl RealModule {
    /// Ends `running` on the application's session.
    pub fn cancel(&self, session: CK_SESSION_HANDLE, running: &Running) -> Cancelled {
        let list = self.list();
        let (one_shot, last, init) = match running.used() {
            Use::Sign => (
                if running.recover() { list.C_SignRecover } else { list.C_Sign },
                list.C_SignFinal,
                if running.recover() { list.C_SignRecoverInit } else { list.C_SignInit },
            ),
            Use::Decrypt => (list.C_Decrypt, list.C_DecryptFinal, list.C_DecryptInit),
            // Public keys only: those operations are never denied half-way.
            _ => return Cancelled::No,
        };
        let mut data = vec![0_u8; TOO_LONG];
        let mut output = vec![0_u8; 2 * TOO_LONG];
        if let Some(function) = one_shot {
            let mut length = output.len() as CK_ULONG;
            // SAFETY: both buffers have the lengths that are stated.
            unsafe {
                function(
                    session,
                    data.as_mut_ptr(),
                    data.len() as CK_ULONG,
                    output.as_mut_ptr(),
                    &raw mut length,
                );
            }
        }
        if still_active(init, session)
            && !running.recover()
            && let Some(function) = last
        {
            let mut length = output.len() as CK_ULONG;
            // SAFETY: the buffer has the length that is stated.
            unsafe { function(session, output.as_mut_ptr(), &raw mut length) };
        }
        output.zeroize();
        if still_active(init, session) { Cancelled::No } else { Cancelled::Yes }
    }
}

/// Asks by an init that cannot succeed (there is no object 0): only a busy session answers with
/// `CKR_OPERATION_ACTIVE`.
fn still_active(init: CK_C_SignInit, session: CK_SESSION_HANDLE) -> bool {
    let Some(init) = init else { return true };
    let mut mechanism =
        CK_MECHANISM { mechanism: CKM_RSA_PKCS, pParameter: core::ptr::null_mut(), ulParameterLen: 0 };
    // SAFETY: `mechanism` is complete, and 0 is no object's handle (PKCS#11 2.40 section 3.4).
    unsafe { init(session, &raw mut mechanism, CK_INVALID_HANDLE) == CKR_OPERATION_ACTIVE }
}
