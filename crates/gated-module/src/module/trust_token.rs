//! A trust token that the application hands in, in the form of a data object: taken in here and never forwarded.

use attestation::token::MAX_TOKEN;
use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Stated, TemplateView};
use cryptoki_sys::{
    CK_FALSE, CK_OBJECT_HANDLE, CKA_APPLICATION, CKA_CLASS, CKA_LABEL, CKA_PRIVATE, CKA_TOKEN, CKO_DATA,
};
use gate::{AttestationFailure, FailureKind, Refusal};

use super::GatedModule;
use super::creation::Caller;

/// `CKA_APPLICATION` and `CKA_LABEL` of the object.
const APPLICATION: &[u8] = b"trustshim";
const LABEL: &[u8] = b"trust-token";
/// The handle that the application gets for it: no module counts that far, and none gives out an address like it.
const HANDLE: CK_OBJECT_HANDLE = 0xffff_7472_7573_7401;

/// Whether a handle is that of a token that was handed in.
pub(super) const fn is_one(object: CK_OBJECT_HANDLE) -> bool {
    object == HANDLE
}

/// Answers for the object as the application described it, without its value.
pub(super) fn attributes(call: &calls::C_GetAttributeValue) -> CK_RV {
    let class = CKO_DATA.to_ne_bytes();
    call.answer(&[
        (CKA_APPLICATION, APPLICATION),
        (CKA_CLASS, &class),
        (CKA_LABEL, LABEL),
        (CKA_PRIVATE, &[CK_FALSE]),
        (CKA_TOKEN, &[CK_FALSE]),
    ])
}

impl GatedModule {
    /// `None` where the object is no trust token; the handle, once the token has been taken in.
    pub(super) fn hand_in(
        &self,
        caller: Caller<'_>,
        call: &calls::C_CreateObject,
        template: &TemplateView,
    ) -> Option<Result<CK_OBJECT_HANDLE, CK_RV>> {
        let is_it = template.class == Stated::Once(CKO_DATA)
            && template.application == Stated::Once(APPLICATION.to_vec())
            && template.label == Stated::Once(LABEL.to_vec());
        if !is_it {
            return None;
        }
        let jwt = call.value(MAX_TOKEN).and_then(|value| String::from_utf8(value).ok());
        let taken = match jwt {
            Some(jwt) => self.gate.hand_in(caller.place, caller.function, jwt.trim_end()),
            None => {
                let refusal = Refusal::HandedIn(AttestationFailure {
                    kind: FailureKind::Unavailable,
                    code: "not-compact".to_owned(),
                    detail: format!("CKA_VALUE is not a text of at most {MAX_TOKEN} bytes"),
                    decision: None,
                });
                Err(self.gate.refuse(Some(caller.place), caller.function, None, refusal))
            }
        };
        Some(taken.map(|()| HANDLE).map_err(|denial| self.deny(&denial)))
    }
}
