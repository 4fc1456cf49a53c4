//! The real module's functions where its own lists lead back to this library.
//!
//! Many modules export all of `C_*` and have their lists relocated by those names. In a process where this library's
//! exports come first (it was preloaded), the loader then enters ours into the module's lists. What the module itself
//! exports is still found under its handle; its lists are left as they are.

use std::ffi::{CStr, c_void};

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2};

use crate::lists::Lists;
use crate::real_module::same_object;

/// The lists, with the module's own exports where they have functions of the library that `ours` lies in. Nothing where
/// the module, in which `symbol` lies, exports no such function itself.
pub(crate) fn own_functions(
    lists: Lists,
    library: *mut c_void,
    symbol: *const c_void,
    ours: *const c_void,
) -> Option<Lists> {
    let module = Module { library, symbol, ours };
    let v3_0 = match lists.v3_0 {
        Some(list) => Some(module.own_3_0(list)?),
        None => None,
    };
    let v3_2 = match lists.v3_2 {
        Some(list) => Some(module.own_3_2(list)?),
        None => None,
    };
    Some(Lists { v2_40: module.own_2_40(lists.v2_40)?, v3_0, v3_2 })
}

struct Module {
    library: *mut c_void,
    symbol: *const c_void,
    ours: *const c_void,
}

impl Module {
    /// The module's export of this name, if it is the module's.
    fn export(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: `library` is a handle that is never closed; the name is NUL-terminated.
        let found = unsafe { libc::dlsym(self.library, name.as_ptr()) };
        (!found.is_null() && same_object(found, self.symbol)).then_some(found)
    }
}

/// A list with these rows of the table.
macro_rules! own {
    ($module:ident, $list:ident, $($name:ident)*) => {{
        let mut own = *$list;
        let mut has_changed = false;
        $(
            if own.$name.is_some_and(|function| same_object(function as *const c_void, $module.ours)) {
                let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()).ok()?;
                let export = $module.export(name)?;
                // SAFETY: the export of this name has the type of the field of this name (PKCS#11 3.2 section 5), which
                // like every function pointer has the size of this one; it is not NULL.
                own.$name = Some(unsafe { core::mem::transmute_copy(&export) });
                has_changed = true;
            }
        )*
        Some(if has_changed { Box::leak(Box::new(own)) } else { $list })
    }};
}

macro_rules! own_lists {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:ident: $third_class:ident $(($($third_use:ident),+))?, $third_arguments:tt;)* }
    ) => {
        impl Module {
            fn own_2_40(&self, list: &'static CK_FUNCTION_LIST) -> Option<&'static CK_FUNCTION_LIST> {
                own!(self, list, $($first)*)
            }

            fn own_3_0(&self, list: &'static CK_FUNCTION_LIST_3_0) -> Option<&'static CK_FUNCTION_LIST_3_0> {
                own!(self, list, $($first)* $($second)*)
            }

            fn own_3_2(&self, list: &'static CK_FUNCTION_LIST_3_2) -> Option<&'static CK_FUNCTION_LIST_3_2> {
                own!(self, list, $($first)* $($second)* $($third)*)
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(own_lists);
