//! Whether this library is where a preloaded one is: in front of the C library.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU8, Ordering};

const UNKNOWN: u8 = 0;
const IN_FRONT: u8 = 1;
const BEHIND: u8 = 2;

static POSITION: AtomicU8 = AtomicU8::new(UNKNOWN);

unsafe extern "C" {
    fn gnu_get_libc_version() -> *const core::ffi::c_char;
}

/// Whether the loader put this library in front of the C library when it started the program: because it was told to
/// preload it, or because the program is linked with it. One that is opened later comes behind.
pub(super) fn is_in_front() -> bool {
    match POSITION.load(Ordering::Relaxed) {
        UNKNOWN => {
            let in_front = look();
            POSITION.store(if in_front { IN_FRONT } else { BEHIND }, Ordering::Relaxed);
            in_front
        }
        known => known == IN_FRONT,
    }
}

struct Search {
    ours: usize,
    libc: usize,
    in_front: bool,
}

fn look() -> bool {
    let mut search = Search {
        ours: (&raw const POSITION).addr(),
        libc: (gnu_get_libc_version as *const c_void).addr(),
        in_front: false,
    };
    // SAFETY: the callback takes what this call hands it, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.in_front
}

/// Objects come in the order in which they were loaded; the first of the two ends the search.
unsafe extern "C" fn visit(object: *mut libc::dl_phdr_info, _: libc::size_t, search: *mut c_void) -> c_int {
    // SAFETY: the loader hands over one object's record, valid during the callback.
    let object = unsafe { &*object };
    // SAFETY: this is the `Search` of `look`, which nothing else refers to meanwhile.
    let search = unsafe { &mut *search.cast::<Search>() };
    let holds = |address: usize| {
        (0..usize::from(object.dlpi_phnum)).any(|index| {
            // SAFETY: the object has that many program headers, and they stay while it is loaded.
            let header = unsafe { &*object.dlpi_phdr.add(index) };
            let start = (object.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD && address.wrapping_sub(start) < header.p_memsz as usize
        })
    };
    search.in_front = holds(search.ours);
    c_int::from(search.in_front || holds(search.libc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_before_its_c_library() {
        assert!(look());
    }
}
