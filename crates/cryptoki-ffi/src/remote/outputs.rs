//! What comes out into a buffer of the caller's: bytes, lists, random numbers, what a search has found.

use core::marker::PhantomData;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::Function;

use super::arena::Arena;
use super::kind::{
    CONTENT, Kind, MOST_ROOM, NULL, NUMBER, THERE, Terms, UNTOUCHED, UNWRITTEN, fits, give, seen,
};
use super::numbers::number;

/// A buffer and a place for its length, which says before the call how much room there is: bytes, or a list of numbers
/// (PKCS#11 2.40 section 5.2).
pub(super) struct Output<T>(PhantomData<T>);

/// An output on the server's side.
pub(super) struct Room<T> {
    output: *mut T,
    length: *mut CK_ULONG,
    /// What was at `length`.
    room: CK_ULONG,
}

impl<T> Output<T> {
    const MOST: CK_ULONG = (MOST_ROOM / size_of::<T>()) as CK_ULONG;

    /// Where there is a buffer, no more room than an answer has; without one, whatever is stated.
    fn room(output: *mut T, stated: CK_ULONG) -> CK_ULONG {
        if output.is_null() { stated } else { stated.min(Self::MOST) }
    }
}

/// Which of two pointers are there.
fn which(first: bool, second: bool) -> u64 {
    u64::from(first) | u64::from(second) << 1
}

impl<T> Kind for Output<T> {
    type Arguments = (*mut T, *mut CK_ULONG);
    type Place = Room<T>;

    unsafe fn encode(
        _: Terms<'_>,
        (output, length): Self::Arguments,
        body: &mut Writer,
    ) -> Result<(), CK_RV> {
        fits(body.word(which(!output.is_null(), !length.is_null())))?;
        if length.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, hence a number, by the caller's promise.
        fits(body.word(Self::room(output, unsafe { length.read_unaligned() })))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        let there = body.number(3, "output")?;
        let mut place = Room { output: core::ptr::null_mut(), length: core::ptr::null_mut(), room: 0 };
        if there & 2 != 0 {
            place.room = body.word()?;
            place.length = number(arena, place.room)?;
        }
        if there & 1 != 0 {
            if place.room > Self::MOST {
                return Err(WireError::Number("room"));
            }
            place.output = arena.place(place.room as usize * size_of::<T>())?.cast();
        }
        Ok(place)
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (place.output, place.length)
    }

    unsafe fn answer(place: &Self::Place, rv: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        if place.length.is_null() {
            return answer.word(UNTOUCHED);
        }
        // SAFETY: not NULL, hence a number in the arena.
        let now = unsafe { place.length.read() };
        if rv == CKR_OK && !place.output.is_null() {
            if now > place.room {
                return Err(WireError::Overrun);
            }
            answer.word(CONTENT)?;
            // SAFETY: there is room for that many in the arena.
            return answer.bytes(unsafe { seen(place.output.cast(), now as usize * size_of::<T>()) });
        }
        if now == place.room {
            return answer.word(UNTOUCHED);
        }
        answer.word(NUMBER)?;
        answer.word(now)
    }

    unsafe fn deliver(
        _: Function,
        (output, length): Self::Arguments,
        rv: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        let tag = answer.word()?;
        if tag == UNTOUCHED {
            return Ok(());
        }
        if length.is_null() {
            return Err(WireError::Contradiction("a length without a place"));
        }
        let now = match tag {
            NUMBER => answer.word()?,
            CONTENT if rv == CKR_OK && !output.is_null() => {
                let content = answer.bytes()?;
                // SAFETY: not NULL, hence a number, by the caller's promise.
                let room = Self::room(output, unsafe { length.read_unaligned() });
                let count = count_of::<T>(content, room)?;
                // SAFETY: the caller states that there is room for as many.
                unsafe { give(output.cast(), content) };
                count
            }
            _ => return Err(WireError::Contradiction("an output")),
        };
        // SAFETY: as above.
        unsafe { length.write_unaligned(now) };
        Ok(())
    }
}

/// How many of `T` there are in what was answered, which must be whole and have room.
fn count_of<T>(content: &[u8], room: CK_ULONG) -> Result<CK_ULONG, WireError> {
    let count = (content.len() / size_of::<T>()) as CK_ULONG;
    if content.len().is_multiple_of(size_of::<T>()) && count <= room {
        Ok(count)
    } else {
        Err(WireError::Contradiction("more than there is room for"))
    }
}

/// A buffer that is filled as long as it is: random numbers.
pub(super) struct Filled;

impl Kind for Filled {
    type Arguments = (*mut CK_BYTE, CK_ULONG);
    type Place = (*mut CK_BYTE, CK_ULONG);

    unsafe fn encode(
        _: Terms<'_>,
        (output, stated): Self::Arguments,
        body: &mut Writer,
    ) -> Result<(), CK_RV> {
        if !output.is_null() && stated > MOST_ROOM as CK_ULONG {
            return Err(CKR_HOST_MEMORY);
        }
        fits(body.word(if output.is_null() { NULL } else { THERE }))?;
        fits(body.word(stated))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        if body.flag("buffer")? {
            let length = body.number(MOST_ROOM, "room")?;
            Ok((arena.place(length)?, length as CK_ULONG))
        } else {
            Ok((core::ptr::null_mut(), body.word()?))
        }
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        *place
    }

    unsafe fn answer(
        (output, length): &Self::Place,
        rv: CK_RV,
        answer: &mut Writer,
    ) -> Result<(), WireError> {
        if rv != CKR_OK || output.is_null() {
            return answer.word(UNTOUCHED);
        }
        answer.word(CONTENT)?;
        // SAFETY: the place has as many bytes.
        answer.bytes(unsafe { seen(*output, *length as usize) })
    }

    unsafe fn deliver(
        _: Function,
        (output, length): Self::Arguments,
        rv: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        match answer.word()? {
            UNTOUCHED => Ok(()),
            CONTENT if rv == CKR_OK && !output.is_null() => {
                let content = answer.bytes()?;
                if content.len() as CK_ULONG != length {
                    return Err(WireError::Contradiction("another length than was asked for"));
                }
                // SAFETY: the caller states that there is room for as many.
                unsafe { give(output, content) };
                Ok(())
            }
            _ => Err(WireError::Contradiction("an output")),
        }
    }
}

/// Places for what a search has found, how many there are, and a place for how many were found.
pub(super) struct Found;

/// Most objects that one call gives; the caller goes on until there are none.
const MOST_FOUND: CK_ULONG = 64 * 1024;

/// What a search has found, on the server's side.
pub(super) struct FoundPlaces {
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
}

impl Kind for Found {
    type Arguments = (*mut CK_OBJECT_HANDLE, CK_ULONG, *mut CK_ULONG);
    type Place = FoundPlaces;

    unsafe fn encode(
        _: Terms<'_>,
        (objects, room, count): Self::Arguments,
        body: &mut Writer,
    ) -> Result<(), CK_RV> {
        fits(body.word(which(!objects.is_null(), !count.is_null())))?;
        fits(body.word(if objects.is_null() { room } else { room.min(MOST_FOUND) }))
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        let there = body.number(3, "output")?;
        let room = body.word()?;
        let mut place = FoundPlaces { objects: core::ptr::null_mut(), room, count: core::ptr::null_mut() };
        if there & 1 != 0 {
            if room > MOST_FOUND {
                return Err(WireError::Number("room"));
            }
            place.objects = arena.place(room as usize * size_of::<CK_OBJECT_HANDLE>())?.cast();
        }
        if there & 2 != 0 {
            place.count = number(arena, UNWRITTEN)?;
        }
        Ok(place)
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (place.objects, place.room, place.count)
    }

    unsafe fn answer(place: &Self::Place, rv: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        // SAFETY: NULL or a number in the arena.
        let count = (!place.count.is_null()).then(|| unsafe { place.count.read() });
        match count {
            None | Some(UNWRITTEN) => answer.word(UNTOUCHED),
            Some(count) if rv == CKR_OK && !place.objects.is_null() => {
                if count > place.room {
                    return Err(WireError::Overrun);
                }
                answer.word(CONTENT)?;
                let length = count as usize * size_of::<CK_OBJECT_HANDLE>();
                // SAFETY: there is room for that many in the arena.
                answer.bytes(unsafe { seen(place.objects.cast(), length) })
            }
            Some(count) => {
                answer.word(NUMBER)?;
                answer.word(count)
            }
        }
    }

    unsafe fn deliver(
        _: Function,
        (objects, room, place): Self::Arguments,
        rv: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        let tag = answer.word()?;
        if tag == UNTOUCHED {
            return Ok(());
        }
        if place.is_null() {
            return Err(WireError::Contradiction("a number without a place"));
        }
        let count = match tag {
            NUMBER => answer.word()?,
            CONTENT if rv == CKR_OK && !objects.is_null() => {
                let content = answer.bytes()?;
                let count = count_of::<CK_OBJECT_HANDLE>(content, room)?;
                // SAFETY: the caller states that there is room for as many.
                unsafe { give(objects.cast(), content) };
                count
            }
            _ => return Err(WireError::Contradiction("an output")),
        };
        // SAFETY: not NULL, hence a place for a number, by the caller's promise.
        unsafe { place.write_unaligned(count) };
        Ok(())
    }
}
