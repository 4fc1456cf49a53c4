//! Keys that are made together with what their peer gets them from.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::CKR_ARGUMENTS_BAD;
use gate::rules;
use pkcs11_table::Function;

use super::wrapping::Rule;
use super::{GatedModule, delivered};

impl Layer<calls::C_EncapsulateKey> for GatedModule {
    fn call(&self, call: calls::C_EncapsulateKey) -> CK_RV {
        call.pinned(&self.flat, |mechanism, template, pinned| {
            let from = (call.public_key(), rules::encapsulate as Rule);
            let origin =
                match self.origin(Function::C_EncapsulateKey, call.session(), mechanism, template, from) {
                    Ok(origin) => origin,
                    Err(rv) => return rv,
                };
            if call.ciphertext().is_null() {
                // Asked for the size of the ciphertext: no key comes to be, and no rate is used up.
                let demands = origin.demands(&origin.planned);
                return match self.gate.permit(Some(origin.caller.place), &demands) {
                    Ok((permit, _spending)) => self.module.invoke(permit, pinned),
                    Err(denial) => self.deny(&denial),
                };
            }
            let made = self
                .make_from(&origin, |permit| pinned.with_own_place(|call| self.module.invoke(permit, call)));
            delivered(made, |key| call.deliver(key))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}
