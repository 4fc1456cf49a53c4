//! Questions to the dynamic loader.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::error::LinuxError;

/// The file from which the object that holds `address` was loaded, by the name that the loader was given:
/// relative where that was relative, and `argv[0]` for the main program. The address is never dereferenced.
///
/// # Errors
/// [`LinuxError::NoObject`] where no loaded object holds the address.
pub fn loaded_object_path(address: *const ()) -> Result<PathBuf, LinuxError> {
    let missing = || LinuxError::NoObject { address: address.addr() };
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` only compares the address with the ranges of loaded objects, and `info` is valid for
    // the write of one `Dl_info`.
    let found = unsafe { libc::dladdr(address.cast(), info.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `Dl_info` (null pointers), and the call has overwritten it or left it.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return Err(missing());
    }
    // SAFETY: after success `dli_fname` is the loader's own NUL-terminated string, which lives as long as the
    // object is loaded; it is copied here, before anybody can unload an object that the caller runs code of.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    if name.is_empty() {
        return Err(missing());
    }
    Ok(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_function_lies_in_its_library() {
        let path = loaded_object_path(libc::getpid as *const ()).unwrap();
        assert!(path.is_absolute(), "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("libc.so") || name.starts_with("libc-"), "{name}");
    }

    #[test]
    fn no_object_holds_the_first_page() {
        assert!(matches!(
            loaded_object_path(core::ptr::without_provenance(16)),
            Err(LinuxError::NoObject { address: 16 })
        ));
    }
}
