//! The parameter of a mechanism or message: bytes as they are, structures with what their pointers lead to. A parameter that
//! nobody can carry, because nobody knows where its pointers are, goes over as so many zeros where the gate refuses it anyway.

use core::ffi::c_void;

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::{Extent, Function, Layout, Parameter, Pointer, Structure, Target, When};

use super::arena::Arena;
use super::kind::{NULL, THERE, fits, give, length, seen, take};

/// A structure, field by field.
const STRUCTURE: u64 = 2;
/// Zeros instead of what is there.
const WITHHELD: u64 = 3;

/// What is shorter holds no pointer.
const POINTER: usize = size_of::<*const c_void>();
/// Longer parameters than this are not withheld, but refused.
const MOST_WITHHELD: usize = 4096;
/// Most structures that one pointer leads to.
const MOST_STRUCTURES: usize = 64;

/// A parameter on the server's side, with the buffers in it that the layer may write to.
pub(super) struct Placed {
    pub(super) pointer: *mut c_void,
    pub(super) length: CK_ULONG,
    written: Vec<(*mut u8, usize)>,
}

/// Whether the gate refuses a call for the parameter of its mechanism alone, which can hold this, whatever is in it, and says so in its own words
/// (`MechanismView`).
pub(super) fn is_refused(function: Function, parameter: Parameter, length: usize) -> bool {
    // Digests are forwarded without a look at their mechanism.
    function != Function::C_DigestInit
        && match parameter {
            Parameter::Opaque => true,
            Parameter::Unknown => length >= POINTER,
            Parameter::Handles { size, .. } => length != size && length > 0,
            Parameter::Plain => false,
        }
}

/// Writes a parameter.
///
/// # Safety
/// `pointer` is NULL or leads to `stated` bytes, and the pointers in them to what PKCS#11 says.
pub(super) unsafe fn encode(
    layout: Layout,
    is_refused: impl FnOnce(usize) -> bool,
    (pointer, stated): (*mut c_void, CK_ULONG),
    body: &mut Writer,
) -> Result<(), CK_RV> {
    if pointer.is_null() {
        fits(body.word(NULL))?;
        return fits(body.word(stated));
    }
    let length = length(stated)?;
    if length < POINTER || layout == Layout::Flat {
        fits(body.word(THERE))?;
        // SAFETY: not NULL, hence as many bytes as are stated, by the promise above.
        return unsafe { take(pointer.cast(), length, body) };
    }
    if let Some(structure) = layout.of_size(length) {
        fits(body.word(STRUCTURE))?;
        // SAFETY: as above; the structure is as long.
        return unsafe { encode_structure(structure, pointer.cast(), body) };
    }
    if length <= MOST_WITHHELD && is_refused(length) {
        fits(body.word(WITHHELD))?;
        return fits(body.word(length as u64));
    }
    Err(CKR_MECHANISM_PARAM_INVALID)
}

/// # Safety
/// At `place` is such a structure, and its pointers lead to what PKCS#11 says.
unsafe fn encode_structure(structure: &Structure, place: *const u8, body: &mut Writer) -> Result<(), CK_RV> {
    // SAFETY: by the promise above.
    let own = unsafe { Own::of(structure, place) };
    fits(body.bytes(own.bytes(structure)))?;
    for pointer in structure.pointers {
        if !own.counts(&pointer.when) {
            continue;
        }
        // SAFETY: a pointer inside the structure; callers align nothing.
        let target = unsafe { place.add(pointer.offset).cast::<*const u8>().read_unaligned() };
        if target.is_null() {
            fits(body.word(NULL))?;
            continue;
        }
        if target.addr() < LOWEST {
            return Err(CKR_ARGUMENTS_BAD);
        }
        fits(body.word(THERE))?;
        match &pointer.target {
            // SAFETY: not NULL, hence as many bytes as the structure says.
            Target::Bytes(extent) => unsafe { take(target, length(own.extent(*extent))?, body) }?,
            Target::Structures(inner, extent) => {
                let count = usize::try_from(own.extent(*extent)).unwrap_or(usize::MAX);
                if count > MOST_STRUCTURES {
                    return Err(CKR_MECHANISM_PARAM_INVALID);
                }
                for index in 0..count {
                    // SAFETY: not NULL, hence as many structures as the structure says.
                    unsafe { encode_structure(inner, target.add(index * inner.size), body) }?;
                }
            }
        }
    }
    Ok(())
}

/// Below it Linux maps nothing (vm.mmap_min_addr): a number there is no address, but that of another structure of the same size.
const LOWEST: usize = 1 << 16;

/// The longest structure of the standard.
const LONGEST: usize = 80;

/// The numbers of a structure in memory of our own, with zeros for pointers and for what is between the fields.
struct Own {
    bytes: [u8; LONGEST],
}

impl Own {
    /// Reads a structure.
    ///
    /// # Safety
    /// There is such a structure at `place`.
    unsafe fn of(structure: &Structure, place: *const u8) -> Self {
        let mut own = Self { bytes: [0; LONGEST] };
        let is_skipped = |word: usize| structure.pointers.iter().any(|pointer| pointer.offset == word);
        let ends = |word: usize| {
            let gap = structure.gaps.iter().find(|(start, _)| *start / POINTER == word / POINTER);
            gap.map_or(word + POINTER, |(start, _)| *start)
        };
        // All fields begin at a multiple of eight, or are bytes that come one behind the other; a gap goes to the next such.
        for word in (0..structure.size).step_by(POINTER).filter(|word| !is_skipped(*word)) {
            if let Some(part) = own.bytes.get_mut(word..ends(word).min(structure.size)) {
                // SAFETY: fields of the structure at `place`.
                unsafe { part.as_mut_ptr().copy_from_nonoverlapping(place.add(word), part.len()) };
            }
        }
        own
    }

    fn bytes(&self, structure: &Structure) -> &[u8] {
        self.bytes.get(..structure.size).unwrap_or_default()
    }

    /// What was received.
    fn received(structure: &Structure, body: &mut Reader<'_>) -> Result<Self, WireError> {
        let content = body.bytes()?;
        let mut own = Self { bytes: [0; LONGEST] };
        match own.bytes.get_mut(..structure.size) {
            Some(bytes) if content.len() == bytes.len() => bytes.copy_from_slice(content),
            _ => return Err(WireError::Number("structure")),
        }
        Ok(own)
    }

    fn number(&self, offset: usize) -> CK_ULONG {
        let bytes = self.bytes.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| CK_ULONG::from_ne_bytes(*bytes))
    }

    fn extent(&self, extent: Extent) -> CK_ULONG {
        match extent {
            Extent::At(offset) => self.number(offset),
            Extent::Bits(offset) => self.number(offset).div_ceil(8),
            Extent::Fixed(length) => length as CK_ULONG,
        }
    }

    fn counts(&self, when: &When) -> bool {
        match when {
            When::Always => true,
            When::Flag(offset) => self.bytes.get(*offset).is_some_and(|flag| *flag != CK_FALSE),
            When::Unless(offset, values) => !values.contains(&self.number(*offset)),
        }
    }
}

/// Gives a parameter a place.
pub(super) fn decode(
    layout: Layout,
    is_refused: impl FnOnce(usize) -> bool,
    body: &mut Reader<'_>,
    arena: &mut Arena,
) -> Result<Placed, WireError> {
    let mut placed = Placed { pointer: core::ptr::null_mut(), length: 0, written: Vec::new() };
    match body.word()? {
        NULL => placed.length = body.word()?,
        THERE => {
            let content = body.bytes()?;
            if content.len() >= POINTER && layout != Layout::Flat {
                return Err(WireError::Contradiction("a structure without its pointers"));
            }
            placed.pointer = arena.copy(content)?.cast();
            placed.length = content.len() as CK_ULONG;
        }
        STRUCTURE => {
            // A structure's size is that of its bytes, which come next.
            let size = body.clone().bytes()?.len();
            let structure = layout.of_size(size).ok_or(WireError::Contradiction("a structure"))?;
            let place = arena.place(size)?;
            decode_structure(structure, place, body, arena, &mut placed.written)?;
            placed.pointer = place.cast();
            placed.length = size as CK_ULONG;
        }
        WITHHELD => {
            let length = body.number(MOST_WITHHELD, "parameter")?;
            if length < POINTER || layout.of_size(length).is_some() || !is_refused(length) {
                return Err(WireError::Contradiction("a parameter that is withheld"));
            }
            placed.pointer = arena.place(length)?.cast();
            placed.length = length as CK_ULONG;
        }
        _ => return Err(WireError::Number("parameter")),
    }
    Ok(placed)
}

/// Fills in a structure at `place`, which has room for it.
fn decode_structure(
    structure: &Structure,
    place: *mut u8,
    body: &mut Reader<'_>,
    arena: &mut Arena,
    written: &mut Vec<(*mut u8, usize)>,
) -> Result<(), WireError> {
    let own = Own::received(structure, body)?;
    if structure.pointers.iter().any(|pointer| own.number(pointer.offset) != 0) {
        return Err(WireError::Contradiction("a pointer"));
    }
    // SAFETY: the place in the arena is as large.
    unsafe { give(place, own.bytes(structure)) };
    for pointer in structure.pointers {
        if !own.counts(&pointer.when) || !body.flag("pointer")? {
            continue;
        }
        let target = decode_target(pointer, &own, body, arena, written)?;
        // SAFETY: a pointer inside the structure; the place is aligned as the structure is.
        unsafe { place.add(pointer.offset).cast::<*mut u8>().write(target) };
    }
    Ok(())
}

fn decode_target(
    pointer: &Pointer,
    own: &Own,
    body: &mut Reader<'_>,
    arena: &mut Arena,
    written: &mut Vec<(*mut u8, usize)>,
) -> Result<*mut u8, WireError> {
    match &pointer.target {
        Target::Bytes(extent) => {
            let content = body.bytes()?;
            if content.len() as CK_ULONG != own.extent(*extent) {
                return Err(WireError::Contradiction("a length"));
            }
            let target = arena.copy(content)?;
            if pointer.is_written {
                written.push((target, content.len()));
            }
            Ok(target)
        }
        Target::Structures(inner, extent) => {
            let count = usize::try_from(own.extent(*extent)).unwrap_or(usize::MAX);
            if count > MOST_STRUCTURES {
                return Err(WireError::Number("structures"));
            }
            let target = arena.place(count * inner.size)?;
            for index in 0..count {
                // SAFETY: the place has room for `count` structures.
                let one = unsafe { target.add(index * inner.size) };
                decode_structure(inner, one, body, arena, written)?;
            }
            Ok(target)
        }
    }
}

impl Placed {
    /// Writes the buffers that the layer may have written to.
    ///
    /// # Safety
    /// The arena has not been cleared since, and nobody writes there any more.
    pub(super) unsafe fn answer(&self, answer: &mut Writer) -> Result<(), WireError> {
        for (buffer, length) in &self.written {
            // SAFETY: a place in the arena for as many bytes.
            answer.bytes(unsafe { seen(*buffer, *length) })?;
        }
        Ok(())
    }
}

/// Writes to the buffers that the layer may have written to, of those that the caller has.
///
/// # Safety
/// As for `encode`.
pub(super) unsafe fn deliver(
    layout: Layout,
    (pointer, length): (*mut c_void, CK_ULONG),
    answer: &mut Reader<'_>,
) -> Result<(), WireError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let Some(structure) = layout.of_size(length).filter(|_| !pointer.is_null()) else { return Ok(()) };
    if !structure.pointers.iter().any(|pointer| pointer.is_written) {
        return Ok(());
    }
    let place = pointer.cast::<u8>().cast_const();
    // SAFETY: not NULL, hence a structure of this size.
    let own = unsafe { Own::of(structure, place) };
    for pointer in structure.pointers.iter().filter(|pointer| pointer.is_written) {
        // SAFETY: a pointer inside the structure; callers align nothing.
        let target = unsafe { place.add(pointer.offset).cast::<*mut u8>().read_unaligned() };
        let Target::Bytes(extent) = pointer.target else { continue };
        if target.is_null() || !own.counts(&pointer.when) {
            continue;
        }
        let content = answer.bytes()?;
        if content.len() as CK_ULONG != own.extent(extent) {
            return Err(WireError::Contradiction("another length than there is"));
        }
        // SAFETY: not NULL, hence room for as many bytes as the structure says.
        unsafe { give(target, content) };
    }
    Ok(())
}
