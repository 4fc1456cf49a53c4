//! Logins and sessions, which are those of the module behind. No operation is asynchronous.

use cryptoki_sys::*;

use super::messages;
use crate::behind::behind;

/// The operations of 2.40, which are the module's behind, and which it cannot be asked to cancel.
const OF_2_40: CK_FLAGS = CKF_ENCRYPT
    | CKF_DECRYPT
    | CKF_DIGEST
    | CKF_SIGN
    | CKF_SIGN_RECOVER
    | CKF_VERIFY_RECOVER
    | CKF_FIND_OBJECTS;

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_LoginUser(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
    _: *mut CK_UTF8CHAR,
    _: CK_ULONG,
) -> CK_RV {
    match behind().and_then(|behind| behind.v2_40.C_Login) {
        // SAFETY: the caller's own arguments.
        Some(function) => unsafe { function(session, user, pin, pin_len) },
        None => CKR_GENERAL_ERROR,
    }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) -> CK_RV {
    messages::cancelled(session, flags);
    if flags & OF_2_40 == 0 { CKR_OK } else { CKR_OPERATION_CANCEL_FAILED }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_GetSessionValidationFlags(
    _: CK_SESSION_HANDLE,
    _: CK_SESSION_VALIDATION_FLAGS_TYPE,
    flags: *mut CK_FLAGS,
) -> CK_RV {
    if flags.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: not NULL, hence a place for flags.
    unsafe { *flags = 0 };
    CKR_OK
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_AsyncComplete(_: CK_SESSION_HANDLE, _: *mut CK_UTF8CHAR, _: *mut CK_ASYNC_DATA) -> CK_RV {
    CKR_OPERATION_NOT_INITIALIZED
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_AsyncGetID(_: CK_SESSION_HANDLE, _: *mut CK_UTF8CHAR, _: *mut CK_ULONG) -> CK_RV {
    CKR_OPERATION_NOT_INITIALIZED
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
pub unsafe fn C_AsyncJoin(
    _: CK_SESSION_HANDLE,
    _: *mut CK_UTF8CHAR,
    _: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
) -> CK_RV {
    CKR_SAVED_STATE_INVALID
}
