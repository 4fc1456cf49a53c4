//! A call's arguments by name, whatever the function, as a module in C gets them.

use cryptoki_sys::*;
use pkcs11_table::Function;

use crate::calls::{self, Call};

/// An argument.
#[derive(Clone, Copy)]
pub(super) enum Raw {
    Number(CK_ULONG),
    Notify,
    Void(CK_VOID_PTR),
    Bytes(*mut u8),
    Numbers(*mut CK_ULONG),
    Mechanism(*mut CK_MECHANISM),
    Attributes(*mut CK_ATTRIBUTE),
    Asynchronous(*mut CK_ASYNC_DATA),
    /// A place for a structure of so many bytes.
    Place(*mut u8, usize),
}

macro_rules! raw {
    ($($type:ty: |$value:ident| $raw:expr;)*) => {$(
        impl From<$type> for Raw {
            fn from($value: $type) -> Self {
                $raw
            }
        }
    )*};
}

raw! {
    CK_BBOOL: |value| Self::Number(value.into());
    CK_ULONG: |value| Self::Number(value);
    CK_NOTIFY: |_value| Self::Notify;
    CK_VOID_PTR: |value| Self::Void(value);
    *mut CK_BYTE: |value| Self::Bytes(value);
    *mut CK_ULONG: |value| Self::Numbers(value);
    *mut CK_MECHANISM: |value| Self::Mechanism(value);
    *mut CK_ATTRIBUTE: |value| Self::Attributes(value);
    *mut CK_ASYNC_DATA: |value| Self::Asynchronous(value);
    *mut CK_INFO: |value| Self::Place(value.cast(), size_of::<CK_INFO>());
    *mut CK_MECHANISM_INFO: |value| Self::Place(value.cast(), size_of::<CK_MECHANISM_INFO>());
    *mut CK_SESSION_INFO: |value| Self::Place(value.cast(), size_of::<CK_SESSION_INFO>());
    *mut CK_SLOT_INFO: |value| Self::Place(value.cast(), size_of::<CK_SLOT_INFO>());
    *mut CK_TOKEN_INFO: |value| Self::Place(value.cast(), size_of::<CK_TOKEN_INFO>());
}

/// The arguments of a call, in their order.
pub(super) struct Arguments {
    pub(super) function: Function,
    pub(super) all: Vec<(&'static str, Raw)>,
}

impl Arguments {
    pub(super) fn get(&self, name: &str) -> Option<Raw> {
        self.all.iter().find(|(known, _)| *known == name).map(|(_, raw)| *raw)
    }
}

/// The name of the argument that says how long another is.
pub(super) fn length_of(name: &str) -> String {
    match name {
        "old_pin" => "old_len".to_owned(),
        "new_pin" => "new_len".to_owned(),
        _ => format!("{name}_len"),
    }
}

/// A call whose arguments are known by name.
pub(super) trait Named: Call {
    fn named(&self) -> Arguments;
}

macro_rules! named {
    (@Library $name:ident ($($argument:ident: $type:ty),*)) => {};
    (@$class:ident $name:ident ($($argument:ident: $type:ty),*)) => {
        impl Named for calls::$name {
            fn named(&self) -> Arguments {
                let all = vec![$((stringify!($argument), Raw::from(self.$argument()))),*];
                Arguments { function: Self::FUNCTION, all }
            }
        }
    };
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, $arguments:tt;)*
    })*) => {
        $($(named!(@$class $name $arguments);)*)*
    };
}

pkcs11_table::pkcs11_functions!(named);
