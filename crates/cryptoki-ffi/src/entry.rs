//! The one entry through which every C call comes in: nothing unwinds into the application.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR};

/// Runs `body`; a panic in it is answered with `CKR_GENERAL_ERROR`, never with a pass.
#[inline(always)]
pub fn entry(body: impl FnOnce() -> CK_RV) -> CK_RV {
    // Whatever a panic leaves half done is behind locks that do not poison and is checked anew at the next call.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(rv) => rv,
        Err(payload) => {
            // Dropping the payload could panic again.
            core::mem::forget(payload);
            CKR_GENERAL_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_general_error() {
        assert_eq!(entry(|| panic!("inside")), CKR_GENERAL_ERROR);
        assert_eq!(entry(|| 0), 0);
    }
}
