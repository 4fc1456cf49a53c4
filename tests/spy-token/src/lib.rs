//! A PKCS#11 module of version 3.2 that records every call in the file `SPY_LOG` and then forwards it to the module
//! `SPY_REAL`. Functions that the module behind does not have are faked, so that tests can see calls of them arrive.
//!
//! With `SPY_CRASH=C_SeedRandom` a call of that function ends the process as a fault in its memory would, and with
//! `SPY_STALL=C_DigestKey` it does not return; by `SPY_SLOW=C_Sign` it takes 300 ms; by `SPY_MEETS=C_GenerateRandom` it
//! waits for another one, for 3 s at most, and fails if that meets it there. With `SPY_EATS=C_SeedRandom` it takes all memory that there is, and keeps it. With
//! `SPY_ENDS` it tries to end the other workers of its guard, and answers with `CKR_VENDOR_DEFINED` and, added to that, how many
//! of its ways were not refused. With `SPY_COUNTS` it has the guard count an operation under the grants `G-1` and `G-2`, and adds
//! 1 and 2 for those under which it was counted.
//!
//! Stands where the real module stands, so that tests can prove which calls arrived there. Made from the table of
//! functions; records numbers only: handles, slots, flags and attribute types, never a PIN, its length, or data, but for the
//! parameter of one mechanism that is the tests' own.

#![allow(non_snake_case)]

mod behind;
mod fake;
mod faults;
mod lists;
mod quirks;
mod record;
mod taken_over;

use cryptoki_sys::*;

use crate::behind::behind;
use crate::record::{Recordable as _, record, record_session};

/// What happens after a call was recorded: function lists and interfaces are given here, the others are forwarded or, where
/// the module behind is older than they are, faked.
macro_rules! answer {
    (V2_40 C_GetFunctionList($list:ident)) => {{
        if $list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: the caller gives a place for a pointer; the list is never written to.
        unsafe { *$list = (&raw const lists::FUNCTION_LIST).cast_mut() };
        CKR_OK
    }};
    (V2_40 C_OpenSession($slot:ident, $flags:ident, $application:ident, $notify:ident, $session:ident)) => {{
        let Some(function) = behind().and_then(|behind| behind.v2_40.C_OpenSession) else {
            return CKR_GENERAL_ERROR;
        };
        // SAFETY: the caller's own arguments.
        let rv = unsafe { function($slot, $flags, $application, $notify, $session) };
        if rv == CKR_OK {
            // SAFETY: the real module has just written the handle there.
            record_session($slot, unsafe { *$session });
        }
        rv
    }};
    (V2_40 C_GetTokenInfo($slot:ident, $info:ident)) => {{
        let answering = behind().filter(|_| !quirks::refuses("C_GetTokenInfo"));
        let Some(function) = answering.and_then(|behind| behind.v2_40.C_GetTokenInfo) else {
            return CKR_GENERAL_ERROR;
        };
        // SAFETY: the caller's own arguments.
        let rv = unsafe { function($slot, $info) };
        if rv == CKR_OK {
            // What modules of 3.2 may have.
            // SAFETY: the real module has just filled the structure.
            unsafe { (*$info).flags |= CKF_ASYNC_SESSION_SUPPORTED };
        }
        rv
    }};
    (V2_40 C_CreateObject($session:ident, $template:ident, $count:ident, $object:ident)) => {
        made!(C_CreateObject($session, $template, $count, $object), $session, $object)
    };
    (V2_40 C_UnwrapKey(
        $session:ident, $mechanism:ident, $key:ident, $wrapped:ident, $len:ident, $template:ident, $count:ident, $object:ident
    )) => {
        made!(
            C_UnwrapKey($session, $mechanism, $key, $wrapped, $len, $template, $count, $object),
            $session,
            $object
        )
    };
    (V2_40 C_CloseSession($session:ident)) => {{
        fake::closed($session);
        match behind().and_then(|behind| behind.v2_40.C_CloseSession) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($session) },
            None => CKR_GENERAL_ERROR,
        }
    }};
    (V2_40 $name:ident($($argument:ident),*)) => {
        match behind().filter(|_| !quirks::refuses(stringify!($name))).and_then(|behind| behind.v2_40.$name) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_GENERAL_ERROR,
        }
    };
    (V3_0 C_GetInterfaceList($interfaces:ident, $count:ident)) => {
        // SAFETY: the caller's own arguments.
        unsafe { lists::interface_list($interfaces, $count) }
    };
    (V3_0 C_GetInterface($name:ident, $version:ident, $interface:ident, $flags:ident)) => {
        // SAFETY: the caller's own arguments.
        unsafe { lists::interface($name, $version, $interface, $flags) }
    };
    (V3_0 $name:ident($($argument:ident),*)) => {
        match behind().and_then(|behind| behind.v3_0?.$name) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($($argument),*) },
            // SAFETY: as above.
            None => unsafe { fake::$name($($argument),*) },
        }
    };
    (V3_2 $name:ident($($argument:ident),*)) => {
        match behind().and_then(|behind| behind.v3_2?.$name) {
            // SAFETY: the caller's own arguments.
            Some(function) => unsafe { function($($argument),*) },
            // SAFETY: as above.
            None => unsafe { fake::$name($($argument),*) },
        }
    };
}

/// Forwards a call that makes one object.
macro_rules! made {
    ($name:ident($($argument:ident),*), $session:ident, $object:ident) => {{
        let Some(function) = behind().and_then(|behind| behind.v2_40.$name) else {
            return CKR_GENERAL_ERROR;
        };
        // SAFETY: the caller's own arguments.
        let rv = unsafe { function($($argument),*) };
        if rv == CKR_OK {
            // SAFETY: the real module has just written the handle there.
            unsafe { quirks::fill_in($session, $object) };
        }
        rv
    }};
}

macro_rules! spy {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {$($(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            record(stringify!($name), &[$((stringify!($argument), $argument.recorded())),*]);
            faults::befall(stringify!($name));
            if faults::eat(stringify!($name)) {
                return CKR_HOST_MEMORY;
            }
            if faults::meet(stringify!($name)) {
                return CKR_FUNCTION_FAILED;
            }
            if let Some(rv) = taken_over::answer(stringify!($name)) {
                return rv;
            }
            answer!($since $name($($argument),*))
        }
    )*)*};
}

pkcs11_table::pkcs11_functions!(spy);
