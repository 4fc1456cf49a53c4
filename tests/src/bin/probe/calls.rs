//! The calls, one for each row of the table.

use std::ffi::OsStr;

use cryptoki_sys::*;
use libloading::{Library, Symbol};
use serde_json::{Value, json};

use crate::memory::{Argument as _, Memory};

/// The function lists of a module: that of `C_GetFunctionList`, and those of its interfaces.
#[derive(Clone, Copy)]
pub struct Lists {
    v2_40: &'static CK_FUNCTION_LIST,
    v3_0: Option<&'static CK_FUNCTION_LIST_3_0>,
    v3_2: Option<&'static CK_FUNCTION_LIST_3_2>,
    /// For what is in no list before there is one, and for who asks by symbol.
    library: &'static Library,
}

type GetInterface =
    unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

/// Loads a module as applications do, and gets its function lists.
pub fn load(module: &OsStr) -> Lists {
    // SAFETY: the test names a PKCS#11 module, whose initialisers are harmless.
    let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(module) }.expect("a module")));
    let mut list = core::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4); the library stays.
    let v2_40 = unsafe {
        let function: Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").expect("C_GetFunctionList");
        assert_eq!(function(&raw mut list), CKR_OK, "C_GetFunctionList");
        list.as_ref().expect("a function list")
    };
    // SAFETY: the symbol has this type in every module of 3.x (PKCS#11 3.0 section 5.4).
    let get_interface = unsafe { library.get::<GetInterface>(b"C_GetInterface\0") }.ok();
    let interface = |minor| {
        let mut version = CK_VERSION { major: 3, minor };
        let mut interface: *mut CK_INTERFACE = core::ptr::null_mut();
        let name = c"PKCS 11".as_ptr().cast_mut().cast();
        // SAFETY: name and version are only read, and there is a place for the interface.
        let rv = unsafe { get_interface.as_ref()?(name, &raw mut version, &raw mut interface, 0) };
        // SAFETY: the module says that it has given one.
        (rv == CKR_OK).then(|| unsafe { (*interface).pFunctionList })
    };
    let middle = interface(1).or_else(|| interface(0));
    // SAFETY: lists of these versions have these layouts.
    unsafe {
        Lists {
            v2_40,
            v3_0: middle.and_then(|list| list.cast::<CK_FUNCTION_LIST_3_0>().as_ref()),
            v3_2: interface(2).and_then(|list| list.cast::<CK_FUNCTION_LIST_3_2>().as_ref()),
            library,
        }
    }
}

/// The module's function of a row; no entry of a list is null.
macro_rules! entry {
    ($lists:ident V2_40 $name:ident) => {
        Some($lists.v2_40.$name.expect("no entry of the list is null"))
    };
    ($lists:ident V3_0 $name:ident) => {
        match ($lists.v3_2, $lists.v3_0) {
            (Some(list), _) => Some(list.$name.expect("no entry of the list is null")),
            (None, Some(list)) => Some(list.$name.expect("no entry of the list is null")),
            (None, None) => None,
        }
    };
    ($lists:ident V3_2 $name:ident) => {
        $lists.v3_2.map(|list| list.$name.expect("no entry of the list is null"))
    };
}

macro_rules! call {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        /// Makes the call that `request` describes, through the module's lists; `"by": "symbol"` has it made by the symbol
        /// of that name, as have the functions that give lists. What is not there answers with
        /// `CKR_FUNCTION_NOT_SUPPORTED`.
        pub fn call(lists: &Lists, request: &Value) -> Value {
            let name = request["call"].as_str().expect("the name of a call");
            match name {
                $($(
                    stringify!($name) => {
                        let by_symbol = request["by"] == "symbol" || name.starts_with("C_GetInterface");
                        let function: Option<unsafe extern "C" fn($($type),*) -> CK_RV> = match by_symbol {
                            // SAFETY: a symbol of this name has this type.
                            true => unsafe { lists.library.get(name.as_bytes()) }.ok().map(|symbol| *symbol),
                            false => entry!(lists $since $name),
                        };
                        let Some(function) = function else {
                            return json!({ "rv": CKR_FUNCTION_NOT_SUPPORTED });
                        };
                        let mut memory = Memory::of(request);
                        $(let $argument = <$type>::prepare(stringify!($argument), &mut memory);)*
                        // SAFETY: `memory` holds what the arguments point to, with the lengths that they state.
                        let rv = unsafe { function($($argument),*) };
                        memory.answer(rv)
                    }
                )*)*
                _ => panic!("there is no {name}"),
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(call);
