//! The exported symbols, the function lists and the interfaces, made from the table. The only file of the shim with unsafe
//! code.

#![allow(unsafe_code, non_snake_case)]

use cryptoki_ffi::calls;
use cryptoki_ffi::entry;
use cryptoki_ffi::{Interface, STANDARD};
use cryptoki_sys::*;

use crate::instance;

macro_rules! export {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {$($(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            // SAFETY: this is the C caller's call, with the caller's promises (PKCS#11 3.2 section 5).
            entry(|| instance::answer(unsafe { calls::$name::from_caller($($argument),*) }))
        }
    )*)*};
}

pkcs11_table::pkcs11_functions!(export);

/// `C_GetInfo` of the lists of 3.x.
unsafe extern "C" fn newest_info(info: *mut CK_INFO) -> CK_RV {
    // SAFETY: as for the others.
    entry(|| instance::newest_info(unsafe { calls::C_GetInfo::from_caller(info) }))
}

/// The function lists, each with the rows of its own version behind those of the versions before. No entry is NULL: where the
/// real module has no such function, ours says `CKR_FUNCTION_NOT_SUPPORTED`.
macro_rules! lists {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:ident: $third_class:ident $(($($third_use:ident),+))?, $third_arguments:tt;)* }
    ) => {
        /// What `C_GetFunctionList` answers with.
        pub(crate) static FUNCTION_LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($first: Some($first),)*
        };

        /// That of 3.0, which 3.1 has taken over.
        const fn list_of_3_0(minor: CK_BYTE) -> CK_FUNCTION_LIST_3_0 {
            let list = CK_FUNCTION_LIST_3_0 {
                version: CK_VERSION { major: 3, minor },
                $($first: Some($first),)*
                $($second: Some($second),)*
            };
            CK_FUNCTION_LIST_3_0 { C_GetInfo: Some(newest_info), ..list }
        }

        const fn list_of_3_2() -> CK_FUNCTION_LIST_3_2 {
            let list = CK_FUNCTION_LIST_3_2 {
                version: CK_VERSION { major: 3, minor: 2 },
                $($first: Some($first),)*
                $($second: Some($second),)*
                $($third: Some($third),)*
            };
            CK_FUNCTION_LIST_3_2 { C_GetInfo: Some(newest_info), ..list }
        }
    };
}

pkcs11_table::pkcs11_functions!(lists);

static LIST_3_0: CK_FUNCTION_LIST_3_0 = list_of_3_0(0);
static LIST_3_1: CK_FUNCTION_LIST_3_0 = list_of_3_0(1);
static LIST_3_2: CK_FUNCTION_LIST_3_2 = list_of_3_2();

/// An interface of the standard with one of the lists above.
const fn standard<T>(list: &'static T) -> Interface {
    // SAFETY: every list above begins with its version, lives as long as the process, and is not written to.
    unsafe { Interface::new(STANDARD, core::ptr::from_ref(list).cast()) }
}

/// What can be offered, the newest first: which of it is, depends on the real module.
pub(crate) static INTERFACES: [Interface; 4] =
    [standard(&LIST_3_2), standard(&LIST_3_1), standard(&LIST_3_0), standard(&FUNCTION_LIST)];

/// The address of a function of this library, by which its file is found.
pub(crate) fn own_address() -> *const core::ffi::c_void {
    C_GetFunctionList as *const core::ffi::c_void
}
