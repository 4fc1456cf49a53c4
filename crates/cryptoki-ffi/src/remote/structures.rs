//! Structures that are filled in: what the library, a slot, a token, a mechanism or a session is, and what became of an
//! asynchronous operation.

use core::marker::PhantomData;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{CONTENT, Kind, NULL, THERE, Terms, UNTOUCHED, fits, give, seen};

/// A structure without pointers, of which bytes are all that there is to know.
pub(super) trait Plain {}

impl Plain for CK_INFO {}
impl Plain for CK_MECHANISM_INFO {}
impl Plain for CK_SESSION_INFO {}
impl Plain for CK_SLOT_INFO {}
impl Plain for CK_TOKEN_INFO {}

/// A place for a structure.
pub(super) struct Structure<T>(PhantomData<T>);

impl<T: Plain> Kind for Structure<T> {
    type Arguments = (*mut T,);
    type Place = *mut T;

    unsafe fn encode(_: Terms<'_>, (place,): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        fits(body.word(if place.is_null() { NULL } else { THERE }))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        Ok(if body.flag("place")? { arena.place(size_of::<T>())?.cast() } else { core::ptr::null_mut() })
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (*place,)
    }

    unsafe fn answer(place: &Self::Place, rv: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        if place.is_null() {
            return answer.word(UNTOUCHED);
        }
        // SAFETY: not NULL, hence a structure in the arena.
        let content = unsafe { seen(place.cast(), size_of::<T>()) };
        // What is all zero after an error is as it was handed over.
        if rv != CKR_OK && content.iter().all(|byte| *byte == 0) {
            return answer.word(UNTOUCHED);
        }
        answer.word(CONTENT)?;
        answer.bytes(content)
    }

    unsafe fn deliver(
        _: Function,
        (place,): Self::Arguments,
        _: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        match answer.word()? {
            UNTOUCHED => Ok(()),
            CONTENT if !place.is_null() => {
                let content = answer.bytes()?;
                if content.len() != size_of::<T>() {
                    return Err(WireError::Contradiction("a structure of another size"));
                }
                // SAFETY: not NULL, hence a place for the structure, by the caller's promise.
                unsafe { give(place.cast(), content) };
                Ok(())
            }
            _ => Err(WireError::Contradiction("a structure")),
        }
    }
}

/// What became of an asynchronous operation (PKCS#11 3.2 section 3.7, `CK_ASYNC_DATA`): its numbers cross over, and not the
/// buffer, which is one of the call that began it.
pub(super) struct Asynchronous;

impl Kind for Asynchronous {
    type Arguments = (*mut CK_ASYNC_DATA,);
    type Place = *mut CK_ASYNC_DATA;

    unsafe fn encode(_: Terms<'_>, (place,): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if place.is_null() {
            return fits(body.word(NULL));
        }
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence a structure of which the caller has set the version.
        fits(body.word(unsafe { (&raw const (*place).ulVersion).read_unaligned() }))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if !body.flag("place")? {
            return Ok(core::ptr::null_mut());
        }
        let version = body.word()?;
        let place: *mut CK_ASYNC_DATA = arena.place(size_of::<CK_ASYNC_DATA>())?.cast();
        // SAFETY: the place is as large as the structure, and aligned.
        unsafe { (*place).ulVersion = version };
        Ok(place)
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (*place,)
    }

    unsafe fn answer(place: &Self::Place, rv: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        if rv != CKR_OK || place.is_null() {
            return answer.word(UNTOUCHED);
        }
        // SAFETY: not NULL, hence a structure in the arena.
        let result = unsafe { place.read() };
        answer.word(CONTENT)?;
        answer.word(result.ulVersion)?;
        answer.word(result.ulValue)?;
        answer.word(result.hObject)?;
        answer.word(result.hAdditionalObject)
    }

    unsafe fn deliver(
        _: Function,
        (place,): Self::Arguments,
        _: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        match answer.word()? {
            UNTOUCHED => Ok(()),
            CONTENT if !place.is_null() => {
                let (version, value) = (answer.word()?, answer.word()?);
                let (object, additional) = (answer.word()?, answer.word()?);
                // SAFETY: not NULL, hence a structure, by the caller's promise; callers align nothing.
                unsafe {
                    (&raw mut (*place).ulVersion).write_unaligned(version);
                    (&raw mut (*place).ulValue).write_unaligned(value);
                    (&raw mut (*place).hObject).write_unaligned(object);
                    (&raw mut (*place).hAdditionalObject).write_unaligned(additional);
                }
                Ok(())
            }
            _ => Err(WireError::Contradiction("a structure")),
        }
    }
}
