//! The function lists of 2.40 and 3.2, and the interfaces by which they are found (PKCS#11 3.2 section 5.4).

use std::ffi::CStr;

use cryptoki_sys::*;

const STANDARD: &CStr = c"PKCS 11";

macro_rules! lists {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:ident: $third_class:ident $(($($third_use:ident),+))?, $third_arguments:tt;)* }
    ) => {
        /// What `C_GetFunctionList` answers with.
        pub static FUNCTION_LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($first: Some(crate::$first),)*
        };

        static FUNCTION_LIST_3_2: CK_FUNCTION_LIST_3_2 = CK_FUNCTION_LIST_3_2 {
            version: CK_VERSION { major: 3, minor: 2 },
            $($first: Some(crate::$first),)*
            $($second: Some(crate::$second),)*
            $($third: Some(crate::$third),)*
        };
    };
}

pkcs11_table::pkcs11_functions!(lists);

struct Interfaces([CK_INTERFACE; 2]);

// SAFETY: names and lists are constant, and nobody writes to the interfaces.
unsafe impl Sync for Interfaces {}

/// The newest first.
static INTERFACES: Interfaces = Interfaces([
    CK_INTERFACE {
        pInterfaceName: STANDARD.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTION_LIST_3_2).cast_mut().cast(),
        flags: 0,
    },
    CK_INTERFACE {
        pInterfaceName: STANDARD.as_ptr().cast_mut().cast(),
        pFunctionList: (&raw const FUNCTION_LIST).cast_mut().cast(),
        flags: 0,
    },
]);

/// Answers `C_GetInterfaceList`.
///
/// # Safety
/// `count` is NULL or a place for a number; `interfaces` is NULL or has room for as many as that says.
pub unsafe fn interface_list(interfaces: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    if count.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Interfaces(all) = &INTERFACES;
    // SAFETY: not NULL, hence a place for a number.
    let room = unsafe { count.replace(all.len() as CK_ULONG) };
    if interfaces.is_null() {
        return CKR_OK;
    }
    if room < all.len() as CK_ULONG {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: there is room for as many.
    unsafe { interfaces.copy_from_nonoverlapping(all.as_ptr(), all.len()) };
    CKR_OK
}

/// Answers `C_GetInterface`.
///
/// # Safety
/// `name` is NULL or a string, `version` NULL or one, `place` NULL or a place for a pointer.
pub unsafe fn interface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    place: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    // SAFETY: NULL or a string.
    let is_standard = name.is_null() || unsafe { CStr::from_ptr(name.cast()) } == STANDARD;
    if place.is_null() || !is_standard || flags != 0 {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: NULL or a version.
    let wanted = unsafe { version.as_ref() }.map(|version| (version.major, version.minor));
    let found = INTERFACES.0.iter().find(|interface| {
        // SAFETY: lists begin with their version.
        let version = unsafe { *interface.pFunctionList.cast::<CK_VERSION>() };
        wanted.is_none_or(|wanted| wanted == (version.major, version.minor))
    });
    let Some(found) = found else { return CKR_ARGUMENTS_BAD };
    // SAFETY: not NULL, hence a place for a pointer.
    unsafe { *place = core::ptr::from_ref(found).cast_mut() };
    CKR_OK
}
