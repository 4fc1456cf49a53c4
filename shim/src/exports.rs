//! The exported symbols and the function list, made from the table, and the `dlopen` of a preloaded shim. The only file
//! of the shim with unsafe code.

#![allow(unsafe_code, non_snake_case)]

use cryptoki_ffi::calls;
use cryptoki_ffi::entry;
use cryptoki_sys::*;

use crate::instance;

macro_rules! export {
    ($($name:ident: $since:ident, $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                // SAFETY: this is the C caller's call, with the caller's promises (PKCS#11 2.40 section 5).
                entry(|| instance::answer(unsafe { calls::$name::from_caller($($argument),*) }))
            }
        )*

        /// What `C_GetFunctionList` answers with.
        pub(crate) static FUNCTION_LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($name: Some($name),)*
        };
    };
}

pkcs11_table::pkcs11_functions!(export);

linux_ffi::export_dlopen!(crate::preload::leads_to_real_module);

/// The address of a function of this library, by which its file is found.
pub(crate) fn own_address() -> *const core::ffi::c_void {
    C_GetFunctionList as *const core::ffi::c_void
}
