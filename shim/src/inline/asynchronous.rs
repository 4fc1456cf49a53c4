//! Asynchronous operations (PKCS#11 3.2 section 5.21). No session of the application is asynchronous, so what these functions
//! could reach was begun elsewhere, under whatever judgement or none: it takes the right to reveal what the token holds.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls::{self, Call};
use cryptoki_sys::CKR_OK;
use gate::{Permit, rules};

use super::Inline;
use crate::layer::Layer;

impl Inline {
    fn reach<C: Call<Permit = Permit>>(&self, call: C, session: u64) -> CK_RV {
        let judged = self.session(session).and_then(|place| {
            let demands = rules::reveal(C::FUNCTION, [&self.token_subject(place)?]);
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
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                self.reach(call, call.session())
            }
        }
    )*};
}

reach!(C_AsyncComplete, C_AsyncGetID, C_AsyncJoin);
