//! Operations that the application itself gives up.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer, named_by};
use cryptoki_sys::CKR_OK;

use super::GatedModule;

impl Layer<calls::C_SessionCancel> for GatedModule {
    fn call(&self, call: calls::C_SessionCancel) -> CK_RV {
        let (_, mut session) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            for (used, form) in named_by(call.flags()) {
                drop(session.ended(used, form));
            }
        }
        rv
    }
}
