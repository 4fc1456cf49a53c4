//! What some modules do, where a test asks for it: `SPY_FILLS_IN=good` gives new objects that label, whatever was stated;
//! `SPY_REFUSES=C_DestroyObject,C_CopyObject` fails these calls without forwarding them.

use std::env;

use cryptoki_sys::*;

use crate::behind::behind;

/// Whether calls of this function fail.
pub fn refuses(function: &str) -> bool {
    env::var("SPY_REFUSES").is_ok_and(|listed| listed.split(',').any(|name| name == function))
}

/// Gives a new object the label that the test names.
///
/// # Safety
/// `object` is NULL or holds a handle.
pub unsafe fn fill_in(session: CK_SESSION_HANDLE, object: *const CK_OBJECT_HANDLE) {
    let function = behind().and_then(|behind| behind.v2_40.C_SetAttributeValue);
    let (Ok(mut label), Some(function), false) = (env::var("SPY_FILLS_IN"), function, object.is_null())
    else {
        return;
    };
    let mut attribute = CK_ATTRIBUTE {
        type_: CKA_LABEL,
        pValue: label.as_mut_ptr().cast(),
        ulValueLen: label.len() as CK_ULONG,
    };
    // SAFETY: not NULL, hence a handle by the promise above; the attribute is there.
    unsafe { function(session, *object, &raw mut attribute, 1) };
}
