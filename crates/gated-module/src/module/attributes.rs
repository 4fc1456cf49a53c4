//! Reading attributes: no secret material comes out without a grant.

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer, is_made_of_the_value, is_public_attribute};
use cryptoki_sys::CKR_ARGUMENTS_BAD;
use gate::{AttributeRequest, ObjectKind, rules};
use pkcs11_table::Function;

use super::GatedModule;
use super::trust_token;

impl Layer<calls::C_GetAttributeValue> for GatedModule {
    fn call(&self, call: calls::C_GetAttributeValue) -> CK_RV {
        let function = Function::C_GetAttributeValue;
        let (place, _held) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        if trust_token::is_one(call.object()) {
            return trust_token::attributes(&call);
        }
        call.pinned(|types, pinned| {
            let only_public_attributes = types.iter().all(|kind| is_public_attribute(*kind));
            let facts = match self.given_object((place, call.session()), call.object()) {
                Ok(facts) => facts,
                Err(rv) => return rv,
            };
            let is_secret_key = matches!(facts.kind, ObjectKind::PrivateKey | ObjectKind::SecretKey);
            let request = AttributeRequest {
                kind: facts.kind,
                only_public_attributes,
                sensitive: !only_public_attributes
                    && is_secret_key
                    && !types.iter().any(|kind| is_made_of_the_value(*kind))
                    && self.module.is_sensitive(call.session(), call.object()),
            };
            let judged = if rules::is_harmless(request) {
                self.gate.permit(Some(place), &rules::harmless(function)).map_err(|denial| self.deny(&denial))
            } else {
                self.gate.prepare();
                // Looked at anew: the attestation may have taken seconds.
                self.find(function, (place, call.session()), call.object()).and_then(|found| {
                    let demands = rules::reveal(function, [&found.subject]);
                    self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
                })
            };
            match judged {
                Ok((permit, spending)) => {
                    let rv = self.module.invoke(permit, pinned);
                    spending.complete();
                    rv
                }
                Err(rv) => rv,
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}
