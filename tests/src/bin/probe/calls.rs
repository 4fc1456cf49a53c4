//! The calls, one for each row of the table.

use std::ffi::OsStr;

use cryptoki_sys::*;
use libloading::{Library, Symbol};
use serde_json::Value;

use crate::memory::{Argument as _, Memory};

/// Loads a module as applications do, and gets its function list.
pub fn load(module: &OsStr) -> &'static CK_FUNCTION_LIST {
    // SAFETY: the test names a PKCS#11 module, whose initialisers are harmless.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(module) }.expect("a module")));
    let mut list = core::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4); the library stays.
    unsafe {
        let function: Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").expect("C_GetFunctionList");
        assert_eq!(function(&raw mut list), CKR_OK, "C_GetFunctionList");
        list.as_ref().expect("a function list")
    }
}

macro_rules! call {
    ($($name:ident: $since:ident, $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*) => {
        /// Makes the call that `request` describes.
        pub fn call(list: &CK_FUNCTION_LIST, request: &Value) -> Value {
            let name = request["call"].as_str().expect("the name of a call");
            match name {
                $(
                    stringify!($name) => {
                        let function = list.$name.expect("no entry of the list is null");
                        let mut memory = Memory::of(request);
                        $(let $argument = <$type>::prepare(stringify!($argument), &mut memory);)*
                        // SAFETY: `memory` holds what the arguments point to, with the lengths that they state.
                        let rv = unsafe { function($($argument),*) };
                        memory.answer(rv)
                    }
                )*
                _ => panic!("there is no {name}"),
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(call);
