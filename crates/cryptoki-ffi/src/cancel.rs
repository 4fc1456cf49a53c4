//! Ending an operation in the real module that its owner may not finish, so that the session stays usable.
//!
//! The calls made here carry data of a fixed form, never the caller's, and their output is wiped.

use cryptoki_sys::*;
use gate::Running;
use pkcs11_table::Use;
use zeroize::Zeroize as _;

use crate::real_module::RealModule;

/// Longer than any modulus or digest, and no multiple of a block, so that mechanisms with a rule for the length of their
/// input end the operation with `CKR_DATA_LEN_RANGE`.
const WRONG_LENGTH: usize = 16 * 1024 + 1;
/// No signature has one byte: verification ends with `CKR_SIGNATURE_LEN_RANGE`.
const NO_SIGNATURE: usize = 1;

/// How the attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No operation runs any more.
    Yes,
    /// The real module holds on to it.
    No,
}

/// How an operation is brought to its end.
enum Ending {
    /// By calls that give output.
    Output { one_shot: CK_C_Sign, last: CK_C_SignFinal },
    /// By calls that take a signature.
    Signature { one_shot: CK_C_Verify, last: CK_C_VerifyFinal },
}

impl RealModule {
    /// Ends `running` on the application's session: by a call in one part with data of a wrong length, then by the last of
    /// a call in parts; and looks whether it has ended.
    pub fn cancel(&self, session: CK_SESSION_HANDLE, running: &Running) -> Cancelled {
        let list = self.list();
        let ending = match (running.used(), running.recover()) {
            (Use::Sign, true) => Ending::Output { one_shot: list.C_SignRecover, last: None },
            (Use::Sign, false) => Ending::Output { one_shot: list.C_Sign, last: list.C_SignFinal },
            (Use::Decrypt, _) => Ending::Output { one_shot: list.C_Decrypt, last: list.C_DecryptFinal },
            (Use::Encrypt, _) => Ending::Output { one_shot: list.C_Encrypt, last: list.C_EncryptFinal },
            (Use::Verify, true) => Ending::Output { one_shot: list.C_VerifyRecover, last: None },
            (Use::Verify, false) => Ending::Signature { one_shot: list.C_Verify, last: list.C_VerifyFinal },
            _ => return Cancelled::No,
        };
        let still_active = || self.holds(session, running);
        match ending {
            Ending::Output { one_shot, last } => drain(session, one_shot, last, still_active),
            Ending::Signature { one_shot, last } => refute(session, one_shot, last, still_active),
        }
        if still_active() { Cancelled::No } else { Cancelled::Yes }
    }

    /// Whether `running`, or another operation in its place, runs in the real module.
    pub fn holds(&self, session: CK_SESSION_HANDLE, running: &Running) -> bool {
        let list = self.list();
        let init = match (running.used(), running.recover()) {
            (Use::Sign, true) => list.C_SignRecoverInit,
            (Use::Sign, false) => list.C_SignInit,
            (Use::Decrypt, _) => list.C_DecryptInit,
            (Use::Encrypt, _) => list.C_EncryptInit,
            (Use::Verify, true) => list.C_VerifyRecoverInit,
            (Use::Verify, false) => list.C_VerifyInit,
            _ => None,
        };
        still_active(init, session)
    }
}

fn drain(
    session: CK_SESSION_HANDLE,
    one_shot: CK_C_Sign,
    last: CK_C_SignFinal,
    still_active: impl Fn() -> bool,
) {
    let mut data = vec![0_u8; WRONG_LENGTH];
    let mut output = vec![0_u8; 2 * WRONG_LENGTH];
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
    if still_active()
        && let Some(function) = last
    {
        let mut length = output.len() as CK_ULONG;
        // SAFETY: the buffer has the length that is stated.
        unsafe { function(session, output.as_mut_ptr(), &raw mut length) };
    }
    output.zeroize();
}

fn refute(
    session: CK_SESSION_HANDLE,
    one_shot: CK_C_Verify,
    last: CK_C_VerifyFinal,
    still_active: impl Fn() -> bool,
) {
    let mut data = vec![0_u8; WRONG_LENGTH];
    let mut signature = [0_u8; NO_SIGNATURE];
    if let Some(function) = one_shot {
        // SAFETY: both buffers have the lengths that are stated.
        unsafe {
            function(
                session,
                data.as_mut_ptr(),
                data.len() as CK_ULONG,
                signature.as_mut_ptr(),
                NO_SIGNATURE as CK_ULONG,
            );
        }
    }
    if still_active()
        && let Some(function) = last
    {
        // SAFETY: the buffer has the length that is stated.
        unsafe { function(session, signature.as_mut_ptr(), NO_SIGNATURE as CK_ULONG) };
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
