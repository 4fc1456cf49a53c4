//! Operations that take message after message (PKCS#11 3.0): each message is a use of the key of its own.

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::{CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_OPERATION_NOT_INITIALIZED};
use gate::{Permit, Refusal};
use pkcs11_table::{Class, Form, message_parameter_is_unclear};

use super::GatedModule;

impl GatedModule {
    /// Goes on with a message, or begins one; `completes` says of a return value whether the message is complete.
    fn message<C: Call<Permit = Permit>>(
        &self,
        call: C,
        handle: u64,
        parameter_len: u64,
        completes: impl FnOnce(CK_RV) -> bool,
    ) -> CK_RV {
        let Class::Continue(used) = C::FUNCTION.class() else { return CKR_OPERATION_NOT_INITIALIZED };
        let (place, mut session) = match self.hold(handle) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        if let Some(running) = session.running(used, Form::Messages)
            && message_parameter_is_unclear(running.mechanism(), parameter_len)
        {
            let refusal = Refusal::MechanismUnclear(running.mechanism());
            let subject = running.subjects().next().cloned();
            let denial = self.gate.refuse(Some(place), C::FUNCTION, subject.as_ref(), refusal);
            self.end(&mut session, handle, used, Form::Messages);
            return self.deny(&denial);
        }
        match self.gate.resume((place, &mut session), C::FUNCTION) {
            None => CKR_OPERATION_NOT_INITIALIZED,
            Some(Ok(permit)) => {
                let rv = self.module.invoke(permit, call);
                if completes(rv) {
                    if let Some(running) = session.running_mut(used, Form::Messages) {
                        running.message_completed();
                    }
                } else if !matches!(rv, CKR_OK | CKR_BUFFER_TOO_SMALL) {
                    self.failed(&mut session, handle, used, Form::Messages, rv);
                }
                rv
            }
            Some(Err(denial)) => {
                self.end(&mut session, handle, used, Form::Messages);
                self.deny(&denial)
            }
        }
    }

    /// Ends the operation. What was reserved for a further message is given back.
    fn no_more_messages<C: Call<Permit = Permit>>(&self, call: C, handle: u64) -> CK_RV {
        let Class::Continue(used) = C::FUNCTION.class() else { return CKR_OPERATION_NOT_INITIALIZED };
        let (place, mut session) = match self.hold(handle) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        match self.gate.resume((place, &mut session), C::FUNCTION) {
            None => CKR_OPERATION_NOT_INITIALIZED,
            Some(Ok(permit)) => {
                let rv = self.module.invoke(permit, call);
                match rv {
                    CKR_OK => drop(session.ended(used, Form::Messages)),
                    // It says nothing of any message.
                    _ => {
                        self.failed(&mut session, handle, used, Form::Messages, CKR_OPERATION_NOT_INITIALIZED)
                    }
                }
                rv
            }
            Some(Err(denial)) => {
                self.end(&mut session, handle, used, Form::Messages);
                self.deny(&denial)
            }
        }
    }
}

macro_rules! message {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.message(call, call.session(), call.parameter_len(), |rv| call.completes(rv))
            }
        }
    )*};
}

message!(
    C_DecryptMessage,
    C_DecryptMessageBegin,
    C_DecryptMessageNext,
    C_EncryptMessage,
    C_EncryptMessageBegin,
    C_EncryptMessageNext,
    C_SignMessage,
    C_SignMessageBegin,
    C_SignMessageNext,
    C_VerifyMessage,
    C_VerifyMessageBegin,
    C_VerifyMessageNext
);

macro_rules! no_more_messages {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.no_more_messages(call, call.session())
            }
        }
    )*};
}

no_more_messages!(C_MessageDecryptFinal, C_MessageEncryptFinal, C_MessageSignFinal, C_MessageVerifyFinal);
