//! Administering the token: initialisation, PINs, and logging in.

use std::sync::Arc;

use attestation::key_uri::TokenIdentity;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::{
    CK_USER_TYPE, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK, CKR_PIN_INCORRECT, CKR_SLOT_ID_INVALID,
    CKU_CONTEXT_SPECIFIC, CKU_USER,
};
use gate::{Ends, Named, Permit, Place, Subject, rules};
use pkcs11_table::Function;

use super::{GatedModule, Logins};
use crate::pin_file::Pins;

impl GatedModule {
    /// The token of a session as something that grants name.
    pub(super) fn token_subject(&self, place: &Place) -> Result<Arc<Subject>, CK_RV> {
        self.token(place.slot()).map(subject)
    }

    fn judge_login(
        &self,
        place: &Place,
        function: Function,
        user: CK_USER_TYPE,
        token: &Arc<Subject>,
    ) -> Result<(Permit, Whose<'_>), CK_RV> {
        let is_users = matches!(user, CKU_USER | CKU_CONTEXT_SPECIFIC);
        let judged = match &self.logins {
            Logins::Attested if is_users => {
                self.gate.login_by_token(place, function, token).map(|(permit, _)| (permit, Whose::Callers))
            }
            Logins::With(pins) if is_users => {
                self.gate.login_by_token(place, function, token).map(|(permit, component)| match user {
                    CKU_USER => (permit, Whose::Guards(pins, component)),
                    // For one operation with a key that asks for it: that is the application's to know.
                    _ => (permit, Whose::Callers),
                })
            }
            _ => self.gate.login(place, function, user, token).map(|permit| (permit, Whose::Callers)),
        };
        judged.map_err(|denial| self.deny(&denial))
    }

    fn administer<C: Call<Permit = Permit>>(&self, call: C, session: u64) -> CK_RV {
        let (place, _held) = match self.hold(session) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let judged = self.token_subject(place).and_then(|token| {
            let demands = rules::administer(C::FUNCTION, &token);
            self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
        });
        match judged {
            Ok((permit, spending)) => {
                let rv = self.module.invoke(permit, call);
                if rv == CKR_OK {
                    self.administered();
                    spending.complete();
                }
                rv
            }
            Err(rv) => rv,
        }
    }
}

/// Whose PIN a login is with.
enum Whose<'a> {
    Callers,
    /// For this component.
    Guards(&'a Pins, String),
}

fn subject(token: TokenIdentity) -> Arc<Subject> {
    Arc::new(Subject::of(Named::Token(token)))
}

impl Layer<calls::C_InitPIN> for GatedModule {
    fn call(&self, call: calls::C_InitPIN) -> CK_RV {
        self.administer(call, call.session())
    }
}

impl Layer<calls::C_SetPIN> for GatedModule {
    fn call(&self, call: calls::C_SetPIN) -> CK_RV {
        self.administer(call, call.session())
    }
}

impl Layer<calls::C_InitToken> for GatedModule {
    fn call(&self, call: calls::C_InitToken) -> CK_RV {
        if self.place.bars_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        call.pinned(|label, pinned| {
            let function = Function::C_InitToken;
            let judged = self.token(call.slot()).and_then(|before| {
                let after = subject(TokenIdentity { label, ..before.clone() });
                let demands = rules::initialise(function, &subject(before), &after);
                self.gate.permit(None, &demands).map_err(|denial| self.deny(&denial))
            });
            match judged {
                Ok((permit, spending)) => {
                    let withdrawn = self.gate.withdraw(Ends::Slot(call.slot()));
                    let rv = self.module.invoke(permit, pinned);
                    self.gate.objects_changed();
                    if rv == CKR_OK {
                        self.administered();
                        spending.complete();
                    } else {
                        self.gate.put_back(withdrawn);
                    }
                    rv
                }
                Err(rv) => rv,
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

macro_rules! login {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                let (place, _held) = match self.hold(call.session()) {
                    Ok(held) => held,
                    Err(rv) => return rv,
                };
                let judged = self
                    .token_subject(place)
                    .and_then(|token| self.judge_login(place, Function::$call, call.user(), &token));
                match judged {
                    Ok((permit, Whose::Callers)) => self.module.invoke(permit, call),
                    Ok((permit, Whose::Guards(pins, component))) => {
                        match pins.for_component(&component, |pin| call.has_pin(pin)) {
                            Ok(Some(pin)) => call.with_pin(&pin, |call| self.module.invoke(permit, call)),
                            Ok(None) => CKR_PIN_INCORRECT,
                            Err(_) => CKR_GENERAL_ERROR,
                        }
                    }
                    Err(rv) => rv,
                }
            }
        }
    )*};
}

login!(C_Login, C_LoginUser);

impl Layer<calls::C_Logout> for GatedModule {
    fn call(&self, call: calls::C_Logout) -> CK_RV {
        let (place, _held) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let withdrawn = self.gate.withdraw(Ends::Private { slot: place.slot() });
        let rv = self.forward_open(call);
        self.gate.objects_changed();
        if rv != CKR_OK {
            self.gate.put_back(withdrawn);
        }
        rv
    }
}
