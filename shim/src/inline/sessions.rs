//! Sessions: the gate knows those that the application opened, and no other can be used.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls;
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_OK, CKR_SLOT_ID_INVALID};

use super::Inline;
use crate::layer::Layer;

impl Layer<calls::C_OpenSession> for Inline {
    fn call(&self, call: calls::C_OpenSession) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        match call.pinned(|call| self.forward_open(call)) {
            (CKR_OK, Some(handle)) => {
                self.sessions.opened(handle, call.slot());
                call.deliver(handle);
                CKR_OK
            }
            (CKR_OK, None) => CKR_GENERAL_ERROR,
            (rv, _) => rv,
        }
    }
}

impl Layer<calls::C_CloseSession> for Inline {
    fn call(&self, call: calls::C_CloseSession) -> CK_RV {
        if let Err(rv) = self.session(call.session()) {
            return rv;
        }
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            self.sessions.closed(call.session());
        }
        rv
    }
}

impl Layer<calls::C_CloseAllSessions> for Inline {
    fn call(&self, call: calls::C_CloseAllSessions) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            self.sessions.all_closed(call.slot());
        }
        rv
    }
}

impl Layer<calls::C_GetSessionInfo> for Inline {
    fn call(&self, call: calls::C_GetSessionInfo) -> CK_RV {
        let session = match self.session(call.session()) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        let rv = self.forward_open(call);
        if rv == CKR_OK && session.last_denial() != 0 {
            call.set_device_error(session.last_denial());
        }
        rv
    }
}

impl Layer<calls::C_Login> for Inline {
    fn call(&self, call: calls::C_Login) -> CK_RV {
        let session = match self.session(call.session()) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        match self.gate.login(&session, call.user()) {
            Ok(permit) => self.module.invoke(permit, call),
            Err(denial) => self.deny(&denial),
        }
    }
}
