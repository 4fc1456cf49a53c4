//! The one shape of a layer: it answers calls, whatever stands behind it.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls::Call;

/// Answers calls of one function.
pub(crate) trait Layer<C: Call> {
    /// The answer.
    fn call(&self, call: C) -> CK_RV;
}
