//! The one shape of a layer: it answers calls, whatever stands behind it.

use cryptoki_sys::CK_RV;

use crate::calls::Call;

/// Answers calls of one function.
pub trait Layer<C: Call> {
    /// The answer.
    fn call(&self, call: C) -> CK_RV;
}
