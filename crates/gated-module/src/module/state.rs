//! Operation states: what they hold of keys comes out and goes in by grant.

use std::sync::Arc;

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::{CK_INVALID_HANDLE, CKR_OK};
use gate::{Subject, rules};
use pkcs11_table::Function;

use super::GatedModule;

impl Layer<calls::C_GetOperationState> for GatedModule {
    fn call(&self, call: calls::C_GetOperationState) -> CK_RV {
        let (place, session) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        // The state of a digest alone holds nothing of a key, unless a key's value went into it.
        let demands = rules::reveal(Function::C_GetOperationState, session.keys_in_state());
        match self.gate.permit(Some(place), &demands) {
            Ok((permit, spending)) => {
                let rv = self.module.invoke(permit, call);
                spending.complete();
                rv
            }
            Err(denial) => self.deny(&denial),
        }
    }
}

impl Layer<calls::C_SetOperationState> for GatedModule {
    fn call(&self, call: calls::C_SetOperationState) -> CK_RV {
        let function = Function::C_SetOperationState;
        let (place, mut session) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let key = |handle| match handle {
            CK_INVALID_HANDLE => Ok(None),
            handle => {
                self.gate.prepare();
                self.find_key(function, (place, call.session()), handle).map(Some)
            }
        };
        let keys =
            key(call.encryption_key()).and_then(|cipher| Ok((cipher, key(call.authentication_key())?)));
        let (cipher, authentication): (Option<Arc<Subject>>, _) = match keys {
            Ok(keys) => keys,
            Err(rv) => return rv,
        };
        let demands = rules::set_operation_state(function, cipher.as_ref(), authentication.as_ref());
        match self.gate.permit(Some(place), &demands) {
            Ok((permit, spending)) => {
                let rv = self.module.invoke(permit, call);
                if rv == CKR_OK {
                    spending.complete();
                    // What runs by now is what the state holds, which nobody has judged: it cannot be gone on with.
                    session.all_displaced();
                    cipher.into_iter().chain(authentication).for_each(|key| session.digests(key));
                }
                rv
            }
            Err(denial) => self.deny(&denial),
        }
    }
}
