//! Objects: searches and attributes without the attestation key, and no secret material out.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, ObjectFacts, is_public_attribute};
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CKO_CERTIFICATE, CKO_DATA, CKR_ARGUMENTS_BAD, CKR_OBJECT_HANDLE_INVALID, CKR_OK,
};
use gate::{AttributeRequest, ObjectKind, judge_attributes, judge_object};
use pkcs11_table::Function;

use super::Inline;
use crate::layer::Layer;

impl Inline {
    /// What the object is; the attestation key is no object at all.
    pub(super) fn visible_object(&self, handle: u64, object: CK_OBJECT_HANDLE) -> Result<ObjectFacts, CK_RV> {
        let facts = self.module.object(handle, object)?;
        if self.place.is_attestation_key(&facts) {
            return Err(CKR_OBJECT_HANDLE_INVALID);
        }
        Ok(facts)
    }

    fn judge_change(
        &self,
        function: Function,
        handle: u64,
        object: CK_OBJECT_HANDLE,
    ) -> Result<gate::Permit, CK_RV> {
        let session = self.session(handle)?;
        let facts = self.visible_object(handle, object)?;
        judge_object(function, facts.kind).map_err(|refusal| {
            let key = self.token_of(&session).ok().and_then(|token| facts.key(&token));
            self.deny(&self.gate.refuse(Some(&session), function, key.as_ref(), refusal))
        })
    }
}

impl Layer<calls::C_FindObjects> for Inline {
    fn call(&self, call: calls::C_FindObjects) -> CK_RV {
        if let Err(rv) = self.session(call.session()) {
            return rv;
        }
        let rv = self.forward_open(call);
        if rv == CKR_OK {
            call.retain(|object| {
                matches!(self.visible_object(call.session(), object), Err(CKR_OBJECT_HANDLE_INVALID))
            });
        }
        rv
    }
}

impl Layer<calls::C_GetObjectSize> for Inline {
    fn call(&self, call: calls::C_GetObjectSize) -> CK_RV {
        let visible =
            self.session(call.session()).and_then(|_| self.visible_object(call.session(), call.object()));
        match visible {
            Ok(_) => self.forward_open(call),
            Err(rv) => rv,
        }
    }
}

impl Layer<calls::C_GetAttributeValue> for Inline {
    fn call(&self, call: calls::C_GetAttributeValue) -> CK_RV {
        let session = match self.session(call.session()) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        let facts = match self.visible_object(call.session(), call.object()) {
            Ok(facts) => facts,
            Err(rv) => return rv,
        };
        call.pinned(|types, call| {
            let request = AttributeRequest {
                kind: facts.kind,
                only_public_attributes: types.iter().all(|kind| is_public_attribute(*kind)),
                sensitive: facts.sensitive,
            };
            match judge_attributes(request) {
                Ok(permit) => self.module.invoke(permit, call),
                Err(refusal) => {
                    let key = self.token_of(&session).ok().and_then(|token| facts.key(&token));
                    let function = Function::C_GetAttributeValue;
                    self.deny(&self.gate.refuse(Some(&session), function, key.as_ref(), refusal))
                }
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_CreateObject> for Inline {
    fn call(&self, call: calls::C_CreateObject) -> CK_RV {
        let session = match self.session(call.session()) {
            Ok(session) => session,
            Err(rv) => return rv,
        };
        call.pinned(|class, call| {
            let kind = match class {
                Some(CKO_CERTIFICATE) => ObjectKind::Certificate,
                Some(CKO_DATA) => ObjectKind::PrivateData,
                _ => ObjectKind::Unknown,
            };
            match judge_object(Function::C_CreateObject, kind) {
                Ok(permit) => self.module.invoke(permit, call),
                Err(refusal) => {
                    self.deny(&self.gate.refuse(Some(&session), Function::C_CreateObject, None, refusal))
                }
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

macro_rules! change {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for Inline {
            fn call(&self, call: calls::$call) -> CK_RV {
                match self.judge_change(Function::$call, call.session(), call.object()) {
                    Ok(permit) => self.module.invoke(permit, call),
                    Err(rv) => rv,
                }
            }
        }
    )*};
}

change!(C_CopyObject, C_DestroyObject, C_SetAttributeValue);
