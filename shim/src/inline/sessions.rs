//! Sessions: the gate knows those that the application opened, and no other can be used.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls;
use cryptoki_sys::{
    CKF_ASYNC_SESSION, CKR_GENERAL_ERROR, CKR_OK, CKR_SESSION_ASYNC_NOT_SUPPORTED, CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID, CKR_SLOT_ID_INVALID,
};

use super::Inline;
use crate::layer::Layer;

impl Layer<calls::C_OpenSession> for Inline {
    fn call(&self, call: calls::C_OpenSession) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        // What goes on there after a call has returned, nobody could judge. Before 3.x the flag means nothing.
        if self.module.is_of_3() && call.flags() & CKF_ASYNC_SESSION != 0 {
            return CKR_SESSION_ASYNC_NOT_SUPPORTED;
        }
        let _at_work = self.place.at_work();
        match call.with_own_place(|call| self.forward_open(call)) {
            (CKR_OK, Some(handle)) => {
                if !self.sessions.opened(handle, call.slot()) {
                    // Never delivered: nobody can use it, and it ends with the others.
                    return CKR_SESSION_COUNT;
                }
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
            if self.gate.provenance().session_closed(call.session()) {
                self.gate.objects_changed();
            }
        }
        rv
    }
}

impl Layer<calls::C_CloseAllSessions> for Inline {
    fn call(&self, call: calls::C_CloseAllSessions) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        let Some(rv) = self.place.while_at_rest(|| self.forward_open(call)) else {
            return self.close_each(call.slot());
        };
        if rv == CKR_OK {
            self.sessions.all_closed(call.slot());
            self.gate.provenance().slot_closed(call.slot());
            self.gate.handles().slot_closed(call.slot());
            self.gate.objects_changed();
        }
        rv
    }
}

impl Inline {
    /// Closes the sessions that the application has on a slot, and not the attester's.
    fn close_each(&self, slot: u64) -> CK_RV {
        if let Err(rv) = self.token(slot) {
            return rv;
        }
        let mut result = CKR_OK;
        for session in self.sessions.on_slot(slot) {
            match self.module.close(session) {
                CKR_OK | CKR_SESSION_HANDLE_INVALID => {
                    self.sessions.closed(session);
                    self.gate.provenance().session_closed(session);
                }
                rv => result = rv,
            }
        }
        self.gate.handles().slot_closed(slot);
        self.gate.objects_changed();
        result
    }
}

impl Layer<calls::C_GetSessionInfo> for Inline {
    fn call(&self, call: calls::C_GetSessionInfo) -> CK_RV {
        let place = match self.session(call.session()) {
            Ok(place) => place,
            Err(rv) => return rv,
        };
        let rv = self.forward_open(call);
        if rv == CKR_OK && place.last_denial() != 0 {
            call.set_device_error(place.last_denial());
        }
        rv
    }
}
