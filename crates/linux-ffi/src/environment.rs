//! A variable of the environment, where it may be believed.

use core::ffi::{CStr, c_char};

unsafe extern "C" {
    fn secure_getenv(name: *const c_char) -> *mut c_char;
}

/// Hands `look` the value of a variable, without a copy: nothing if it is not set, or if the process was started with more
/// rights than its caller has.
pub fn with_variable<T>(name: &CStr, look: impl FnOnce(Option<&CStr>) -> T) -> T {
    // SAFETY: the name is NUL-terminated. The environment is the application's, and nobody may read it while the
    // application changes it (setenv(3), "MT-Unsafe env"): neither may the functions of the C library.
    let value = unsafe { secure_getenv(name.as_ptr()) };
    // SAFETY: not NULL, hence a string; it is not used beyond this call.
    look((!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_seen_if_it_is_set() {
        let path = std::env::var("PATH").unwrap();
        with_variable(c"PATH", |value| assert_eq!(value.unwrap().to_str().unwrap(), path));
        with_variable(c"TRUSTSHIM_ABSENT", |value| assert!(value.is_none()));
    }
}
