//! A library that is loaded and stays so.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;

use super::next;

/// A library that is loaded and never closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Library {
    handle: NonNull<c_void>,
}

// SAFETY: a handle is a value that every thread may use (dlopen(3), "MT-Safe"), and this one is never closed.
unsafe impl Send for Library {}
// SAFETY: as above; nothing is changed through it.
unsafe impl Sync for Library {}

impl Library {
    /// Loads the library at `path` with `RTLD_NOW | RTLD_LOCAL`, whoever preloads a `dlopen` of this library's making.
    ///
    /// It runs the library's constructors: `path` is one that an administrator has named.
    ///
    /// # Errors
    /// The loader's own words.
    pub fn load(path: &CStr) -> Result<Self, String> {
        // SAFETY: the path is NUL-terminated; the constructors are those that the administrator asked for.
        let handle = unsafe { next::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        NonNull::new(handle).map(|handle| Self { handle }).ok_or_else(loader_message)
    }

    /// The library at `path` if it is loaded.
    pub fn loaded(path: &CStr) -> Option<Self> {
        // SAFETY: the path is NUL-terminated, and with RTLD_NOLOAD no constructor runs. The reference that this adds to
        // a library that is loaded keeps it so.
        let handle = unsafe { next::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        NonNull::new(handle).map(|handle| Self { handle })
    }

    /// What `dlopen` has returned.
    pub const fn handle(self) -> *mut c_void {
        self.handle.as_ptr()
    }

    /// Whether the loader, asked for `name` by this code, would come to this library. Nothing is loaded.
    pub fn answers_to(self, name: &CStr) -> bool {
        // SAFETY: the name is NUL-terminated, and with RTLD_NOLOAD no constructor runs.
        let found = unsafe { next::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        let Some(found) = NonNull::new(found) else { return false };
        // SAFETY: takes back the one reference that the call above has added; whoever holds others keeps them.
        unsafe { libc::dlclose(found.as_ptr()) };
        // One file has one link map, and its address is the handle.
        found == self.handle
    }
}

fn loader_message() -> String {
    // SAFETY: dlerror gives NULL or a NUL-terminated string that stays until this thread's next dl call.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the loader gave no reason".to_owned();
    }
    // SAFETY: not NULL, hence a string as above.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_answers_to_its_names_and_to_no_other() {
        let path = c"/lib/x86_64-linux-gnu/libm.so.6";
        let library = Library::load(path).unwrap();
        assert_eq!(Library::loaded(path), Some(library));
        for name in [c"libm.so.6", c"/lib/x86_64-linux-gnu/../x86_64-linux-gnu/libm.so.6"] {
            assert!(library.answers_to(name), "{name:?}");
        }
        for name in [c"libc.so.6", c"libabsent.so", c"./libm.so.6"] {
            assert!(!library.answers_to(name), "{name:?}");
        }
    }

    #[test]
    fn to_ask_whether_a_library_is_loaded_does_not_load_it() {
        let path = c"/lib/x86_64-linux-gnu/libresolv.so.2";
        assert_eq!(Library::loaded(path), None);
        assert_eq!(Library::loaded(path), None);
        assert_eq!(Library::loaded(c"/nonexistent/lib.so"), None);
    }

    #[test]
    fn what_cannot_be_loaded_is_said_in_the_loaders_words() {
        let message = Library::load(c"/nonexistent/lib.so").unwrap_err();
        assert!(message.contains("/nonexistent/lib.so"), "{message}");
    }
}
