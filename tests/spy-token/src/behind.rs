//! The module behind the spy.

use std::env;
use std::sync::OnceLock;

use cryptoki_sys::*;
use libloading::{Library, Symbol};

/// The functions of the module behind.
pub struct Behind {
    /// Of `C_GetFunctionList`.
    pub v2_40: &'static CK_FUNCTION_LIST,
    /// Of its interface 3.0, 3.1 or, as far as it goes, 3.2.
    pub v3_0: Option<&'static CK_FUNCTION_LIST_3_0>,
    /// Of its interface 3.2.
    pub v3_2: Option<&'static CK_FUNCTION_LIST_3_2>,
    /// Never unloaded: the lists point into it.
    _library: Library,
}

static BEHIND: OnceLock<Option<Behind>> = OnceLock::new();

/// The module behind, loaded at the first call.
pub fn behind() -> Option<&'static Behind> {
    BEHIND.get_or_init(load).as_ref()
}

type GetInterface =
    unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

fn load() -> Option<Behind> {
    // SAFETY: the test names a PKCS#11 module, whose initialisers are harmless.
    let library = unsafe { Library::new(env::var_os("SPY_REAL")?) }.ok()?;
    let mut list = core::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4).
    let rv = unsafe {
        let function: Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").ok()?;
        function(&raw mut list)
    };
    let list = (rv == CKR_OK).then_some(list)?;
    let interface = |minor| {
        let mut version = CK_VERSION { major: 3, minor };
        let mut interface: *mut CK_INTERFACE = core::ptr::null_mut();
        let name = c"PKCS 11".as_ptr().cast_mut().cast();
        // SAFETY: the symbol has this type in every module that has it (PKCS#11 3.0 section 5.4).
        let rv = unsafe {
            let function: Symbol<'_, GetInterface> = library.get(b"C_GetInterface\0").ok()?;
            function(name, &raw mut version, &raw mut interface, 0)
        };
        // SAFETY: the module says that it has given one.
        (rv == CKR_OK).then(|| unsafe { (*interface).pFunctionList })
    };
    let newest = interface(2);
    let middle = newest.or_else(|| interface(1)).or_else(|| interface(0));
    // SAFETY: the lists are the module's own, and have these layouts; that of 3.2 begins as that of 3.0 does.
    unsafe {
        Some(Behind {
            v2_40: list.as_ref()?,
            v3_0: middle.and_then(|list| list.cast::<CK_FUNCTION_LIST_3_0>().as_ref()),
            v3_2: newest.and_then(|list| list.cast::<CK_FUNCTION_LIST_3_2>().as_ref()),
            _library: library,
        })
    }
}
