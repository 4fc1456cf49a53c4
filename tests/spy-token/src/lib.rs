//! A PKCS#11 module that records every call in the file `SPY_LOG` and then forwards it to the module `SPY_REAL`.
//!
//! Stands where the real module stands, so that tests can prove which calls arrived there. Made from the table of
//! functions; records numbers only: handles, slots, flags and attribute types, never a PIN, its length, or data.

#![allow(non_snake_case)]

mod record;

use std::env;
use std::sync::OnceLock;

use cryptoki_sys::*;
use libloading::Library;

use crate::record::{Recordable as _, record, record_session};

/// The functions of the module behind.
struct Real {
    list: *const CK_FUNCTION_LIST,
    /// Never unloaded: `list` points into it.
    _library: Library,
}

// SAFETY: the list is constant for as long as the library is loaded, which is for ever.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Option<Real>> = OnceLock::new();

fn real() -> Option<&'static CK_FUNCTION_LIST> {
    let real = REAL.get_or_init(load).as_ref()?;
    // SAFETY: `load` got the list from the module's own C_GetFunctionList.
    unsafe { real.list.as_ref() }
}

fn load() -> Option<Real> {
    // SAFETY: the test names a PKCS#11 module, whose initialisers are harmless.
    let library = unsafe { Library::new(env::var_os("SPY_REAL")?) }.ok()?;
    let mut list = core::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4).
    let rv = unsafe {
        let function: libloading::Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").ok()?;
        function(&raw mut list)
    };
    (rv == CKR_OK && !list.is_null()).then_some(Real { list, _library: library })
}

/// What happens after a call was recorded: `C_GetFunctionList` is answered here, the others are forwarded.
macro_rules! answer {
    (C_GetFunctionList($list:ident)) => {{
        if $list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: the caller gives a place for a pointer; the list is never written to.
        unsafe { *$list = (&raw const FUNCTION_LIST).cast_mut() };
        CKR_OK
    }};
    (C_OpenSession($slot:ident, $flags:ident, $application:ident, $notify:ident, $session:ident)) => {{
        let Some(function) = real().and_then(|list| list.C_OpenSession) else { return CKR_GENERAL_ERROR };
        // SAFETY: the caller's own arguments.
        let rv = unsafe { function($slot, $flags, $application, $notify, $session) };
        if rv == CKR_OK {
            // SAFETY: the real module has just written the handle there.
            record_session($slot, unsafe { *$session });
        }
        rv
    }};
    ($name:ident($($argument:ident),*)) => {
        match real().and_then(|list| list.$name) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_GENERAL_ERROR,
        }
    };
}

macro_rules! spy {
    ($($name:ident: $since:ident, $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                record(stringify!($name), &[$((stringify!($argument), $argument.recorded())),*]);
                answer!($name($($argument),*))
            }
        )*

        static FUNCTION_LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            $($name: Some($name),)*
        };
    };
}

pkcs11_table::pkcs11_functions!(spy);
