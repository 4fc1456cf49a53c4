//! The real module's functions where its own list leads back to this library.
//!
//! Many modules export all of `C_*` and have their list relocated by those names. In a process where this library's
//! exports come first (it was preloaded), the loader then enters ours into the module's list. What the module itself
//! exports is still found under its handle; its list is left as it is.

use std::ffi::{CStr, c_void};

use cryptoki_sys::*;

use crate::real_module::same_object;

/// The list, with the module's own exports where it has functions of the library that `ours` lies in. Nothing where
/// the module, in which `symbol` lies, exports no such function itself.
pub(crate) fn own_functions(
    list: &'static CK_FUNCTION_LIST,
    library: *mut c_void,
    symbol: *const c_void,
    ours: *const c_void,
) -> Option<&'static CK_FUNCTION_LIST> {
    let mut own = *list;
    let mut changed = false;
    let mut settle = |listed: *const c_void, name: &CStr| -> Option<*mut c_void> {
        if !same_object(listed, ours) {
            return Some(listed.cast_mut());
        }
        changed = true;
        // SAFETY: `library` is a handle that is never closed; the name is NUL-terminated.
        let found = unsafe { libc::dlsym(library, name.as_ptr()) };
        (!found.is_null() && same_object(found, symbol)).then_some(found)
    };
    macro_rules! settle_each {
        ($($name:ident: $since:ident, $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*) => {$(
            if let Some(function) = list.$name {
                let name = concat!(stringify!($name), "\0");
                let settled = settle(function as *const c_void, CStr::from_bytes_with_nul(name.as_bytes()).ok()?)?;
                // SAFETY: the listed function, or the module's export of this name, which has the same type
                // (PKCS#11 2.40 section 5); neither is NULL.
                own.$name = Some(unsafe {
                    core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> CK_RV>(settled)
                });
            }
        )*};
    }
    pkcs11_table::pkcs11_functions!(settle_each);
    Some(if changed { Box::leak(Box::new(own)) } else { list })
}
