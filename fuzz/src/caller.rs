//! A C caller's memory: every buffer ends where it says, so that the sanitizer sees each byte that is read or written beyond.

use core::ffi::c_void;

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// A buffer, aligned or not.
pub struct Place {
    bytes: Vec<u8>,
    shift: usize,
}

impl Place {
    /// Holds `content`; callers that pack their structures align nothing.
    pub fn of(content: &[u8], is_packed: bool) -> Self {
        let shift = usize::from(is_packed);
        let mut bytes = Vec::with_capacity(shift + content.len());
        bytes.resize(shift, 0);
        bytes.extend_from_slice(content);
        Self { bytes, shift }
    }

    pub fn pointer(&mut self) -> *mut c_void {
        // SAFETY: the buffer has at least `shift` bytes.
        unsafe { self.bytes.as_mut_ptr().add(self.shift).cast() }
    }

    pub fn content(&self) -> &[u8] {
        &self.bytes[self.shift..]
    }

    /// What another thread of the caller could do meanwhile.
    pub fn spoil(&mut self) {
        self.bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The bytes of structures, as C lays them out.
pub fn bytes_of<T>(structures: &[T]) -> &[u8] {
    // SAFETY: the structures that are given here have no gaps.
    unsafe { core::slice::from_raw_parts(structures.as_ptr().cast(), size_of_val(structures)) }
}

/// A length that is stated where there is nothing: any.
pub fn length(input: &mut Unstructured<'_>) -> Result<CK_ULONG> {
    Ok(match input.int_in_range(0..=7)? {
        0 => CK_UNAVAILABLE_INFORMATION,
        1 => 1 << 62,
        2 => 1 << 56,
        3 => (1 << 56) + 1,
        4 => input.arbitrary()?,
        _ => input.int_in_range(0..=64)?,
    })
}

/// Whether memory can have so many bytes.
pub const fn is_possible(length: CK_ULONG) -> bool {
    length <= 1 << 56
}
