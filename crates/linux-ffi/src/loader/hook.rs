//! The `dlopen` and `dlmopen` that a preloaded library exports: they answer for one library with themselves, and hand
//! every other call on untouched.

use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::next::{self, DLMOPEN, DLOPEN, Next};
use super::opening::Opening;
use super::position::is_in_front;

/// What the exported function does after the decision. In two registers.
#[repr(C)]
pub struct Answer {
    /// Where to jump to with the caller's own arguments and return address, or NULL.
    next: *const c_void,
    /// What to return otherwise.
    handle: *mut c_void,
}

thread_local! {
    /// Whether this thread is at a decision: what is opened on the way belongs to this library.
    static DECIDING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the application is to get this library instead of the one that it names.
pub type IsOurs = fn(&Opening<'_>) -> bool;

/// Decides about `dlopen(name, mode)`, called from `caller`.
///
/// # Safety
/// `name` is NULL or NUL-terminated.
pub unsafe fn decide_dlopen(
    name: *const c_char,
    mode: c_int,
    caller: *const c_void,
    is_ours: IsOurs,
) -> Answer {
    // SAFETY: the caller's promise.
    unsafe { decide(&DLOPEN, name, caller, is_ours, |own| next::dlopen(own, mode | libc::RTLD_NOLOAD)) }
}

/// Decides about `dlmopen(namespace, name, mode)`, called from `caller`.
///
/// # Safety
/// `name` is NULL or NUL-terminated.
pub unsafe fn decide_dlmopen(
    namespace: libc::Lmid_t,
    name: *const c_char,
    mode: c_int,
    caller: *const c_void,
    is_ours: IsOurs,
) -> Answer {
    let open = |own: *const c_char| {
        // Another namespace gets a copy of its own.
        let mode = if namespace == libc::LM_ID_BASE { mode | libc::RTLD_NOLOAD } else { mode };
        // SAFETY: `decide` hands over this library's own name.
        unsafe { next::dlmopen(namespace, own, mode) }
    };
    // SAFETY: the caller's promise.
    unsafe { decide(&DLMOPEN, name, caller, is_ours, open) }
}

unsafe fn decide(
    next: &Next,
    name: *const c_char,
    caller: *const c_void,
    is_ours: IsOurs,
    open_ourselves: impl FnOnce(*const c_char) -> *mut c_void,
) -> Answer {
    let errno = errno();
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        unsafe { answer(next, name, caller, is_ours, open_ourselves) }
    }));
    set_errno(errno);
    // Whoever cannot decide opens nothing.
    answer.unwrap_or_else(|payload| {
        // Dropping the payload could panic again.
        core::mem::forget(payload);
        Answer { next: ptr::null(), handle: ptr::null_mut() }
    })
}

unsafe fn answer(
    next: &Next,
    name: *const c_char,
    caller: *const c_void,
    is_ours: IsOurs,
    open_ourselves: impl FnOnce(*const c_char) -> *mut c_void,
) -> Answer {
    let next = next.address().map_or(ptr::null(), |address| address.as_ptr().cast_const());
    let pass_on = Answer { next, handle: ptr::null_mut() };
    if name.is_null() || !is_in_front() {
        return pass_on;
    }
    // SAFETY: not NULL, hence a string by the caller's promise; it stays during this call.
    let opening = Opening::new(unsafe { CStr::from_ptr(name) }, caller);
    let ours = match Decision::begin() {
        Some(_decision) => is_ours(&opening),
        None => false,
    };
    if !ours {
        return pass_on;
    }
    Answer { next: ptr::null(), handle: own_name().map_or(ptr::null_mut(), open_ourselves) }
}

/// A decision under way on this thread.
struct Decision;

impl Decision {
    fn begin() -> Option<Self> {
        (!DECIDING.replace(true)).then_some(Self)
    }
}

impl Drop for Decision {
    fn drop(&mut self) {
        DECIDING.set(false);
    }
}

/// The name under which the loader knows this library; it finds it by that without looking at any file.
fn own_name() -> Option<*const c_char> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is one of this library, and there is room for the answer.
    let found = unsafe { libc::dladdr((&raw const DLOPEN).cast(), info.as_mut_ptr()) };
    // SAFETY: filled, as dladdr says so by any answer but 0.
    (found != 0).then(|| unsafe { info.assume_init() }.dli_fname).filter(|name| !name.is_null())
}

fn errno() -> c_int {
    // SAFETY: the calling thread's own `errno`, valid as long as the thread lives.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}
