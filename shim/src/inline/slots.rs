//! Slots: the one that holds the attestation key on a token of its own does not exist for the application.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls;
use cryptoki_sys::{CKF_DONT_BLOCK, CKR_NO_EVENT, CKR_OK, CKR_SLOT_ID_INVALID};

use super::Inline;
use crate::layer::Layer;

impl Layer<calls::C_GetSlotList> for Inline {
    fn call(&self, call: calls::C_GetSlotList) -> CK_RV {
        // The real module makes its list anew whenever the size is asked for (PKCS#11 2.40 section 5.5).
        match self.module.slots(call.token_present() != 0) {
            Ok(mut slots) => {
                slots.retain(|slot| !self.place.hides_slot(*slot));
                call.answer(&slots)
            }
            Err(rv) => rv,
        }
    }
}

macro_rules! forward_on_slot {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                if self.place.hides_slot(call.slot()) {
                    return CKR_SLOT_ID_INVALID;
                }
                self.forward_open(call)
            }
        }
    )*};
}

forward_on_slot!(C_GetMechanismInfo, C_GetMechanismList, C_GetSlotInfo, C_GetTokenInfo);

impl Layer<calls::C_WaitForSlotEvent> for Inline {
    fn call(&self, call: calls::C_WaitForSlotEvent) -> CK_RV {
        loop {
            let rv = self.forward_open(call);
            let hidden = rv == CKR_OK && call.event_slot().is_some_and(|slot| self.place.hides_slot(slot));
            match (hidden, call.flags() & CKF_DONT_BLOCK != 0) {
                (false, _) => return rv,
                (true, true) => return CKR_NO_EVENT,
                (true, false) => {}
            }
        }
    }
}
