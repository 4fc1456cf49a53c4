//! One `dlopen` of the application, and where the loader would look for what it names.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::next;

/// Has `dladdr1` give the link map (`dlfcn.h`).
const RTLD_DL_LINKMAP: c_int = 2;

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}

/// The head of `struct link_map` of `link.h`.
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
}

/// `Dl_serpath` of `dlfcn.h`.
#[repr(C)]
struct SearchPath {
    name: *const c_char,
    flags: u32,
}

/// `Dl_serinfo` of `dlfcn.h`, whose list goes on behind it.
#[repr(C)]
struct SearchInfo {
    size: usize,
    count: u32,
    paths: [SearchPath; 1],
}

/// A library that the application wants to open, by a name that the loader interprets as the caller's.
pub struct Opening<'a> {
    name: &'a CStr,
    caller: *const c_void,
}

impl<'a> Opening<'a> {
    pub(super) const fn new(name: &'a CStr, caller: *const c_void) -> Self {
        Self { name, caller }
    }

    /// The name: a path if there is a slash in it.
    pub const fn name(&self) -> &'a CStr {
        self.name
    }

    /// The directories where the loader looks for this caller's libraries, in its order: those of the caller and of the
    /// environment, then those of the system. Its cache is not among them.
    pub fn search_path(&self) -> Vec<PathBuf> {
        let object = self.object();
        let mut head = SearchInfo { size: 0, count: 0, paths: [SearchPath { name: ptr::null(), flags: 0 }] };
        // SAFETY: `object` is a handle, and `head` the structure that this request fills the head of (dlinfo(3)).
        if unsafe { libc::dlinfo(object, libc::RTLD_DI_SERINFOSIZE, (&raw mut head).cast()) } != 0 {
            return Vec::new();
        }
        // Of words, so that it is aligned.
        let mut room = vec![0_usize; head.size.div_ceil(size_of::<usize>()).max(size_of::<SearchInfo>())];
        let info = room.as_mut_ptr().cast::<SearchInfo>();
        // SAFETY: `room` is aligned and larger than the structure; size and count are what the loader has asked for.
        unsafe { info.write(head) };
        // SAFETY: `info` leads to as many bytes as the loader has asked for, and says so.
        if unsafe { libc::dlinfo(object, libc::RTLD_DI_SERINFO, info.cast()) } != 0 {
            return Vec::new();
        }
        // SAFETY: written by the loader, as the call succeeded.
        let count = unsafe { (*info).count } as usize;
        // SAFETY: the list lies inside `room`; only its address is taken.
        let paths = unsafe { (&raw const (*info).paths).cast::<SearchPath>() };
        (0..count)
            // SAFETY: the loader has written that many entries; each name points to a string inside `room`.
            .map(|index| path(unsafe { CStr::from_ptr((*paths.add(index)).name) }))
            .collect()
    }

    /// What `$ORIGIN` stands for in this caller's names: the directory of the object that calls.
    ///
    /// The loader would say it itself (`RTLD_DI_ORIGIN`), but crashes for objects whose origin it had no need of.
    pub fn origin(&self) -> Option<PathBuf> {
        let map = self.object().cast::<LinkMap>();
        // SAFETY: a handle is the address of a link map, and the name a string that stays while the object is loaded.
        let name = unsafe { map.as_ref().map(|map| CStr::from_ptr(map.name)) }?;
        // The program itself has no name there.
        let path = match name.is_empty() {
            true => std::fs::read_link("/proc/self/exe").ok()?,
            false => path(name),
        };
        path.parent().map(Path::to_owned)
    }

    /// The handle of the object whose code calls; that of the program for code which is in none, as the loader has it.
    fn object(&self) -> *mut c_void {
        let mut info = MaybeUninit::<libc::Dl_info>::uninit();
        let mut map = ptr::null_mut();
        // SAFETY: any address may be asked for; the places for the answers are there.
        let found = unsafe { dladdr1(self.caller, info.as_mut_ptr(), &raw mut map, RTLD_DL_LINKMAP) };
        if found != 0 && !map.is_null() {
            return map;
        }
        // SAFETY: NULL is the program, which is loaded and stays so.
        unsafe { next::dlopen(ptr::null(), libc::RTLD_LAZY) }
    }
}

fn path(path: &CStr) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_directories_end_with_those_of_the_system() {
        let caller = path as *const c_void;
        for caller in [caller, ptr::null()] {
            let opening = Opening::new(c"libm.so.6", caller);
            let directories = opening.search_path();
            let found = directories.iter().any(|directory| directory.join("libm.so.6").exists());
            assert!(found, "{directories:?}");
            let program = std::env::current_exe().unwrap();
            assert_eq!(opening.origin().as_deref(), program.parent());
        }
    }
}
