//! Asynchronous operations (PKCS#11 3.2 section 5.21). No session of the application is asynchronous, so what these functions
//! could reach was begun elsewhere, under whatever judgement or none: it takes the right to reveal what the token holds.

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::CKR_OK;
use gate::{Permit, rules};

use super::GatedModule;

impl GatedModule {
    fn reach<C: Call<Permit = Permit>>(&self, call: C, session: u64) -> CK_RV {
        let (place, _held) = match self.hold(session) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let judged = self.token_subject(place).and_then(|token| {
            let demands = rules::reveal(C::FUNCTION, [&token]);
            self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
        });
        match judged {
            Ok((permit, spending)) => {
                let rv = self.module.invoke(permit, call);
                if rv == CKR_OK {
                    spending.complete();
                }
                rv
            }
            Err(rv) => rv,
        }
    }
}

macro_rules! reach {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.reach(call, call.session())
            }
        }
    )*};
}

reach!(C_AsyncComplete, C_AsyncGetID, C_AsyncJoin);
