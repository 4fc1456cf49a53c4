//! The function lists up to 3.0, read through bindings that others have made of the standard's header.

use std::ffi::CStr;

use e2e::{Mode, Watched};
use libloading::{Library, Symbol};
use pkcs11_sys::*;

/// Name of each function of a list, and the entry of that name.
macro_rules! entries {
    (
        V2_40 { $($first:ident: $first_class:ident $(($($first_use:ident),+))?, $first_arguments:tt;)* }
        V3_0 { $($second:ident: $second_class:ident $(($($second_use:ident),+))?, $second_arguments:tt;)* }
        V3_2 { $($third:tt)* }
    ) => {
        fn of_2_40(list: &CK_FUNCTION_LIST) -> Vec<(&'static str, *const ())> {
            vec![$((stringify!($first), list.$first.expect(stringify!($first)) as *const ())),*]
        }

        fn of_3_0(list: &CK_FUNCTION_LIST_3_0) -> Vec<(&'static str, *const ())> {
            vec![
                $((stringify!($first), list.$first.expect(stringify!($first)) as *const ()),)*
                $((stringify!($second), list.$second.expect(stringify!($second)) as *const ()),)*
            ]
        }
    };
}

pkcs11_table::pkcs11_functions!(entries);

fn assert_are_symbols(library: &Library, entries: &[(&'static str, *const ())], except: &str) {
    for (name, entry) in entries {
        // SAFETY: only the address is looked at.
        let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.expect(name);
        assert_eq!(*entry == *symbol as *const (), *name != except, "{name}");
    }
}

#[test]
fn bindings_of_others_find_every_function_up_to_3_0() {
    let watched = Watched::up(Mode::Inline);
    for (name, value) in watched.environment("bindings") {
        // SAFETY: this program has one test, and no other thread of it uses the environment.
        unsafe { std::env::set_var(name, value) };
    }
    // SAFETY: the shim's initialisers are harmless.
    let library = unsafe { Library::new(watched.stack.shim()) }.unwrap();
    // SAFETY: a symbol of this name has this type.
    let list: Symbol<'_, unsafe extern "C" fn(*mut CK_FUNCTION_LIST_PTR) -> CK_RV> =
        unsafe { library.get(b"C_GetFunctionList") }.unwrap();
    let mut place = std::ptr::null_mut();
    // SAFETY: there is a place for the list.
    assert_eq!(unsafe { list(&raw mut place) }, CKR_OK);
    // SAFETY: just given.
    let list = unsafe { &*place };
    assert_eq!((list.version.major, list.version.minor), (2, 40));
    assert_are_symbols(&library, &of_2_40(list), "");

    // SAFETY: a symbol of this name has this type.
    let get: Symbol<
        '_,
        unsafe extern "C" fn(CK_UTF8CHAR_PTR, *mut CK_VERSION, *mut CK_INTERFACE_PTR, CK_FLAGS) -> CK_RV,
    > = unsafe { library.get(b"C_GetInterface") }.unwrap();
    for minor in [0, 1] {
        let mut version = CK_VERSION { major: 3, minor };
        let mut place = std::ptr::null_mut();
        // SAFETY: the name is not asked for, the version is one, and there is a place for the interface.
        let rv = unsafe { get(std::ptr::null_mut(), &raw mut version, &raw mut place, 0) };
        assert_eq!(rv, CKR_OK, "3.{minor}");
        // SAFETY: just given.
        let (interface, list) = unsafe { (&*place, &*(*place).pFunctionList.cast::<CK_FUNCTION_LIST_3_0>()) };
        // SAFETY: the name of an interface is a string.
        let name = unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) };
        assert_eq!((name, interface.flags), (c"PKCS 11", 0));
        assert_eq!((list.version.major, list.version.minor), (3, minor));
        assert_are_symbols(&library, &of_3_0(list), "C_GetInfo");
    }
}
