//! Ending an operation in the real module that its owner may not finish, so that the session stays usable.
//!
//! The calls made here carry data of a fixed form, never the caller's, and their output is wiped.

use cryptoki_sys::*;
use gate::Running;
use pkcs11_table::{Form, Function, Use};
use zeroize::Zeroize as _;

use crate::lists::entry;
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

/// The operations that `C_SessionCancel` ends, by its flags (PKCS#11 3.2 section 5.6).
const FLAGS: [(CK_FLAGS, Use, Form); 11] = [
    (CKF_ENCRYPT, Use::Encrypt, Form::Plain),
    (CKF_DECRYPT, Use::Decrypt, Form::Plain),
    (CKF_SIGN, Use::Sign, Form::Plain),
    (CKF_SIGN_RECOVER, Use::Sign, Form::Recover),
    (CKF_VERIFY, Use::Verify, Form::Plain),
    (CKF_VERIFY, Use::Verify, Form::GivenSignature),
    (CKF_VERIFY_RECOVER, Use::Verify, Form::Recover),
    (CKF_MESSAGE_ENCRYPT, Use::Encrypt, Form::Messages),
    (CKF_MESSAGE_DECRYPT, Use::Decrypt, Form::Messages),
    (CKF_MESSAGE_SIGN, Use::Sign, Form::Messages),
    (CKF_MESSAGE_VERIFY, Use::Verify, Form::Messages),
];

/// The operations with a key that the flags of a `C_SessionCancel` name.
pub fn named_by(flags: CK_FLAGS) -> impl Iterator<Item = (Use, Form)> {
    FLAGS.into_iter().filter(move |(flag, ..)| flags & flag != 0).map(|(_, used, form)| (used, form))
}

/// How an operation is brought to its end.
enum Ending {
    /// By calls that give output.
    Output { one_shot: CK_C_Sign, last: CK_C_SignFinal },
    /// By calls that take a signature.
    Signature { one_shot: CK_C_Verify, last: CK_C_VerifyFinal },
    /// By calls that only take data.
    Data { one_shot: CK_C_VerifySignature, last: CK_C_VerifySignatureFinal },
    /// By a call that takes nothing.
    Last(CK_C_MessageSignFinal),
}

impl RealModule {
    /// Ends `running` on the application's session: by `C_SessionCancel` where there is one, else by a call in one part with
    /// data of a wrong length, then by the last of a call in parts; and looks whether it has ended.
    pub fn cancel(&self, session: CK_SESSION_HANDLE, running: &Running) -> Cancelled {
        let _turn = self.turn(Function::C_SignInit);
        let still_active = || self.is_held(session, running);
        self.cancel_by_flag(session, running);
        if !still_active() {
            return Cancelled::Yes;
        }
        match self.ending(running) {
            None => return Cancelled::No,
            Some(Ending::Output { one_shot, last }) => drain(session, one_shot, last, still_active),
            Some(Ending::Signature { one_shot, last }) => refute(session, one_shot, last, still_active),
            Some(Ending::Data { one_shot, last }) => feed(session, one_shot, last, still_active),
            Some(Ending::Last(Some(last))) => {
                // SAFETY: the call takes a number.
                unsafe { last(session) };
            }
            Some(Ending::Last(None)) => {}
        }
        if still_active() { Cancelled::No } else { Cancelled::Yes }
    }

    fn cancel_by_flag(&self, session: CK_SESSION_HANDLE, running: &Running) {
        let lists = self.lists();
        let flag = FLAGS.iter().find(|(_, used, form)| (*used, *form) == (running.used(), running.form()));
        if let (Some(function), Some((flag, ..))) = (entry!(V3_0 lists C_SessionCancel), flag) {
            // SAFETY: the call takes two numbers.
            unsafe { function(session, *flag) };
        }
    }

    fn ending(&self, running: &Running) -> Option<Ending> {
        let list = self.list();
        let lists = self.lists();
        Some(match (running.used(), running.form()) {
            (Use::Sign, Form::Plain) => Ending::Output { one_shot: list.C_Sign, last: list.C_SignFinal },
            (Use::Sign, Form::Recover) => Ending::Output { one_shot: list.C_SignRecover, last: None },
            (Use::Sign, Form::Messages) => Ending::Last(entry!(V3_0 lists C_MessageSignFinal)),
            (Use::Decrypt, Form::Messages) => Ending::Last(entry!(V3_0 lists C_MessageDecryptFinal)),
            (Use::Decrypt, _) => Ending::Output { one_shot: list.C_Decrypt, last: list.C_DecryptFinal },
            (Use::Encrypt, Form::Messages) => Ending::Last(entry!(V3_0 lists C_MessageEncryptFinal)),
            (Use::Encrypt, _) => Ending::Output { one_shot: list.C_Encrypt, last: list.C_EncryptFinal },
            (Use::Verify, Form::Plain) => {
                Ending::Signature { one_shot: list.C_Verify, last: list.C_VerifyFinal }
            }
            (Use::Verify, Form::Recover) => Ending::Output { one_shot: list.C_VerifyRecover, last: None },
            (Use::Verify, Form::Messages) => Ending::Last(entry!(V3_0 lists C_MessageVerifyFinal)),
            (Use::Verify, Form::GivenSignature) => Ending::Data {
                one_shot: entry!(V3_2 lists C_VerifySignature),
                last: entry!(V3_2 lists C_VerifySignatureFinal),
            },
            _ => return None,
        })
    }

    /// Whether `running`, or another operation in its place, runs in the real module.
    pub fn holds(&self, session: CK_SESSION_HANDLE, running: &Running) -> bool {
        let _turn = self.turn(Function::C_SignInit);
        self.is_held(session, running)
    }

    fn is_held(&self, session: CK_SESSION_HANDLE, running: &Running) -> bool {
        let list = self.list();
        let lists = self.lists();
        let init = match (running.used(), running.form()) {
            (Use::Sign, Form::Plain) => list.C_SignInit,
            (Use::Sign, Form::Recover) => list.C_SignRecoverInit,
            (Use::Sign, Form::Messages) => entry!(V3_0 lists C_MessageSignInit),
            (Use::Decrypt, Form::Messages) => entry!(V3_0 lists C_MessageDecryptInit),
            (Use::Decrypt, _) => list.C_DecryptInit,
            (Use::Encrypt, Form::Messages) => entry!(V3_0 lists C_MessageEncryptInit),
            (Use::Encrypt, _) => list.C_EncryptInit,
            (Use::Verify, Form::Plain) => list.C_VerifyInit,
            (Use::Verify, Form::Recover) => list.C_VerifyRecoverInit,
            (Use::Verify, Form::Messages) => entry!(V3_0 lists C_MessageVerifyInit),
            (Use::Verify, Form::GivenSignature) => {
                return takes_no_signature(entry!(V3_2 lists C_VerifySignatureInit), session);
            }
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

fn feed(
    session: CK_SESSION_HANDLE,
    one_shot: CK_C_VerifySignature,
    last: CK_C_VerifySignatureFinal,
    still_active: impl Fn() -> bool,
) {
    let mut data = vec![0_u8; WRONG_LENGTH];
    if let Some(function) = one_shot {
        // SAFETY: the buffer has the length that is stated.
        unsafe { function(session, data.as_mut_ptr(), data.len() as CK_ULONG) };
    }
    if still_active()
        && let Some(function) = last
    {
        // SAFETY: the call takes a number.
        unsafe { function(session) };
    }
}

fn no_mechanism() -> CK_MECHANISM {
    CK_MECHANISM { mechanism: CKM_RSA_PKCS, pParameter: core::ptr::null_mut(), ulParameterLen: 0 }
}

/// Asks by an init that cannot succeed (there is no object 0): only a busy session answers with
/// `CKR_OPERATION_ACTIVE`.
fn still_active(init: CK_C_SignInit, session: CK_SESSION_HANDLE) -> bool {
    let Some(init) = init else { return true };
    let mut mechanism = no_mechanism();
    // SAFETY: `mechanism` is complete, and 0 is no object's handle (PKCS#11 2.40 section 3.4).
    unsafe { init(session, &raw mut mechanism, CK_INVALID_HANDLE) == CKR_OPERATION_ACTIVE }
}

/// As [`still_active`], by the init that takes a signature.
fn takes_no_signature(init: CK_C_VerifySignatureInit, session: CK_SESSION_HANDLE) -> bool {
    let Some(init) = init else { return true };
    let mut mechanism = no_mechanism();
    let mut signature = [0_u8; NO_SIGNATURE];
    let (first, length) = (signature.as_mut_ptr(), NO_SIGNATURE as CK_ULONG);
    // SAFETY: as in `still_active`, and the signature has the length that is stated.
    unsafe { init(session, &raw mut mechanism, CK_INVALID_HANDLE, first, length) == CKR_OPERATION_ACTIVE }
}
