//! The memory that stands for the caller's on the server's side: handed out piece by piece, and overwritten and used anew
//! with each call.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use guard_wire::{MAX_BODY, WireError};
use zeroize::Zeroize as _;

/// Most bytes of one call: as much in as a body has, as much out, and what holds it together.
const MOST: usize = 2 * MAX_BODY + (1 << 20);
/// Bytes of a piece of memory that is kept from call to call; what does not fit in has its own.
const KEPT: usize = 64 << 10;
/// Every place begins at a multiple of this, and at least one zero comes after what was asked for: modules look at what a
/// pointer leads to before they look at the length.
const STEP: usize = 16;

/// Memory for the arguments of one call at a time, all of it zero until somebody writes there.
#[derive(Debug, Default)]
pub struct Arena {
    chunks: Vec<Chunk>,
    /// Bytes of all chunks.
    total: usize,
}

#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
    used: usize,
}

// SAFETY: a chunk owns its memory, and nobody else has a pointer to it between calls.
unsafe impl Send for Chunk {}

impl Arena {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), total: 0 }
    }

    /// A place for `length` bytes, zero, aligned for whatever structure of PKCS#11 comes there. It stays until the arena is
    /// cleared.
    pub(super) fn place(&mut self, length: usize) -> Result<*mut u8, WireError> {
        let padded = length.checked_add(STEP).filter(|size| *size <= MOST);
        let padded = padded.ok_or(WireError::Number("memory"))? / STEP * STEP;
        // Each place on its own, where a sanitizer watches what is read and written beyond.
        let (size, room) = if cfg!(fuzzing) { (length + 1, length + 1) } else { (padded, padded.max(KEPT)) };
        if let Some(place) = self.chunks.last_mut().and_then(|chunk| chunk.take(size)) {
            return Ok(place);
        }
        if self.total + room > MOST {
            return Err(WireError::Number("memory"));
        }
        let mut chunk = Chunk::new(room).ok_or(WireError::Number("memory"))?;
        let place = chunk.take(size).ok_or(WireError::Number("memory"))?;
        self.total += room;
        self.chunks.push(chunk);
        Ok(place)
    }

    /// A place that holds a copy of `content`.
    pub(super) fn copy(&mut self, content: &[u8]) -> Result<*mut u8, WireError> {
        let place = self.place(content.len())?;
        // SAFETY: the place is new, and has as many bytes.
        unsafe { place.copy_from_nonoverlapping(content.as_ptr(), content.len()) };
        Ok(place)
    }

    /// Overwrites everything, and has it all free again. Nobody uses a place of it any more.
    pub(super) fn clear(&mut self) {
        self.chunks.truncate(1);
        self.chunks.retain(|chunk| chunk.layout.size() == KEPT);
        self.chunks.iter_mut().for_each(Chunk::wipe);
        self.total = KEPT * self.chunks.len();
    }
}

impl Chunk {
    fn new(size: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size, STEP).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, layout, used: 0 })
    }

    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let end = self.used.checked_add(size).filter(|end| *end <= self.layout.size())?;
        // SAFETY: inside the chunk, or at its end where nothing was asked for.
        let place = unsafe { self.start.as_ptr().add(self.used) };
        self.used = end;
        Some(place)
    }

    fn wipe(&mut self) {
        // SAFETY: the chunk's own memory, initialised when it was allocated, to which nobody else has a pointer now.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.used) }.zeroize();
        self.used = 0;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: allocated with this layout (`new`), and not used any more.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_aligned_and_zero_again_with_each_call() {
        let mut arena = Arena::new();
        for _ in 0..2 {
            let lengths = [0_usize, 1, 8, 15, 16, 17, 4000, KEPT, 3];
            let places: Vec<_> = lengths.iter().map(|length| arena.place(*length).unwrap()).collect();
            for (index, (place, length)) in places.iter().zip(lengths).enumerate() {
                assert_eq!(place.addr() % STEP, 0);
                for other in &places[..index] {
                    assert!(place.addr().abs_diff(other.addr()) >= STEP);
                }
                // SAFETY: as many bytes are there, and a zero behind them.
                unsafe {
                    assert!((0..=length).all(|at| place.add(at).read() == 0));
                    place.write_bytes(0xee, length);
                }
            }
            arena.clear();
            assert_eq!((arena.chunks.len(), arena.total), (1, KEPT), "what was large is given back");
        }
    }

    #[test]
    fn a_call_has_no_more_memory_than_it_may_have() {
        let mut arena = Arena::new();
        for length in [MOST, usize::MAX, usize::MAX - STEP, 1 << 40] {
            assert_eq!(arena.place(length), Err(WireError::Number("memory")), "{length:#x}");
        }
        let mut pieces = 0;
        while arena.place(1 << 20).is_ok() {
            pieces += 1;
        }
        assert_eq!((pieces, arena.total <= MOST), (32, true));
        assert!(arena.place(8).is_ok(), "what is small still has a place");
        arena.clear();
        assert!(arena.place(1 << 20).is_ok());
    }
}
