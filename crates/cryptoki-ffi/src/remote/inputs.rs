//! Bytes that go in: data, PINs, labels, names.

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{Kind, NULL, THERE, Terms, fits, length, take};

/// Bytes, and how many there are. NULL goes over with the length that is stated, which the layer judges.
pub(super) struct Input;

impl Kind for Input {
    type Arguments = (*mut CK_BYTE, CK_ULONG);
    type Place = (*mut CK_BYTE, CK_ULONG);

    unsafe fn encode(_: Terms<'_>, (bytes, stated): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if bytes.is_null() {
            fits(body.word(NULL))?;
            return fits(body.word(stated));
        }
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence as many bytes as are stated, by the caller's promise.
        unsafe { take(bytes, length(stated)?, body) }
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if !body.flag("buffer")? {
            return Ok((core::ptr::null_mut(), body.word()?));
        }
        let content = body.bytes()?;
        Ok((arena.copy(content)?, content.len() as CK_ULONG))
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        *place
    }
}

/// The label of a token, 32 bytes without a length (PKCS#11 2.40 section 5.5, `C_InitToken`).
pub(super) struct Label;

const LABEL: usize = 32;

impl Kind for Label {
    type Arguments = (*mut CK_UTF8CHAR,);
    type Place = *mut CK_UTF8CHAR;

    unsafe fn encode(_: Terms<'_>, (label,): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if label.is_null() {
            return fits(body.word(NULL));
        }
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence 32 bytes, by the caller's promise.
        unsafe { take(label, LABEL, body) }
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if body.flag("label")? {
            arena.copy(body.array::<LABEL>("label")?)
        } else {
            Ok(core::ptr::null_mut())
        }
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (*place,)
    }
}

/// The name of a function, a string with a zero at its end.
pub(super) struct Name;

/// Names longer than this are refused; those of the standard have no 30 bytes.
const LONGEST_NAME: usize = 255;

impl Kind for Name {
    type Arguments = (*mut CK_UTF8CHAR,);
    type Place = *mut CK_UTF8CHAR;

    unsafe fn encode(_: Terms<'_>, (name,): Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        if name.is_null() {
            return fits(body.word(NULL));
        }
        let mut own = [0; LONGEST_NAME];
        for (index, place) in own.iter_mut().enumerate() {
            // SAFETY: not NULL, hence a string, by the caller's promise, of which no zero has come yet.
            match unsafe { name.add(index).read() } {
                0 => {
                    fits(body.word(THERE))?;
                    return fits(body.bytes(own.get(..index).unwrap_or_default()));
                }
                byte => *place = byte,
            }
        }
        Err(CKR_ARGUMENTS_BAD)
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if !body.flag("name")? {
            return Ok(core::ptr::null_mut());
        }
        let name = body.bytes()?;
        if name.len() >= LONGEST_NAME || name.contains(&0) {
            return Err(WireError::Number("name"));
        }
        // A zero comes after whatever is in an arena.
        arena.copy(name)
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (*place,)
    }
}
