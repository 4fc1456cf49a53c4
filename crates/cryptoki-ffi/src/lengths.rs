//! Lengths that no memory has: a module that believes one runs off its end, or ends the process for want of memory.

use cryptoki_sys::*;

/// Beyond what a process on x86-64 can have mapped, five levels of pages included.
const MOST_BYTES: CK_ULONG = 1 << 56;

/// Whether something can be so long.
pub(crate) const fn is_possible(length: CK_ULONG) -> bool {
    length <= MOST_BYTES
}

/// Whether an argument of this name states how many bytes there are.
pub(crate) const fn is_length(name: &str) -> bool {
    matches!(name.as_bytes(), [.., b'_', b'l', b'e', b'n'])
}

/// An argument of a PKCS#11 function.
pub(crate) trait Argument {
    /// Whether it can be a length; what is no number is none.
    fn can_be_length(&self) -> bool;
}

impl Argument for CK_ULONG {
    #[inline]
    fn can_be_length(&self) -> bool {
        is_possible(*self)
    }
}

macro_rules! no_numbers {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            #[inline]
            fn can_be_length(&self) -> bool {
                true
            }
        }
    )*};
}

no_numbers!(CK_BBOOL, CK_NOTIFY);

impl<T> Argument for *mut T {
    #[inline]
    fn can_be_length(&self) -> bool {
        true
    }
}
