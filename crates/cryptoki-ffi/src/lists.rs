//! The function lists of the real module, one for each layout that the standard has.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::interfaces::Interface;

/// The function lists that the real module gave out. They stay readable for the rest of the process's life, since the
/// module is never unloaded.
#[derive(Clone, Copy)]
pub struct Lists {
    /// Of `C_GetFunctionList`.
    pub(crate) v2_40: &'static CK_FUNCTION_LIST,
    /// Of the interface of version 3.1, else 3.0: they are laid out alike.
    pub(crate) v3_0: Option<&'static CK_FUNCTION_LIST_3_0>,
    /// Of the interface of version 3.2.
    pub(crate) v3_2: Option<&'static CK_FUNCTION_LIST_3_2>,
}

impl Lists {
    /// The list of `C_GetFunctionList`, and those of the standard's interfaces of versions that the table knows.
    pub(crate) fn of(v2_40: &'static CK_FUNCTION_LIST, interfaces: &[Interface]) -> Self {
        let list = |minor: u8| {
            let of_version =
                |interface: &&Interface| interface.is_standard() && interface.version() == (3, minor);
            interfaces.iter().find(of_version).map(Interface::list)
        };
        // SAFETY: the list of an interface of this name and version has this layout (PKCS#11 3.2 section 3.6), and stays.
        let v3_0 = list(1).or_else(|| list(0)).map(|list| unsafe { &*list.cast::<CK_FUNCTION_LIST_3_0>() });
        // SAFETY: as above.
        let v3_2 = list(2).map(|list| unsafe { &*list.cast::<CK_FUNCTION_LIST_3_2>() });
        Self { v2_40, v3_0, v3_2 }
    }

    /// Of each list, functions by which it shows whose it is.
    pub(crate) fn samples(&self) -> [Option<*const c_void>; 7] {
        let of_init = |init: CK_C_SignInit| init.map(|function| function as *const c_void);
        let (v3_0, v3_2) = (self.v3_0, self.v3_2);
        [
            of_init(self.v2_40.C_SignInit),
            v3_0.and_then(|list| of_init(list.C_SignInit)),
            v3_0.and_then(|list| of_init(list.C_MessageSignInit)),
            v3_2.and_then(|list| of_init(list.C_SignInit)),
            v3_2.and_then(|list| of_init(list.C_MessageSignInit)),
            v3_2.and_then(|list| list.C_DecapsulateKey.map(|function| function as *const c_void)),
            v3_2.and_then(|list| list.C_WrapKeyAuthenticated.map(|function| function as *const c_void)),
        ]
    }
}

/// The real module's function of a row of the table: `None` where no list has it, or has NULL in its place.
macro_rules! entry {
    (V2_40 $lists:ident $name:ident) => {
        $lists.v2_40.$name
    };
    (V3_0 $lists:ident $name:ident) => {
        $lists.v3_2.and_then(|list| list.$name).or_else(|| $lists.v3_0.and_then(|list| list.$name))
    };
    (V3_2 $lists:ident $name:ident) => {
        $lists.v3_2.and_then(|list| list.$name)
    };
}

pub(crate) use entry;
