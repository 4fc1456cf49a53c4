//! Objects: searches without the attestation key; creating, copying, changing and destroying by grant.

use std::sync::Arc;

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer, Stated, TemplateView, kind_of};
use cryptoki_sys::{CK_OBJECT_HANDLE, CKR_ARGUMENTS_BAD, CKR_OBJECT_HANDLE_INVALID, CKR_OK};
use gate::{Ends, NewObject, ObjectKind, Refusal, rules};
use pkcs11_table::Function;

use super::creation::Caller;
use super::lookup::Found;
use super::{GatedModule, delivered};

impl Layer<calls::C_FindObjectsInit> for GatedModule {
    fn call(&self, call: calls::C_FindObjectsInit) -> CK_RV {
        call.pinned(|template, pinned| {
            let function = Function::C_FindObjectsInit;
            let kind = match template.class {
                Stated::Once(class) => Some(kind_of(class)),
                Stated::Absent | Stated::Unclear => None,
            };
            let (place, _held) = match self.hold(call.session()) {
                Ok(held) => held,
                Err(rv) => return rv,
            };
            let demands = if rules::is_harmless_search(template.only_public_attributes, kind) {
                Ok(rules::harmless(function))
            } else {
                // Of whatever object: it need not be there for the answer to tell.
                self.token_subject(place).map(|token| rules::reveal(function, [&token]))
            };
            let judged = demands
                .and_then(|demands| self.gate.keyless(place, &demands).map_err(|denial| self.deny(&denial)));
            match judged {
                Ok(permit) => self.module.invoke(permit, pinned),
                Err(rv) => rv,
            }
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_FindObjects> for GatedModule {
    fn call(&self, call: calls::C_FindObjects) -> CK_RV {
        let (place, _held) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        loop {
            let (rv, found) = call.with_own_places(|call| self.forward_open(call));
            if rv != CKR_OK {
                return rv;
            }
            let hidden = |object: &CK_OBJECT_HANDLE| {
                matches!(self.visible_object(call.session(), *object), Err(CKR_OBJECT_HANDLE_INVALID))
            };
            let visible: Vec<_> = found.iter().copied().filter(|object| !hidden(object)).collect();
            // An answer without objects is the end of the search, and there may be others behind the hidden ones.
            if found.is_empty() || !visible.is_empty() {
                visible.iter().for_each(|object| self.gate.handles().give(place.slot(), *object));
                call.deliver(&visible);
                return CKR_OK;
            }
        }
    }
}

impl Layer<calls::C_GetObjectSize> for GatedModule {
    fn call(&self, call: calls::C_GetObjectSize) -> CK_RV {
        let (place, _held) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        match self.given_object((place, call.session()), call.object()) {
            Ok(_) => self.forward_keyless(call, place),
            Err(rv) => rv,
        }
    }
}

impl Layer<calls::C_CreateObject> for GatedModule {
    fn call(&self, call: calls::C_CreateObject) -> CK_RV {
        call.pinned(|template, pinned| {
            let function = Function::C_CreateObject;
            let result = self.hold(call.session()).and_then(|(place, _held)| {
                let caller = Caller { function, place, session: call.session() };
                if let Some(handed_in) = self.hand_in(caller, &call, template) {
                    return handed_in;
                }
                // An object without a class is what the real module makes of it: it has no name that could be granted.
                let kind = self.planned_kind(caller, template, ObjectKind::Unknown)?;
                if kind.is_key() {
                    self.gate.prepare();
                }
                let planned = self.planned(caller, template, kind, None)?;
                let judge = |new: &NewObject| rules::create(function, kind, new);
                self.make(caller, &[], &planned, judge, |permit| {
                    pinned.with_own_place(|call| self.module.invoke(permit, call))
                })
            });
            delivered(result, |object| call.deliver(object))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_CopyObject> for GatedModule {
    fn call(&self, call: calls::C_CopyObject) -> CK_RV {
        call.pinned(|template, pinned| {
            let function = Function::C_CopyObject;
            let result = self.hold(call.session()).and_then(|(place, _held)| {
                let caller = Caller { function, place, session: call.session() };
                let Found { facts, subject } = self.find_to_change(caller, call.object())?;
                self.keeps_its_class(caller, template, facts.kind)?;
                let original = NewObject { named: subject.named().clone(), lasting: facts.lasting };
                let planned = self.planned(caller, template, facts.kind, Some(&original))?;
                let of = (&subject, facts.lasting);
                let judge = |new: &NewObject| rules::copy(function, facts.kind, of, new);
                let parents = [Arc::clone(&subject)];
                self.make(caller, &parents, &planned, judge, |permit| {
                    pinned.with_own_place(|call| self.module.invoke(permit, call))
                })
            });
            delivered(result, |object| call.deliver(object))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_SetAttributeValue> for GatedModule {
    fn call(&self, call: calls::C_SetAttributeValue) -> CK_RV {
        call.pinned(|template, pinned| {
            let function = Function::C_SetAttributeValue;
            let (place, _held) = match self.hold(call.session()) {
                Ok(held) => held,
                Err(rv) => return rv,
            };
            let caller = Caller { function, place, session: call.session() };
            let result = self.find_to_change(caller, call.object()).and_then(|found| {
                let Found { facts, subject } = found;
                let original = NewObject { named: subject.named().clone(), lasting: facts.lasting };
                let changed = self.planned(caller, template, facts.kind, Some(&original))?;
                self.keeps_its_class(caller, template, facts.kind)?;
                let may_be_public = self.may_be_public(caller, template)?;
                let differs = changed.named != original.named || changed.lasting != original.lasting;
                let renamed = differs.then_some(&changed.named);
                let demands = rules::change(function, (facts.kind, may_be_public), &subject, renamed);
                self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
            });
            match result {
                Ok((permit, spending)) => {
                    let rv = self.module.invoke(permit, pinned);
                    self.gate.objects_changed();
                    if rv == CKR_OK {
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

impl Layer<calls::C_DestroyObject> for GatedModule {
    fn call(&self, call: calls::C_DestroyObject) -> CK_RV {
        let function = Function::C_DestroyObject;
        let (place, _held) = match self.hold(call.session()) {
            Ok(held) => held,
            Err(rv) => return rv,
        };
        let caller = Caller { function, place, session: call.session() };
        let judged = self.find_to_change(caller, call.object()).and_then(|Found { facts, subject }| {
            let demands = rules::destroy(function, facts.kind, &subject);
            self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))
        });
        match judged {
            Ok((permit, spending)) => {
                let withdrawn =
                    self.gate.withdraw(Ends::Object { slot: place.slot(), object: call.object() });
                let rv = self.module.invoke(permit, call);
                self.gate.objects_changed();
                if rv == CKR_OK {
                    spending.complete();
                } else {
                    self.gate.put_back(withdrawn);
                }
                rv
            }
            Err(rv) => rv,
        }
    }
}

impl GatedModule {
    /// Some modules let a template state the class anew (PKCS#11 2.40 section 4.1.2 has it once and for all), and data is read by
    /// other rules than keys.
    fn keeps_its_class(
        &self,
        caller: Caller<'_>,
        template: &TemplateView,
        kind: ObjectKind,
    ) -> Result<(), CK_RV> {
        if self.planned_kind(caller, template, kind)?.class() == kind.class() {
            return Ok(());
        }
        Err(self.deny(&self.gate.refuse(Some(caller.place), caller.function, None, Refusal::ClassChanged)))
    }

    /// An object that is to be changed, looked at once a trust token is at hand where it takes one.
    fn find_to_change(&self, caller: Caller<'_>, object: CK_OBJECT_HANDLE) -> Result<Found, CK_RV> {
        let of = (caller.place, caller.session);
        let kind = self.given_object(of, object)?.kind;
        if kind != ObjectKind::PublicData {
            self.gate.prepare();
        }
        self.find(caller.function, of, object)
    }
}
