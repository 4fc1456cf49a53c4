//! Keys in and out: encapsulation makes generic secrets of fixed bytes, and authenticated wrapping is wrapping by
//! `CKM_AES_KEY_WRAP`, all in the module behind.

use cryptoki_sys::*;

use super::{RESULT, deliver};
use crate::behind::behind;

/// Makes a key of fixed bytes with the attributes of the template.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
unsafe fn make(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(function) = behind().and_then(|behind| behind.v2_40.C_CreateObject) else {
        return CKR_GENERAL_ERROR;
    };
    let mut value = RESULT;
    let (mut class, mut kind) = (CKO_SECRET_KEY, CKK_GENERIC_SECRET);
    let mut attributes = match template.is_null() {
        true => Vec::new(),
        // SAFETY: the caller's template has as many.
        false => unsafe { core::slice::from_raw_parts(template, count as usize) }.to_vec(),
    };
    let number = size_of::<CK_ULONG>() as CK_ULONG;
    for (type_, pointer, length) in [
        (CKA_CLASS, (&raw mut class).cast(), number),
        (CKA_KEY_TYPE, (&raw mut kind).cast(), number),
        (CKA_VALUE, value.as_mut_ptr().cast(), value.len() as CK_ULONG),
    ] {
        if !attributes.iter().any(|attribute| attribute.type_ == type_) {
            attributes.push(CK_ATTRIBUTE { type_, pValue: pointer, ulValueLen: length });
        }
    }
    // SAFETY: every attribute is the caller's or one of those above.
    unsafe { function(session, attributes.as_mut_ptr(), attributes.len() as CK_ULONG, key) }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
#[allow(clippy::too_many_arguments)]
pub unsafe fn C_EncapsulateKey(
    session: CK_SESSION_HANDLE,
    _: *mut CK_MECHANISM,
    _: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    ciphertext: *mut CK_BYTE,
    ciphertext_len: *mut CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's own arguments.
    match unsafe { deliver(&RESULT, ciphertext, ciphertext_len) } {
        // SAFETY: as above.
        Ok(true) => unsafe { make(session, template, count, key) },
        Ok(false) => CKR_OK,
        Err(rv) => rv,
    }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
#[allow(clippy::too_many_arguments)]
pub unsafe fn C_DecapsulateKey(
    session: CK_SESSION_HANDLE,
    _: *mut CK_MECHANISM,
    _: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's own arguments.
    unsafe { make(session, template, count, key) }
}

fn key_wrap() -> CK_MECHANISM {
    CK_MECHANISM { mechanism: CKM_AES_KEY_WRAP, pParameter: core::ptr::null_mut(), ulParameterLen: 0 }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
#[allow(clippy::too_many_arguments)]
pub unsafe fn C_WrapKeyAuthenticated(
    session: CK_SESSION_HANDLE,
    _: *mut CK_MECHANISM,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    wrapped: *mut CK_BYTE,
    wrapped_len: *mut CK_ULONG,
) -> CK_RV {
    let mut mechanism = key_wrap();
    match behind().and_then(|behind| behind.v2_40.C_WrapKey) {
        // SAFETY: the caller's own arguments, and a mechanism that outlives the call.
        Some(function) => unsafe {
            function(session, &raw mut mechanism, wrapping_key, key, wrapped, wrapped_len)
        },
        None => CKR_GENERAL_ERROR,
    }
}

/// The fake of this name.
///
/// # Safety
/// The arguments are a caller's, by the rules of PKCS#11.
#[allow(clippy::too_many_arguments)]
pub unsafe fn C_UnwrapKeyAuthenticated(
    session: CK_SESSION_HANDLE,
    _: *mut CK_MECHANISM,
    unwrapping_key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_len: CK_ULONG,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    _: *mut CK_BYTE,
    _: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let mut mechanism = key_wrap();
    match behind().and_then(|behind| behind.v2_40.C_UnwrapKey) {
        // SAFETY: the caller's own arguments, and a mechanism that outlives the call.
        Some(function) => unsafe {
            function(session, &raw mut mechanism, unwrapping_key, wrapped, wrapped_len, template, count, key)
        },
        None => CKR_GENERAL_ERROR,
    }
}
