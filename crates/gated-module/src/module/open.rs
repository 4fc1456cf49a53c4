//! Functions that use no key and need no look: forwarded untouched, the session being the application's own. They are part of
//! whoever calls them, so that a call has one frame of ours on the stack.

use core::hint::cold_path;

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Layer};
use gate::Open;

use super::GatedModule;

macro_rules! forward {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            #[inline(always)]
            fn call(&self, call: calls::$call) -> CK_RV {
                self.forward_open(call)
            }
        }
    )*};
}

forward!(C_GetInfo);

macro_rules! forward_on_session {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            #[inline(always)]
            fn call(&self, call: calls::$call) -> CK_RV {
                match self.hold(call.session()) {
                    Ok(_held) => self.forward_open(call),
                    Err(rv) => rv,
                }
            }
        }
    )*};
}

forward_on_session!(
    C_CancelFunction,
    C_Digest,
    C_DigestFinal,
    C_DigestUpdate,
    C_FindObjectsFinal,
    C_GetFunctionStatus,
    C_GetSessionValidationFlags
);

impl Layer<calls::C_SeedRandom> for GatedModule {
    fn call(&self, call: calls::C_SeedRandom) -> CK_RV {
        self.forward_looked_up(call, call.session())
    }
}

impl Layer<calls::C_GenerateRandom> for GatedModule {
    #[inline(always)]
    fn call(&self, call: calls::C_GenerateRandom) -> CK_RV {
        // Of a session it needs nothing but that the real module has it: looked up, it takes a third longer.
        match self.gate.free(calls::C_GenerateRandom::FUNCTION) {
            Some(permit) if self.takes_calls_at_once() => self.module.invoke(permit, call),
            _ => {
                cold_path();
                self.forward_looked_up(call, call.session())
            }
        }
    }
}

impl GatedModule {
    /// Forwards a call that uses no key, on a session of the application's.
    fn forward_looked_up<C: Call<Permit = Open>>(&self, call: C, session: u64) -> CK_RV {
        match self.look_up(session) {
            Ok((place, _held)) => self.forward_keyless(call, place),
            Err(rv) => rv,
        }
    }
}
