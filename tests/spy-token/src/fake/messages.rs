//! Operations on messages, and those that take the signature first. A cipher turns each byte over; a signature is what every
//! signature reads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use super::{RESULT, bytes, deliver};

/// What an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Decrypt,
    Encrypt,
    Sign,
    Verify,
    VerifyGiven,
}

/// An operation that runs.
#[derive(Default)]
struct Running {
    /// A message was begun.
    in_message: bool,
    /// The signature that was given first is the right one.
    is_right: bool,
}

static RUNNING: Mutex<Option<HashMap<(CK_SESSION_HANDLE, Kind), Running>>> = Mutex::new(None);

struct All(MutexGuard<'static, Option<HashMap<(CK_SESSION_HANDLE, Kind), Running>>>);

impl All {
    fn lock() -> Self {
        Self(RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn map(&mut self) -> &mut HashMap<(CK_SESSION_HANDLE, Kind), Running> {
        self.0.get_or_insert_default()
    }
}

/// The session was closed.
pub fn closed(session: CK_SESSION_HANDLE) {
    All::lock().map().retain(|(of, _), _| *of != session);
}

/// Ends the operations that the flags of a `C_SessionCancel` name.
pub fn cancelled(session: CK_SESSION_HANDLE, flags: CK_FLAGS) {
    for (flag, kind) in [
        (CKF_MESSAGE_DECRYPT, Kind::Decrypt),
        (CKF_MESSAGE_ENCRYPT, Kind::Encrypt),
        (CKF_MESSAGE_SIGN, Kind::Sign),
        (CKF_MESSAGE_VERIFY, Kind::Verify),
        (CKF_VERIFY, Kind::VerifyGiven),
    ] {
        if flags & flag != 0 {
            All::lock().map().remove(&(session, kind));
        }
    }
}

fn begin(
    session: CK_SESSION_HANDLE,
    kind: Kind,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    is_right: bool,
) -> CK_RV {
    let mut all = All::lock();
    let is_active = all.map().contains_key(&(session, kind));
    match (mechanism.is_null(), is_active) {
        (true, true) => {
            all.map().remove(&(session, kind));
            CKR_OK
        }
        (true, false) => CKR_OPERATION_NOT_INITIALIZED,
        (false, true) => CKR_OPERATION_ACTIVE,
        (false, false) if key == CK_INVALID_HANDLE => CKR_KEY_HANDLE_INVALID,
        (false, false) => {
            all.map().insert((session, kind), Running { in_message: false, is_right });
            CKR_OK
        }
    }
}

/// Does something with what runs.
fn with(
    session: CK_SESSION_HANDLE,
    kind: Kind,
    then: impl FnOnce(&mut Running) -> Result<CK_RV, CK_RV>,
) -> CK_RV {
    let mut all = All::lock();
    let Some(running) = all.map().get_mut(&(session, kind)) else { return CKR_OPERATION_NOT_INITIALIZED };
    then(running).unwrap_or_else(|rv| rv)
}

fn begin_message(session: CK_SESSION_HANDLE, kind: Kind) -> CK_RV {
    with(session, kind, |running| {
        if running.in_message {
            return Err(CKR_OPERATION_ACTIVE);
        }
        running.in_message = true;
        Ok(CKR_OK)
    })
}

fn finish(session: CK_SESSION_HANDLE, kind: Kind) -> CK_RV {
    match All::lock().map().remove(&(session, kind)) {
        Some(_) => CKR_OK,
        None => CKR_OPERATION_NOT_INITIALIZED,
    }
}

fn verified(is_right: bool) -> CK_RV {
    if is_right { CKR_OK } else { CKR_SIGNATURE_INVALID }
}

macro_rules! inits {
    ($($name:ident: $kind:ident;)*) => {$(
        /// The fake of this name.
        ///
        /// # Safety
        /// The arguments are a caller's, by the rules of PKCS#11.
        pub unsafe fn $name(
            session: CK_SESSION_HANDLE,
            mechanism: *mut CK_MECHANISM,
            key: CK_OBJECT_HANDLE,
        ) -> CK_RV {
            begin(session, Kind::$kind, mechanism, key, false)
        }
    )*};
}

inits! {
    C_MessageDecryptInit: Decrypt;
    C_MessageEncryptInit: Encrypt;
    C_MessageSignInit: Sign;
    C_MessageVerifyInit: Verify;
}

macro_rules! finals {
    ($($name:ident: $kind:ident;)*) => {$(
        /// The fake of this name.
        ///
        /// # Safety
        /// The arguments are a caller's, by the rules of PKCS#11.
        pub unsafe fn $name(session: CK_SESSION_HANDLE) -> CK_RV {
            finish(session, Kind::$kind)
        }
    )*};
}

finals! {
    C_MessageDecryptFinal: Decrypt;
    C_MessageEncryptFinal: Encrypt;
    C_MessageSignFinal: Sign;
    C_MessageVerifyFinal: Verify;
}

macro_rules! ciphers {
    ($($kind:ident: $whole:ident, $begin:ident, $next:ident;)*) => {$(
        /// The fake of this name.
        ///
        /// # Safety
        /// The arguments are a caller's, by the rules of PKCS#11.
        #[allow(clippy::too_many_arguments)]
        pub unsafe fn $whole(
            session: CK_SESSION_HANDLE,
            _: CK_VOID_PTR,
            _: CK_ULONG,
            _: *mut CK_BYTE,
            _: CK_ULONG,
            input: *mut CK_BYTE,
            input_len: CK_ULONG,
            output: *mut CK_BYTE,
            output_len: *mut CK_ULONG,
        ) -> CK_RV {
            with(session, Kind::$kind, |running| {
                if running.in_message {
                    return Err(CKR_OPERATION_ACTIVE);
                }
                // SAFETY: the caller's own arguments.
                let turned: Vec<_> = unsafe { bytes(input, input_len) }.iter().map(|byte| !byte).collect();
                // SAFETY: as above.
                unsafe { deliver(&turned, output, output_len) }.map(|_| CKR_OK)
            })
        }

        /// The fake of this name.
        ///
        /// # Safety
        /// The arguments are a caller's, by the rules of PKCS#11.
        pub unsafe fn $begin(
            session: CK_SESSION_HANDLE,
            _: CK_VOID_PTR,
            _: CK_ULONG,
            _: *mut CK_BYTE,
            _: CK_ULONG,
        ) -> CK_RV {
            begin_message(session, Kind::$kind)
        }

        /// The fake of this name.
        ///
        /// # Safety
        /// The arguments are a caller's, by the rules of PKCS#11.
        #[allow(clippy::too_many_arguments)]
        pub unsafe fn $next(
            session: CK_SESSION_HANDLE,
            _: CK_VOID_PTR,
            _: CK_ULONG,
            input: *mut CK_BYTE,
            input_len: CK_ULONG,
            output: *mut CK_BYTE,
            output_len: *mut CK_ULONG,
            flags: CK_FLAGS,
        ) -> CK_RV {
            with(session, Kind::$kind, |running| {
                if !running.in_message {
                    return Err(CKR_OPERATION_NOT_INITIALIZED);
                }
                // SAFETY: the caller's own arguments.
                let turned: Vec<_> = unsafe { bytes(input, input_len) }.iter().map(|byte| !byte).collect();
                // SAFETY: as above.
                let is_given = unsafe { deliver(&turned, output, output_len) }?;
                running.in_message = !is_given || flags & CKF_END_OF_MESSAGE == 0;
                Ok(CKR_OK)
            })
        }
    )*};
}

ciphers! {
    Decrypt: C_DecryptMessage, C_DecryptMessageBegin, C_DecryptMessageNext;
    Encrypt: C_EncryptMessage, C_EncryptMessageBegin, C_EncryptMessageNext;
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_SignMessage(
    session: CK_SESSION_HANDLE,
    _: CK_VOID_PTR,
    _: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    output: *mut CK_BYTE,
    output_len: *mut CK_ULONG,
) -> CK_RV {
    with(session, Kind::Sign, |running| {
        if running.in_message {
            return Err(CKR_OPERATION_ACTIVE);
        }
        // SAFETY: the caller's own arguments.
        unsafe { deliver(&RESULT, output, output_len) }.map(|_| CKR_OK)
    })
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_SignMessageBegin(session: CK_SESSION_HANDLE, _: CK_VOID_PTR, _: CK_ULONG) -> CK_RV {
    begin_message(session, Kind::Sign)
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_SignMessageNext(
    session: CK_SESSION_HANDLE,
    _: CK_VOID_PTR,
    _: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    output: *mut CK_BYTE,
    output_len: *mut CK_ULONG,
) -> CK_RV {
    with(session, Kind::Sign, |running| {
        if !running.in_message {
            return Err(CKR_OPERATION_NOT_INITIALIZED);
        }
        if !output_len.is_null() {
            // SAFETY: the caller's own arguments.
            running.in_message = !unsafe { deliver(&RESULT, output, output_len) }?;
        }
        Ok(CKR_OK)
    })
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifyMessage(
    session: CK_SESSION_HANDLE,
    _: CK_VOID_PTR,
    _: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's own arguments.
    with(session, Kind::Verify, |_| Ok(verified(unsafe { bytes(signature, signature_len) } == RESULT)))
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifyMessageBegin(session: CK_SESSION_HANDLE, _: CK_VOID_PTR, _: CK_ULONG) -> CK_RV {
    begin_message(session, Kind::Verify)
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifyMessageNext(
    session: CK_SESSION_HANDLE,
    _: CK_VOID_PTR,
    _: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: CK_ULONG,
) -> CK_RV {
    with(session, Kind::Verify, |running| {
        if !running.in_message {
            return Err(CKR_OPERATION_NOT_INITIALIZED);
        }
        if signature.is_null() {
            return Ok(CKR_OK);
        }
        running.in_message = false;
        // SAFETY: the caller's own arguments.
        Ok(verified(unsafe { bytes(signature, signature_len) } == RESULT))
    })
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifySignatureInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    signature: *mut CK_BYTE,
    signature_len: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's own arguments.
    let is_right = unsafe { bytes(signature, signature_len) } == RESULT;
    begin(session, Kind::VerifyGiven, mechanism, key, is_right)
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifySignature(session: CK_SESSION_HANDLE, _: *mut CK_BYTE, _: CK_ULONG) -> CK_RV {
    // SAFETY: the caller's own arguments.
    unsafe { C_VerifySignatureFinal(session) }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifySignatureUpdate(session: CK_SESSION_HANDLE, _: *mut CK_BYTE, _: CK_ULONG) -> CK_RV {
    with(session, Kind::VerifyGiven, |_| Ok(CKR_OK))
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_VerifySignatureFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    match All::lock().map().remove(&(session, Kind::VerifyGiven)) {
        Some(running) => verified(running.is_right),
        None => CKR_OPERATION_NOT_INITIALIZED,
    }
}
