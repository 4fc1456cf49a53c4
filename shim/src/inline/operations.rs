//! Operations with a key: judged when they begin and again at every continuation.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::Cancelled;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_FUNCTION_CANCELED, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK,
    CKR_OPERATION_NOT_INITIALIZED,
};
use gate::Permit;
use pkcs11_table::Class;

use super::Inline;
use crate::layer::Layer;

impl Inline {
    fn begin<C: Call<Permit = Permit>>(&self, call: C, handle: u64, mechanism: u64, object: u64) -> CK_RV {
        let session = match self.session(handle) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        // Held until the real module has answered, so that no other thread's continuation slips in between.
        let mut running = session.running();
        self.gate.prepare(C::FUNCTION);
        let facts = match self.visible_object(handle, object) {
            Ok(facts) => facts,
            Err(CKR_OBJECT_HANDLE_INVALID) => return CKR_KEY_HANDLE_INVALID,
            Err(rv) => return rv,
        };
        let token = match self.token_of(&session) {
            Ok(token) => token,
            Err(rv) => return rv,
        };
        let Some(key) = facts.key(&token) else {
            return CKR_KEY_HANDLE_INVALID;
        };
        match self.gate.begin(&session, C::FUNCTION, mechanism, key) {
            Ok(begun) => {
                let rv = self.module.invoke(begun.permit, call);
                if rv == CKR_OK {
                    running.insert(begun.running.used(), begun.running);
                }
                rv
            }
            Err(denial) => self.deny(&denial),
        }
    }

    /// `completes` says of a return value whether it ended the operation.
    fn resume<C: Call<Permit = Permit>>(
        &self,
        call: C,
        handle: u64,
        completes: impl FnOnce(CK_RV) -> bool,
    ) -> CK_RV {
        let session = match self.session(handle) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        let Class::Continue(used) = C::FUNCTION.class() else {
            return CKR_FUNCTION_CANCELED;
        };
        let mut running = session.running();
        let Some(operation) = running.get(&used) else {
            return CKR_OPERATION_NOT_INITIALIZED;
        };
        match self.gate.resume(&session, C::FUNCTION, operation) {
            None => CKR_OPERATION_NOT_INITIALIZED,
            Some(Ok(permit)) => {
                let rv = self.module.invoke(permit, call);
                // An error may or may not have ended it. What stays noted here without need is harmless: the real
                // module knows of no operation then, and a new one takes its place.
                if completes(rv) {
                    running.remove(&used);
                }
                rv
            }
            Some(Err(denial)) => {
                if self.module.cancel(handle, operation) == Cancelled::Yes {
                    running.remove(&used);
                }
                self.deny(&denial)
            }
        }
    }
}

macro_rules! begin {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                // Without a mechanism there is nothing to judge or to begin.
                call.pinned(|mechanism, call| self.begin(call, call.session(), mechanism, call.key()))
                    .unwrap_or(CKR_ARGUMENTS_BAD)
            }
        }
    )*};
}

begin!(C_DecryptInit, C_EncryptInit, C_SignInit, C_SignRecoverInit, C_VerifyInit, C_VerifyRecoverInit);

macro_rules! resume {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.resume(call, call.session(), |rv| call.completes(rv))
            }
        }
    )*};
}

resume!(
    C_Decrypt,
    C_DecryptFinal,
    C_DecryptUpdate,
    C_Encrypt,
    C_EncryptFinal,
    C_EncryptUpdate,
    C_Sign,
    C_SignFinal,
    C_SignRecover,
    C_SignUpdate,
    C_Verify,
    C_VerifyFinal,
    C_VerifyRecover,
    C_VerifyUpdate
);
