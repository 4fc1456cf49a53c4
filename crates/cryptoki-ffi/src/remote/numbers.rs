//! Numbers, and places for numbers: handles, flags, sizes. What only means something in the caller's own process does not
//! cross over.

use core::ffi::c_void;
use core::marker::PhantomData;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{Kind, NULL, NUMBER, THERE, Terms, UNTOUCHED, UNWRITTEN, fits};

/// A number, by value.
pub(super) struct Value<T>(PhantomData<T>);

impl<T: Copy + Into<u64> + TryFrom<u64>> Kind for Value<T> {
    type Arguments = (T,);
    type Place = T;

    unsafe fn encode(_: Terms<'_>, (value,): (T,), body: &mut Writer) -> Result<(), CK_RV> {
        fits(body.word(value.into()))
    }

    fn decode(_: Function, body: &mut Reader<'_>, _: &mut Arena) -> Result<T, WireError> {
        T::try_from(body.word()?).map_err(|_| WireError::Number("argument"))
    }

    fn arguments(place: &T) -> (T,) {
        (*place,)
    }
}

/// A pointer or function of the caller's process: NULL on the other side.
pub(super) struct Local<T>(PhantomData<T>);

macro_rules! stay_here {
    ($($type:ty: $none:expr;)*) => {$(
        impl Kind for Local<$type> {
            type Arguments = ($type,);
            type Place = ();

            unsafe fn encode(_: Terms<'_>, _: ($type,), _: &mut Writer) -> Result<(), CK_RV> {
                Ok(())
            }

            fn decode(_: Function, _: &mut Reader<'_>, _: &mut Arena) -> Result<(), WireError> {
                Ok(())
            }

            fn arguments((): &()) -> ($type,) {
                ($none,)
            }
        }
    )*};
}

stay_here! {
    *mut c_void: core::ptr::null_mut();
    CK_NOTIFY: None;
}

/// A buffer that an operation which is under way elsewhere would write to later: none on the other side, where nobody keeps
/// memory for it (PKCS#11 3.2 section 5.21, `C_AsyncJoin`).
pub(super) struct Kept;

impl Kind for Kept {
    type Arguments = (*mut CK_BYTE, CK_ULONG);
    type Place = ();

    unsafe fn encode(_: Terms<'_>, _: Self::Arguments, _: &mut Writer) -> Result<(), CK_RV> {
        Ok(())
    }

    fn decode(_: Function, _: &mut Reader<'_>, _: &mut Arena) -> Result<(), WireError> {
        Ok(())
    }

    fn arguments((): &()) -> Self::Arguments {
        (core::ptr::null_mut(), 0)
    }
}

/// A place for a number, such as the handle of a new object. It is written where the layer writes it.
pub(super) struct Number;

impl Kind for Number {
    type Arguments = (*mut CK_ULONG,);
    type Place = *mut CK_ULONG;

    unsafe fn encode(_: Terms<'_>, (place,): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        fits(body.word(if place.is_null() { NULL } else { THERE }))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if body.flag("place")? { number(arena, UNWRITTEN) } else { Ok(core::ptr::null_mut()) }
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (*place,)
    }

    unsafe fn answer(place: &Self::Place, _: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        // SAFETY: NULL or a number in the arena.
        match (!place.is_null()).then(|| unsafe { place.read() }) {
            None | Some(UNWRITTEN) => answer.word(UNTOUCHED),
            Some(number) => {
                answer.word(NUMBER)?;
                answer.word(number)
            }
        }
    }

    unsafe fn deliver(
        _: Function,
        (place,): Self::Arguments,
        _: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        if answer.flag("number")? {
            let number = answer.word()?;
            if place.is_null() {
                return Err(WireError::Contradiction("a number without a place"));
            }
            // SAFETY: not NULL, hence a place for a number, by the caller's promise; callers align nothing.
            unsafe { place.write_unaligned(number) };
        }
        Ok(())
    }
}

/// A place for a number on the server's side.
pub(super) fn number(arena: &mut Arena, content: CK_ULONG) -> Result<*mut CK_ULONG, WireError> {
    Ok(arena.copy(&content.to_ne_bytes())?.cast())
}
