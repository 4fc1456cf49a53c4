//! What every kind of arguments has to say of itself, and what the kinds share.

use cryptoki_sys::{CK_RV, CK_ULONG, CKR_ARGUMENTS_BAD, CKR_HOST_MEMORY};
use guard_wire::{MAX_BODY, Reader, WireError, Writer};
use pkcs11_table::{FlatMechanisms, Function};

use super::arena::Arena;
use crate::lengths::is_possible;

/// Most bytes of what one call gives out, so that its answer is no longer than a body.
pub(super) const MOST_ROOM: usize = MAX_BODY - (64 << 10);

/// What stands before an argument: it is NULL.
pub(super) const NULL: u64 = 0;
/// What stands before an argument: it is there.
pub(super) const THERE: u64 = 1;

/// What stands before an output in an answer: it is as it was.
pub(super) const UNTOUCHED: u64 = 0;
/// What stands before an output in an answer: there is a number, or a length.
pub(super) const NUMBER: u64 = 1;
/// What stands before an output in an answer: there are bytes, as many as the length says.
pub(super) const CONTENT: u64 = 2;

/// What a number is before the layer writes there.
pub(super) const UNWRITTEN: CK_ULONG = 0x5afe_7e55_a1b2_c3d4;

/// What a call's arguments are written by.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// Whose arguments they are.
    pub(super) function: Function,
    /// The vendors' mechanisms whose parameter is bytes to the one who answers.
    pub(super) flat: &'a FlatMechanisms,
}

/// How arguments that belong together, such as a buffer and its length, cross over: on the client's side out of the caller's
/// memory and back into it, on the server's side into an arena and out of it.
pub(super) trait Kind {
    /// The arguments, as the function has them.
    type Arguments;
    /// Where they are on the server's side.
    type Place;

    /// Reads the caller's memory, each thing once.
    ///
    /// # Safety
    /// The arguments are those of a C caller, by the rules of PKCS#11.
    unsafe fn encode(terms: Terms<'_>, arguments: Self::Arguments, body: &mut Writer) -> Result<(), CK_RV>;

    /// Gives the arguments a place on the server's side.
    fn decode(function: Function, body: &mut Reader<'_>, arena: &mut Arena)
    -> Result<Self::Place, WireError>;

    /// The arguments there.
    fn arguments(place: &Self::Place) -> Self::Arguments;

    /// Writes what the layer has left in the place.
    ///
    /// # Safety
    /// The place is in an arena that has not been cleared since, and nobody writes there any more.
    unsafe fn answer(_place: &Self::Place, _rv: CK_RV, _answer: &mut Writer) -> Result<(), WireError> {
        Ok(())
    }

    /// Writes what was answered into the caller's memory, and nothing where the caller has no room.
    ///
    /// # Safety
    /// As for `encode`.
    unsafe fn deliver(
        _function: Function,
        _arguments: Self::Arguments,
        _rv: CK_RV,
        _answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        Ok(())
    }
}

/// What the application hears where a body has no room for its arguments.
pub(super) fn fits<T>(written: Result<T, WireError>) -> Result<T, CK_RV> {
    written.map_err(|_| CKR_HOST_MEMORY)
}

/// A length that is stated of memory, as one that a body may have.
pub(super) fn length(stated: CK_ULONG) -> Result<usize, CK_RV> {
    if !is_possible(stated) {
        return Err(CKR_ARGUMENTS_BAD);
    }
    usize::try_from(stated).ok().filter(|length| *length <= MAX_BODY).ok_or(CKR_HOST_MEMORY)
}

/// Writes a byte string of what the caller has.
///
/// # Safety
/// There are `length` bytes at `from`, or none where it is 0.
pub(super) unsafe fn take(from: *const u8, length: usize, body: &mut Writer) -> Result<(), CK_RV> {
    let place = fits(body.place(length))?;
    if !place.is_empty() {
        // SAFETY: by the promise above; the place is as long, and our own.
        unsafe { place.as_mut_ptr().copy_from_nonoverlapping(from, place.len()) };
    }
    Ok(())
}

/// Gives the caller bytes.
///
/// # Safety
/// There is room for them at `to`.
pub(super) unsafe fn give(to: *mut u8, content: &[u8]) {
    // SAFETY: by the promise above; what was received is in memory of our own.
    unsafe { to.copy_from_nonoverlapping(content.as_ptr(), content.len()) };
}

/// Bytes of an arena.
///
/// # Safety
/// There are `length` bytes in a place of the arena, and nobody writes there while they are looked at.
pub(super) const unsafe fn seen<'a>(place: *const u8, length: usize) -> &'a [u8] {
    // SAFETY: by the promise above; an arena is initialised memory.
    unsafe { core::slice::from_raw_parts(place, length) }
}
