//! Keys out and in under other keys, and keys from keys.

use std::sync::Arc;

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer, MechanismView, Stated, TemplateView};
use cryptoki_sys::{
    CKR_ARGUMENTS_BAD, CKR_KEY_HANDLE_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    CKR_WRAPPING_KEY_HANDLE_INVALID,
};
use gate::{Demands, Mechanism, NewObject, ObjectKind, Permit, Place, Session, Spending, Subject, rules};
use locks::MutexGuard;
use pkcs11_table::Function;

use super::creation::Caller;
use super::{GatedModule, delivered};

macro_rules! wrap {
    ($($call:ident),*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                call.pinned(&self.flat, |mechanism, pinned| {
                    let (place, _held) = match self.hold(call.session()) {
                        Ok(held) => held,
                        Err(rv) => return rv,
                    };
                    let keys = (call.wrapping_key(), call.key());
                    match self.judge_wrapping(Function::$call, (place, call.session()), mechanism, keys) {
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
    )*};
}

wrap!(C_WrapKey, C_WrapKeyAuthenticated);

/// A rule for a key that is made from another.
pub(super) type Rule = fn(Function, Mechanism<'_>, &Arc<Subject>, &NewObject) -> Demands;

/// What a key is about to be made from.
pub(super) struct Origin<'a> {
    pub(super) caller: Caller<'a>,
    /// The caller's session, until the key is made.
    _held: MutexGuard<'a, Session>,
    rule: Rule,
    mechanism: u64,
    parent: Arc<Subject>,
    /// The keys that the mechanism's parameter names.
    names: Vec<Arc<Subject>>,
    /// The key, as the template has it.
    pub(super) planned: NewObject,
}

impl Origin<'_> {
    /// What has to be granted for a key that comes out so.
    pub(super) fn demands(&self, new: &NewObject) -> Demands {
        let mechanism = Mechanism { kind: self.mechanism, names: &self.names };
        (self.rule)(self.caller.function, mechanism, &self.parent, new)
    }

    fn parents(&self) -> Vec<Arc<Subject>> {
        core::iter::once(&self.parent).chain(&self.names).map(Arc::clone).collect()
    }
}

/// The standard has answers of their own for handles of keys that wrap and unwrap (PKCS#11 2.40 section 5.13).
const fn no_key(rv: CK_RV, instead: CK_RV) -> CK_RV {
    if rv == CKR_KEY_HANDLE_INVALID { instead } else { rv }
}

impl GatedModule {
    fn judge_wrapping(
        &self,
        function: Function,
        of: (&Place, u64),
        mechanism: &MechanismView,
        (wrapping, key): (u64, u64),
    ) -> Result<(Permit, Spending), CK_RV> {
        self.gate.prepare();
        let wrapping = self
            .find_key(function, of, wrapping)
            .map_err(|rv| no_key(rv, CKR_WRAPPING_KEY_HANDLE_INVALID))?;
        let key = self.find_key(function, of, key)?;
        let names = self.find_named(function, of, (mechanism.kind, &mechanism.names))?;
        let mechanism = Mechanism { kind: mechanism.kind, names: &names };
        let demands = rules::wrap(function, mechanism, &wrapping, &key);
        self.gate.permit(Some(of.0), &demands).map_err(|denial| self.deny(&denial))
    }

    /// What a key would be made from: the key of the handle `parent`, and those that the mechanism names.
    pub(super) fn origin(
        &self,
        function: Function,
        session: u64,
        mechanism: &MechanismView,
        template: &TemplateView,
        (parent, rule): (u64, Rule),
    ) -> Result<Origin<'_>, CK_RV> {
        let (place, held) = self.hold(session)?;
        let caller = Caller { function, place, session };
        self.gate.prepare();
        let of = (place, session);
        let parent = self.find_key(function, of, parent).map_err(|rv| match function {
            Function::C_UnwrapKey | Function::C_UnwrapKeyAuthenticated => {
                no_key(rv, CKR_UNWRAPPING_KEY_HANDLE_INVALID)
            }
            _ => rv,
        })?;
        let names = self.find_named(function, of, (mechanism.kind, &mechanism.names))?;
        // Secret keys are what derivation and encapsulation make (PKCS#11 3.2 section 5.18) where the template does not say
        // otherwise.
        let kind = self.planned_kind(caller, template, ObjectKind::SecretKey)?;
        let planned = self.planned(caller, template, kind, None)?;
        Ok(Origin { caller, _held: held, rule, mechanism: mechanism.kind, parent, names, planned })
    }

    /// Makes a key.
    pub(super) fn make_from(
        &self,
        origin: &Origin<'_>,
        forward: impl FnOnce(Permit) -> (CK_RV, Option<u64>),
    ) -> Result<u64, CK_RV> {
        let judge = |new: &NewObject| origin.demands(new);
        self.make(origin.caller, &origin.parents(), &origin.planned, judge, forward)
    }
}

macro_rules! make_from {
    ($($call:ident: $parent:ident, $rule:expr;)*) => {$(
        impl Layer<calls::$call> for GatedModule {
            fn call(&self, call: calls::$call) -> CK_RV {
                call.pinned(&self.flat, |mechanism, template, pinned| {
                    let function = Function::$call;
                    if template.class == Stated::Absent && is_of_any_class(function) {
                        return CKR_TEMPLATE_INCOMPLETE;
                    }
                    let from = (call.$parent(), $rule as Rule);
                    let made = self
                        .origin(function, call.session(), mechanism, template, from)
                        .and_then(|origin| {
                            self.make_from(&origin, |permit| {
                                pinned.with_own_place(|call| self.module.invoke(permit, call))
                            })
                        });
                    delivered(made, |key| call.deliver(key))
                })
                .unwrap_or(CKR_ARGUMENTS_BAD)
            }
        }
    )*};
}

make_from! {
    C_DecapsulateKey: private_key, rules::decapsulate;
    C_DeriveKey: base_key, rules::derive;
    C_UnwrapKey: unwrapping_key, rules::unwrap;
    C_UnwrapKeyAuthenticated: unwrapping_key, rules::unwrap;
}

/// What is inside a wrapping can be of any class (PKCS#11 2.40 section 5.13, `C_UnwrapKey`).
const fn is_of_any_class(function: Function) -> bool {
    matches!(function, Function::C_UnwrapKey | Function::C_UnwrapKeyAuthenticated)
}
