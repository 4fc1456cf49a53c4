//! Operations with a key: judged when they begin and again at every continuation.

use attestation::key_uri::ObjectClass;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Cancelled, Layer, MechanismView, ParameterNames};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_OPERATION_CANCEL_FAILED,
    CKR_OPERATION_NOT_INITIALIZED, CKR_USER_NOT_LOGGED_IN,
};
use gate::{Begun, Mechanism, Permit, Session};
use pkcs11_table::{Class, Form, Function, Use};

use super::GatedModule;

impl GatedModule {
    fn begin<C: Call<Permit = Permit>>(
        &self,
        call: C,
        handle: u64,
        mechanism: &MechanismView,
        object: u64,
    ) -> CK_RV {
        // Held until the real module has answered, so that no other thread's continuation slips in between.
        let (place, mut session) = match self.hold(handle) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let names_nothing = matches!(&mechanism.names, ParameterNames::Objects(names) if names.is_empty());
        if names_nothing
            && let Some(begun) = self.gate.begin_again(&mut session, C::FUNCTION, mechanism.kind, object)
        {
            return self.forward_begun(call, &mut session, begun);
        }
        loop {
            let looked =
                self.recall_key(C::FUNCTION, (place, handle, &mut session), object).and_then(|key| {
                    // A public key needs no trust token for what is done with public keys. For any other, one is obtained before
                    // the key is looked at for good: an attestation takes seconds, in which the handle could come to mean
                    // another key.
                    let key = if key.1.is(ObjectClass::Public) {
                        key
                    } else {
                        self.gate.prepare();
                        self.recall_key(C::FUNCTION, (place, handle, &mut session), object)?
                    };
                    let names = (mechanism.kind, &mechanism.names);
                    Ok((key, self.find_named(C::FUNCTION, (place, handle), names)?))
                });
            let ((look, key), names) = match looked {
                Ok(looked) => looked,
                Err(rv) => return rv,
            };
            let mechanism = Mechanism { kind: mechanism.kind, names: &names };
            match self.gate.begin((place, &mut session), C::FUNCTION, mechanism, object, (look, &key)) {
                Ok(begun) if self.gate.is_recent(look) => {
                    return self.forward_begun(call, &mut session, begun);
                }
                // The look has grown old, by an attestation perhaps that came between after all: then it is taken again.
                Ok(begun) => drop(begun),
                Err(denial) => return self.deny(&denial),
            }
        }
    }

    fn forward_begun<C: Call<Permit = Permit>>(&self, call: C, session: &mut Session, begun: Begun) -> CK_RV {
        let rv = self.module.invoke(begun.permit, call);
        if rv == CKR_OK {
            session.begun(begun.running);
        }
        rv
    }

    /// `completes` says of a return value whether it ended the operation.
    fn resume<C: Call<Permit = Permit>>(
        &self,
        call: C,
        handle: u64,
        completes: impl FnOnce(CK_RV) -> bool,
    ) -> CK_RV {
        let (place, mut session) = match self.hold(handle) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        match self.gate.resume((place, &mut session), C::FUNCTION) {
            None => CKR_OPERATION_NOT_INITIALIZED,
            Some(Ok(permit)) => {
                let rv = self.module.invoke(permit, call);
                if let Class::Continue(used) = C::FUNCTION.class() {
                    if completes(rv) {
                        if let Some(running) = session.ended(used, C::FUNCTION.form()) {
                            running.complete();
                        }
                    } else if !matches!(rv, CKR_OK | CKR_BUFFER_TOO_SMALL) {
                        self.failed(&mut session, handle, used, C::FUNCTION.form(), rv);
                    }
                }
                rv
            }
            Some(Err(denial)) => {
                for used in uses(C::FUNCTION.class()) {
                    self.end(&mut session, handle, used, C::FUNCTION.form());
                }
                self.deny(&denial)
            }
        }
    }

    /// An error may or may not have ended the operation. What stays noted here without need is harmless, since a new one
    /// takes its place, unless it takes up room in a rate that the new one needs.
    pub(super) fn failed(&self, session: &mut Session, handle: u64, used: Use, form: Form, rv: CK_RV) {
        if let Some(running) = session.running_mut(used, form).filter(|_| is_of_the_work(rv)) {
            running.failed();
        }
        if let Some(running) = session.running(used, form)
            && running.is_limited()
            && !self.module.holds(handle, running)
        {
            drop(session.ended(used, form));
        }
    }

    /// Ends an operation that may not go on, in the real module and here.
    pub(super) fn end(&self, session: &mut Session, handle: u64, used: Use, form: Form) {
        if let Some(running) = session.running(used, form)
            && self.module.cancel(handle, running) == Cancelled::Yes
        {
            drop(session.ended(used, form));
        }
    }

    /// An init without a mechanism begins nothing. From 3.0 on it ends what runs (PKCS#11 3.2 section 5.8,
    /// `C_EncryptInit`).
    fn begin_nothing(&self, function: Function, handle: u64) -> CK_RV {
        let Class::Begin(used) = function.class() else { return CKR_ARGUMENTS_BAD };
        if !self.module.is_of_3() {
            return CKR_ARGUMENTS_BAD;
        }
        let (_, mut session) = match self.hold(handle) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        if session.running(used, function.form()).is_none() {
            return CKR_OPERATION_NOT_INITIALIZED;
        }
        self.end(&mut session, handle, used, function.form());
        match session.running(used, function.form()) {
            None => CKR_OK,
            Some(_) => CKR_OPERATION_CANCEL_FAILED,
        }
    }
}

/// Whether an error tells something of what was handed in, as that it cannot be unwrapped: then the try counts.
pub(super) fn tells_of_its_input(function: Function, rv: CK_RV) -> bool {
    matches!(function.class(), Class::Use(Use::Unwrap | Use::Decapsulate)) && is_of_the_work(rv)
}

/// Whether the real module may have done its work before it failed.
const fn is_of_the_work(rv: CK_RV) -> bool {
    !matches!(rv, CKR_BUFFER_TOO_SMALL | CKR_OPERATION_NOT_INITIALIZED | CKR_USER_NOT_LOGGED_IN)
}

/// The operations that a continuation goes on with.
fn uses(class: Class) -> impl Iterator<Item = Use> {
    let (first, second) = match class {
        Class::Continue(used) => (Some(used), None),
        Class::Dual(first, second) => (Some(first), Some(second)),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

macro_rules! begin {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                call.pinned(|mechanism, call| self.begin(call, call.session(), mechanism, call.key()))
                    .unwrap_or_else(|| self.begin_nothing(Function::$call, call.session()))
            }
        }
    )*};
}

begin!(
    C_DecryptInit,
    C_EncryptInit,
    C_MessageDecryptInit,
    C_MessageEncryptInit,
    C_MessageSignInit,
    C_MessageVerifyInit,
    C_SignInit,
    C_SignRecoverInit,
    C_VerifyInit,
    C_VerifyRecoverInit,
    C_VerifySignatureInit
);

macro_rules! resume {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.resume(call, call.session(), |rv| call.completes(rv))
            }
        }
    )*};
}

resume!(
    C_Decrypt,
    C_DecryptDigestUpdate,
    C_DecryptFinal,
    C_DecryptUpdate,
    C_DecryptVerifyUpdate,
    C_DigestEncryptUpdate,
    C_Encrypt,
    C_EncryptFinal,
    C_EncryptUpdate,
    C_Sign,
    C_SignEncryptUpdate,
    C_SignFinal,
    C_SignRecover,
    C_SignUpdate,
    C_Verify,
    C_VerifyFinal,
    C_VerifyRecover,
    C_VerifySignature,
    C_VerifySignatureFinal,
    C_VerifySignatureUpdate,
    C_VerifyUpdate
);
