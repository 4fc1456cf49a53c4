//! Uses of keys and of the token that no rule can permit yet: refused outright, so that nothing passes ungated.

use cryptoki_ffi::CK_RV;
use cryptoki_ffi::calls::{self, Call as _};

use super::Inline;
use crate::layer::Layer;

macro_rules! refuse_on_session {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                match self.session(call.session()) {
                    Ok(session) => {
                        self.deny(&self.gate.refuse_outright(Some(&session), calls::$call::FUNCTION))
                    }
                    Err(rv) => rv,
                }
            }
        }
    )*};
}

refuse_on_session!(
    C_DecryptDigestUpdate,
    C_DecryptVerifyUpdate,
    C_DeriveKey,
    C_DigestEncryptUpdate,
    C_DigestKey,
    C_GenerateKey,
    C_GenerateKeyPair,
    C_GetOperationState,
    C_InitPIN,
    C_SetOperationState,
    C_SetPIN,
    C_SignEncryptUpdate,
    C_UnwrapKey,
    C_WrapKey
);

impl Layer<calls::C_InitToken> for Inline {
    fn call(&self, call: calls::C_InitToken) -> CK_RV {
        if self.place.hides_slot(call.slot()) {
            return cryptoki_sys::CKR_SLOT_ID_INVALID;
        }
        self.deny(&self.gate.refuse_outright(None, calls::C_InitToken::FUNCTION))
    }
}
