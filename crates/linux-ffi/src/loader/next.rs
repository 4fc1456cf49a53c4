//! The `dlopen` and `dlmopen` that come after this library's own: those of the C library, or of somebody else who was
//! preloaded behind it.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

pub(super) static DLOPEN: Next = Next::of(c"dlopen");
pub(super) static DLMOPEN: Next = Next::of(c"dlmopen");

type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
type Dlmopen = unsafe extern "C" fn(libc::Lmid_t, *const c_char, c_int) -> *mut c_void;

/// A function of the loader, looked up once.
pub(super) struct Next {
    symbol: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    const fn of(symbol: &'static CStr) -> Self {
        Self { symbol, found: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address.
    ///
    /// By name, without a version: it is in the C library since glibc 2.34, and in one of its own before.
    pub(super) fn address(&self) -> Option<NonNull<c_void>> {
        let known = NonNull::new(self.found.load(Ordering::Relaxed));
        known.or_else(|| {
            // SAFETY: the name is NUL-terminated. RTLD_NEXT means the objects behind the one that calls, which
            // is this one, as the result is looked at before it is returned.
            let found = NonNull::new(unsafe { libc::dlsym(libc::RTLD_NEXT, self.symbol.as_ptr()) })?;
            self.found.store(found.as_ptr(), Ordering::Relaxed);
            Some(found)
        })
    }
}

/// The next `dlopen`, called from here: the search paths of the library that this code is in are those that count.
///
/// # Safety
/// `name` is NULL or NUL-terminated; what the constructors of the library do is the caller's responsibility.
pub(super) unsafe fn dlopen(name: *const c_char, mode: c_int) -> *mut c_void {
    let Some(address) = DLOPEN.address() else { return ptr::null_mut() };
    // SAFETY: the symbol of this name is this function (dlopen(3)).
    let function = unsafe { core::mem::transmute::<NonNull<c_void>, Dlopen>(address) };
    // SAFETY: the caller's promise.
    unsafe { function(name, mode) }
}

/// The next `dlmopen`, called from here.
///
/// # Safety
/// As for [`dlopen`].
pub(super) unsafe fn dlmopen(namespace: libc::Lmid_t, name: *const c_char, mode: c_int) -> *mut c_void {
    let Some(address) = DLMOPEN.address() else { return ptr::null_mut() };
    // SAFETY: the symbol of this name is this function (dlmopen(3)).
    let function = unsafe { core::mem::transmute::<NonNull<c_void>, Dlmopen>(address) };
    // SAFETY: the caller's promise.
    unsafe { function(namespace, name, mode) }
}
