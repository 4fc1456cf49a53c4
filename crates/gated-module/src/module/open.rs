//! Functions that use no key and need no look: forwarded untouched, the session being the application's own. They are part of
//! whoever calls them, so that a call has one frame of ours on the stack.

use core::hint::cold_path;

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, Layer};

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

macro_rules! forward_keyless {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            #[inline(always)]
            fn call(&self, call: calls::$call) -> CK_RV {
                // Of a session it needs nothing but that the real module has it: looked up, it takes a third longer.
                if let Some(permit) = self.gate.free(<calls::$call as Call>::FUNCTION)
                    && self.takes_calls_at_once()
                {
                    return self.module.invoke(permit, call);
                }
                cold_path();
                match self.look_up(call.session()) {
                    Ok((place, _held)) => self.forward_keyless(call, place),
                    Err(rv) => rv,
                }
            }
        }
    )*};
}

forward_keyless!(C_GenerateRandom, C_SeedRandom);
