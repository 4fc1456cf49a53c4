//! Bytes of the caller's in memory of our own, aligned for whatever structure of PKCS#11 they are.

use core::ffi::c_void;
use core::mem::MaybeUninit;

/// Eight bytes of a structure, with gaps between its fields perhaps that nobody has written.
type Word = MaybeUninit<u64>;

const WORD: usize = size_of::<Word>();

/// A copy. No box, which would take the memory for its own alone whenever it is moved.
pub(super) struct Copied {
    words: Vec<Word>,
    length: usize,
}

impl Copied {
    /// # Safety
    /// There are `length` bytes at `from`.
    pub(super) unsafe fn of(from: *const c_void, length: usize) -> Self {
        let mut words = vec![Word::uninit(); length.div_ceil(WORD)];
        // SAFETY: the bytes are there, by the promise above, and the words have room for as many.
        unsafe { words.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.cast::<u8>(), length) };
        Self { words, length }
    }

    pub(super) const fn as_mut_ptr(&mut self) -> *mut c_void {
        self.words.as_mut_ptr().cast()
    }

    /// The number at a multiple of eight.
    ///
    /// # Safety
    /// There is a field of eight bytes that is written.
    pub(super) unsafe fn word(&self, offset: usize) -> Option<u64> {
        // SAFETY: written, by the promise above.
        self.words.get(offset / WORD).map(|word| unsafe { word.assume_init_read() })
    }

    /// The byte at this offset.
    ///
    /// # Safety
    /// It is written; what is beside it need not be.
    pub(super) unsafe fn byte(&self, offset: usize) -> Option<u8> {
        let word = self.words.get(offset / WORD)?.as_ptr().cast::<u8>();
        // SAFETY: inside the word, and written, by the promise above.
        Some(unsafe { word.add(offset % WORD).read() })
    }

    /// All of it.
    ///
    /// # Safety
    /// Every byte is written.
    pub(super) const unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the words hold as many bytes (`of`), which are written, by the promise above.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr().cast(), self.length) }
    }
}
