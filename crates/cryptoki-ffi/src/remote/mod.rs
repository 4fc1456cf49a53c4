//! Calls that another process answers: written into a frame, served there by a layer for which an arena stands for the
//! caller's memory, and the answer delivered. Made from the table, whose arguments are sorted into kinds.

mod arena;
mod asked;
mod inputs;
mod kind;
mod mechanism;
mod numbers;
mod outputs;
mod parameter;
mod structures;
mod template;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use crate::calls::{self, Call};
use crate::layer::{Answers, Layer};

pub use arena::Arena;

use asked::Asked;
use inputs::{Input, Label, Name};
use kind::Kind;
use mechanism::{Mechanism, Message};
use numbers::{Kept, Local, Number, Value};
use outputs::{Filled, Found, Output};
use structures::{Asynchronous, Structure};
use template::Template;

/// A call that another process can answer.
pub trait Remote: Call {
    /// Reads the caller's memory and writes what the call is made of. What it fails with is the answer to the call:
    /// `CKR_ARGUMENTS_BAD` for what cannot be in any memory, `CKR_HOST_MEMORY` for what is too much for a frame,
    /// `CKR_MECHANISM_PARAM_INVALID` for a parameter whose pointers nobody knows.
    fn encode(&self, body: &mut Writer) -> Result<(), CK_RV>;

    /// Writes what was answered into the caller's memory, never more than there is room for whatever the answer says, and
    /// gives the return value.
    fn deliver(&self, answer: &mut Reader<'_>) -> Result<CK_RV, WireError>;

    /// Has `layer` answer the call that is in `body`, and writes its answer. The layer may believe the call's pointers as if
    /// they were a caller's own: they lead into `arena`.
    fn serve(
        body: &[u8],
        arena: &mut Arena,
        answer: &mut Writer,
        layer: impl FnOnce(Self) -> CK_RV,
    ) -> Result<(), WireError>;
}

macro_rules! define_remote {
    ($name:ident $(($kind:ty; $first:ident $($more:ident)*))*) => {
        impl Remote for calls::$name {
            fn encode(&self, body: &mut Writer) -> Result<(), CK_RV> {
                if !self.has_possible_lengths() {
                    return Err(CKR_ARGUMENTS_BAD);
                }
                $(
                    // SAFETY: the arguments are a C caller's own (`from_caller`).
                    unsafe {
                        <$kind as Kind>::encode(Self::FUNCTION, (self.$first, $(self.$more),*), body)
                    }?;
                )*
                Ok(())
            }

            fn deliver(&self, answer: &mut Reader<'_>) -> Result<CK_RV, WireError> {
                let rv = answer.word()?;
                $(
                    // SAFETY: as above.
                    unsafe {
                        <$kind as Kind>::deliver(Self::FUNCTION, (self.$first, $(self.$more),*), rv, answer)
                    }?;
                )*
                answer.clone().finish()?;
                Ok(rv)
            }

            fn serve(
                body: &[u8],
                arena: &mut Arena,
                answer: &mut Writer,
                layer: impl FnOnce(Self) -> CK_RV,
            ) -> Result<(), WireError> {
                // What a call before left behind, if something came between.
                arena.clear();
                let mut body = Reader::new(body);
                $(let $first = <$kind as Kind>::decode(Self::FUNCTION, &mut body, arena)?;)*
                body.finish()?;
                let call = {
                    $(let ($first, $($more),*) = <$kind as Kind>::arguments(&$first);)*
                    // SAFETY: the arena keeps to the rules of PKCS#11: each pointer is NULL or leads to what the
                    // arguments say, and stays until the arena is cleared.
                    unsafe { Self::from_caller($($first $(, $more)*),*) }
                };
                let rv = if call.has_possible_lengths() { layer(call) } else { CKR_ARGUMENTS_BAD };
                answer.word(rv)?;
                $(
                    // SAFETY: the arena has not been cleared, and the call is over.
                    unsafe { <$kind as Kind>::answer(&$first, rv, answer) }?;
                )*
                arena.clear();
                Ok(())
            }
        }
    };
}

/// Sorts the arguments of a function into kinds, by their types and some by their names.
macro_rules! sorted {
    ($name:ident [$($kinds:tt)*]) => {
        define_remote!($name $($kinds)*);
    };
    (C_GenerateRandom [$($kinds:tt)*] data: *mut CK_BYTE, data_len: CK_ULONG) => {
        sorted!(C_GenerateRandom [$($kinds)* (Filled; data data_len)]);
    };
    (C_AsyncJoin [$($kinds:tt)*] data: *mut CK_BYTE, data_len: CK_ULONG) => {
        sorted!(C_AsyncJoin [$($kinds)* (Kept; data data_len)]);
    };
    (C_GetAttributeValue [$($kinds:tt)*] template: *mut CK_ATTRIBUTE, count: CK_ULONG) => {
        sorted!(C_GetAttributeValue [$($kinds)* (Asked; template count)]);
    };
    ($name:ident [$($kinds:tt)*] function: *mut CK_UTF8CHAR $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Name; function)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] label: *mut CK_UTF8CHAR $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Label; label)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $first:ident: *mut CK_ATTRIBUTE, $count:ident: CK_ULONG $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Template; $first $count)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $bytes:ident: *mut CK_BYTE, $len:ident: CK_ULONG $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Input; $bytes $len)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $text:ident: *mut CK_UTF8CHAR, $len:ident: CK_ULONG $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Input; $text $len)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $bytes:ident: *mut CK_BYTE, $len:ident: *mut CK_ULONG $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Output<CK_BYTE>; $bytes $len)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) => {
        sorted!($name [$($kinds)* (Output<CK_SLOT_ID>; slots count)]);
    };
    ($name:ident [$($kinds:tt)*] mechanisms: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) => {
        sorted!($name [$($kinds)* (Output<CK_MECHANISM_TYPE>; mechanisms count)]);
    };
    (C_FindObjects [$($kinds:tt)*] objects: *mut CK_OBJECT_HANDLE, max_count: CK_ULONG, count: *mut CK_ULONG) => {
        sorted!(C_FindObjects [$($kinds)* (Found; objects max_count count)]);
    };
    ($name:ident [$($kinds:tt)*] parameter: CK_VOID_PTR, parameter_len: CK_ULONG $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Message; parameter parameter_len)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $local:ident: CK_VOID_PTR $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Local<CK_VOID_PTR>; $local)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $local:ident: CK_NOTIFY $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Local<CK_NOTIFY>; $local)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $mechanism:ident: *mut CK_MECHANISM $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Mechanism; $mechanism)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $result:ident: *mut CK_ASYNC_DATA $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Asynchronous; $result)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] info: *mut $type:ident $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Structure<$type>; info)] $($($rest)*)?);
    };
    // Each is a number; a place for anything else would not fit the type of the kind.
    ($name:ident [$($kinds:tt)*] $place:ident: *mut $type:ident $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Number; $place)] $($($rest)*)?);
    };
    ($name:ident [$($kinds:tt)*] $value:ident: $type:ident $(, $($rest:tt)*)?) => {
        sorted!($name [$($kinds)* (Value<$type>; $value)] $($($rest)*)?);
    };
}

/// One function of the table: those of the library's own life cycle are never another process's.
macro_rules! remote {
    (Library $name:ident $arguments:tt) => {};
    ($class:ident $name:ident ($($arguments:tt)*)) => {
        sorted!($name [] $($arguments)*);
    };
}

macro_rules! served {
    (Library $name:ident $given:tt) => {
        Err(WireError::Code(Function::$name as u16))
    };
    ($class:ident $name:ident ($body:ident $layer:ident $arena:ident $answer:ident)) => {
        calls::$name::serve($body, $arena, $answer, |call| Layer::call($layer, call))
    };
}

macro_rules! define_all {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, $arguments:tt;)*
    })*) => {
        $($(remote!($class $name $arguments);)*)*

        /// Has `layer` answer the call of `function` that is in `body`, and writes its answer. The caller's memory is what
        /// was received of it, in `arena`: nothing that a client sends, be it lengths, counts or pointers, leads anywhere
        /// else. What no client sends is an error, after which nothing more should be read of it.
        pub fn serve<L: Answers>(
            function: Function,
            body: &[u8],
            layer: &L,
            arena: &mut Arena,
            answer: &mut Writer,
        ) -> Result<(), WireError> {
            match function {
                $($(Function::$name => served!($class $name (body layer arena answer)),)*)*
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(define_all);

#[cfg(test)]
mod tests;
