//! Digests: free, but for a key's value that goes into one.

use std::sync::Arc;

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::CKR_OK;
use gate::rules;
use pkcs11_table::Function;

use super::GatedModule;

impl Layer<calls::C_DigestInit> for GatedModule {
    fn call(&self, call: calls::C_DigestInit) -> CK_RV {
        let (place, mut session) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let rv = self.forward_keyless(call, place);
        if rv == CKR_OK {
            session.digest_begun();
        }
        rv
    }
}

impl Layer<calls::C_DigestKey> for GatedModule {
    fn call(&self, call: calls::C_DigestKey) -> CK_RV {
        let function = Function::C_DigestKey;
        let (place, mut session) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        self.gate.prepare();
        let judged = self.find_key(function, (place, call.session()), call.key()).and_then(|key| {
            let demands = rules::reveal(function, [&key]);
            let permitted = self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))?;
            Ok((key, permitted))
        });
        match judged {
            Ok((key, (permit, spending))) => {
                let rv = self.module.invoke(permit, call);
                if rv == CKR_OK {
                    spending.complete();
                    session.digests(Arc::clone(&key));
                }
                rv
            }
            Err(rv) => rv,
        }
    }
}
