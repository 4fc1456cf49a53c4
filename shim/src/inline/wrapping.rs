//! Keys out and in under other keys, and keys from keys.

use std::sync::Arc;

use cryptoki_ffi::calls::{self, Call};
use cryptoki_ffi::{CK_RV, MechanismView, Stated, TemplateView};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_KEY_HANDLE_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    CKR_WRAPPING_KEY_HANDLE_INVALID,
};
use gate::{Demands, Mechanism, NewObject, ObjectKind, Permit, Subject, rules};
use pkcs11_table::Function;

use super::creation::Caller;
use super::{Inline, delivered};
use crate::layer::Layer;

impl Layer<calls::C_WrapKey> for Inline {
    fn call(&self, call: calls::C_WrapKey) -> CK_RV {
        call.pinned(|mechanism, pinned| {
            let function = Function::C_WrapKey;
            let judged = self.session(call.session()).and_then(|place| {
                self.gate.prepare();
                let of = (place, call.session());
                let wrapping = self
                    .find_key(function, of, call.wrapping_key())
                    .map_err(|rv| no_key(rv, CKR_WRAPPING_KEY_HANDLE_INVALID))?;
                let key = self.find_key(function, of, call.key())?;
                let names = self.find_named(function, of, (mechanism.kind, &mechanism.names))?;
                let mechanism = Mechanism { kind: mechanism.kind, names: &names };
                let demands = rules::wrap(function, mechanism, &wrapping, &key);
                self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
            });
            match judged {
                Ok((permit, spending)) => {
                    let rv = self.module.invoke(permit, pinned);
                    if call.completes(rv) {
                        spending.complete();
                    }
                    rv
                }
                Err(rv) => rv,
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

/// The standard has answers of their own for handles of keys that wrap and unwrap (PKCS#11 2.40 section 5.13).
const fn no_key(rv: CK_RV, instead: CK_RV) -> CK_RV {
    if rv == CKR_KEY_HANDLE_INVALID { instead } else { rv }
}

/// A rule for a key that is made from another.
type Rule = fn(Function, Mechanism<'_>, &Arc<Subject>, &NewObject) -> Demands;

impl Inline {
    /// Makes a key from the key of the handle `parent` and those that the mechanism names.
    fn make_from<C: Call<Permit = Permit>>(
        &self,
        session: u64,
        mechanism: &MechanismView,
        template: &TemplateView,
        (parent, rule): (u64, Rule),
        forward: impl FnOnce(Permit) -> (CK_RV, Option<u64>),
    ) -> Result<u64, CK_RV> {
        let place = self.session(session)?;
        let caller = Caller { function: C::FUNCTION, place, session };
        self.gate.prepare();
        let of = (place, session);
        let parent = self.find_key(C::FUNCTION, of, parent).map_err(|rv| match C::FUNCTION {
            Function::C_UnwrapKey => no_key(rv, CKR_UNWRAPPING_KEY_HANDLE_INVALID),
            _ => rv,
        })?;
        let names = self.find_named(C::FUNCTION, of, (mechanism.kind, &mechanism.names))?;
        // Secret keys are what derivation makes (PKCS#11 2.40 section 5.13) where the template does not say otherwise.
        let kind = self.planned_kind(caller, template, ObjectKind::SecretKey)?;
        let planned = self.planned(caller, template, kind, None)?;
        let mechanism = Mechanism { kind: mechanism.kind, names: &names };
        let judge = |new: &NewObject| rule(C::FUNCTION, mechanism, &parent, new);
        let parents: Vec<_> = core::iter::once(&parent).chain(&names).map(Arc::clone).collect();
        self.make(caller, &parents, &planned, judge, forward)
    }
}

impl Layer<calls::C_UnwrapKey> for Inline {
    fn call(&self, call: calls::C_UnwrapKey) -> CK_RV {
        call.pinned(|mechanism, template, pinned| {
            if template.class == Stated::Absent {
                // What is inside the wrapping can be of any class (PKCS#11 2.40 section 5.13, `C_UnwrapKey`).
                return CKR_TEMPLATE_INCOMPLETE;
            }
            let from = (call.unwrapping_key(), rules::unwrap as Rule);
            let made =
                self.make_from::<calls::C_UnwrapKey>(call.session(), mechanism, template, from, |permit| {
                    pinned.with_own_place(|call| self.module.invoke(permit, call))
                });
            delivered(made, |key| call.deliver(key))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_DeriveKey> for Inline {
    fn call(&self, call: calls::C_DeriveKey) -> CK_RV {
        call.pinned(|mechanism, template, pinned| {
            let from = (call.base_key(), rules::derive as Rule);
            let made =
                self.make_from::<calls::C_DeriveKey>(call.session(), mechanism, template, from, |permit| {
                    pinned.with_own_place(|call| self.module.invoke(permit, call))
                });
            delivered(made, |key| call.deliver(key))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}
