//! Slots: the one that holds the attestation key on a token of its own does not exist for the application.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::{CKF_ASYNC_SESSION_SUPPORTED, CKF_DONT_BLOCK, CKR_NO_EVENT, CKR_OK, CKR_SLOT_ID_INVALID};

use super::GatedModule;

impl Layer<calls::C_GetSlotList> for GatedModule {
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
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                if self.place.hides_slot(call.slot()) {
                    return CKR_SLOT_ID_INVALID;
                }
                self.forward_open(call)
            }
        }
    )*};
}

forward_on_slot!(C_GetMechanismInfo, C_GetMechanismList, C_GetSlotInfo);

impl Layer<calls::C_GetTokenInfo> for GatedModule {
    fn call(&self, call: calls::C_GetTokenInfo) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            // Here they are not: `C_OpenSession` refuses them.
            call.clear_flag(CKF_ASYNC_SESSION_SUPPORTED);
        }
        rv
    }
}

impl Layer<calls::C_WaitForSlotEvent> for GatedModule {
    fn call(&self, call: calls::C_WaitForSlotEvent) -> CK_RV {
        loop {
            match call.with_own_place(|call| self.forward_open(call)) {
                (CKR_OK, Some(slot)) if !self.place.hides_slot(slot) => {
                    call.deliver(slot);
                    return CKR_OK;
                }
                (CKR_OK, Some(_)) if call.flags() & CKF_DONT_BLOCK == 0 => {}
                (CKR_OK, _) => return CKR_NO_EVENT,
                (rv, _) => return rv,
            }
        }
    }
}
