//! Sessions: the gate knows those that the application opened, and no other can be used.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer};
use cryptoki_sys::{
    CKF_ASYNC_SESSION, CKR_GENERAL_ERROR, CKR_OK, CKR_SESSION_ASYNC_NOT_SUPPORTED, CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID, CKR_SLOT_ID_INVALID,
};
use gate::{Ends, Held};

use super::GatedModule;

impl Layer<calls::C_OpenSession> for GatedModule {
    fn call(&self, call: calls::C_OpenSession) -> CK_RV {
        if self.place.bars_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        // What goes on there after a call has returned, nobody could judge. Before 3.x the flag means nothing.
        if self.module.is_of_3() && call.flags() & CKF_ASYNC_SESSION != 0 {
            return CKR_SESSION_ASYNC_NOT_SUPPORTED;
        }
        if self.most_sessions != usize::MAX && self.sessions.count() >= self.most_sessions {
            return CKR_SESSION_COUNT;
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

impl Layer<calls::C_CloseSession> for GatedModule {
    fn call(&self, call: calls::C_CloseSession) -> CK_RV {
        match self.hold(call.session()) {
            Ok(held) => self.close(held, call.session(), || self.forward_open(call)),
            Err(rv) => rv,
        }
    }
}

impl Layer<calls::C_CloseAllSessions> for GatedModule {
    fn call(&self, call: calls::C_CloseAllSessions) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return CKR_SLOT_ID_INVALID;
        }
        let at_once = self.place.while_at_rest(|| {
            let sessions = self.sessions.try_hold_all(call.slot())?;
            let withdrawn = self.gate.withdraw(Ends::Slot(call.slot()));
            let rv = self.forward_open(call);
            self.gate.objects_changed();
            if rv == CKR_OK {
                sessions.into_iter().for_each(|(place, mut session)| place.close(&mut session));
            } else {
                self.gate.put_back(withdrawn);
            }
            Some(rv)
        });
        at_once.flatten().unwrap_or_else(|| self.close_each(call.slot()))
    }
}

impl GatedModule {
    /// Closes one session, which is held until it is forgotten: by then some modules have given its handle to another.
    fn close(&self, (place, mut session): Held<'_>, handle: u64, forward: impl FnOnce() -> CK_RV) -> CK_RV {
        let withdrawn = self.gate.withdraw(Ends::Session(handle));
        let rv = forward();
        if !withdrawn.is_empty() {
            self.gate.objects_changed();
        }
        // The real module ends sessions by itself where a token is removed.
        if matches!(rv, CKR_OK | CKR_SESSION_HANDLE_INVALID) {
            place.close(&mut session);
        } else {
            self.gate.put_back(withdrawn);
        }
        rv
    }

    /// Closes the sessions that the application has on a slot, and not the attester's: those first that no call is under way
    /// on, then, as their calls end, the others.
    fn close_each(&self, slot: u64) -> CK_RV {
        if let Err(rv) = self.token(slot) {
            return rv;
        }
        let mut result = CKR_OK;
        let mut close = |handle, held| match self.close(held, handle, || self.module.close(handle)) {
            CKR_OK | CKR_SESSION_HANDLE_INVALID => {}
            rv => result = rv,
        };
        let all = self.sessions.on_slot(slot);
        for handle in &all {
            if let Some(held) = self.sessions.try_hold(*handle) {
                close(*handle, held);
            }
        }
        for handle in all {
            if let Some(held) = self.sessions.hold(handle) {
                close(handle, held);
            }
        }
        if result == CKR_OK {
            drop(self.gate.withdraw(Ends::Slot(slot)));
        }
        self.gate.objects_changed();
        result
    }
}

impl Layer<calls::C_GetSessionInfo> for GatedModule {
    #[inline(always)]
    fn call(&self, call: calls::C_GetSessionInfo) -> CK_RV {
        let (place, _held) = match self.look_up(call.session()) {
            Ok(found) => found,
            Err(rv) => return rv,
        };
        let rv = self.forward_open(call);
        if rv == CKR_OK && place.last_denial() != 0 {
            call.set_device_error(place.last_denial());
        }
        rv
    }
}
