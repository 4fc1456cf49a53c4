//! New objects: judged by what their template says, looked at once they are there, and destroyed where they have come out
//! as something else that is not granted.

use std::sync::Arc;

use cryptoki_ffi::calls;
use cryptoki_ffi::{CK_RV, Layer, Stated, TemplateView, kind_of};
use cryptoki_sys::{CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK};
use gate::{Demands, Ends, Mechanism, Named, NewObject, ObjectKind, Permit, Place, Refusal, Subject, rules};
use pkcs11_table::Function;

use super::{GatedModule, delivered};

/// Where a call comes from.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) function: Function,
    pub(super) place: &'a Place,
    pub(super) session: u64,
}

impl GatedModule {
    /// Makes one object: `judge` says what has to be granted for an object that comes out so, `forward` has it made.
    pub(super) fn make(
        &self,
        caller: Caller<'_>,
        parents: &[Arc<Subject>],
        planned: &NewObject,
        judge: impl Fn(&NewObject) -> Demands,
        forward: impl FnOnce(Permit) -> (CK_RV, Option<u64>),
    ) -> Result<u64, CK_RV> {
        let (permit, mut spending) =
            self.gate.permit(Some(caller.place), &judge(planned)).map_err(|denial| self.deny(&denial))?;
        let answer = forward(permit);
        self.gate.objects_changed();
        let object = match answer {
            (CKR_OK, Some(object)) => object,
            (CKR_OK, None) => return Err(CKR_GENERAL_ERROR),
            (rv, _) => {
                if super::operations::tells_of_its_input(caller.function, rv) {
                    spending.complete();
                }
                return Err(rv);
            }
        };
        self.account_for(caller, object, parents, (planned, &mut spending), judge)?;
        spending.complete();
        Ok(object)
    }

    /// Looks at an object that has just been made, and takes down where it comes from.
    pub(super) fn account_for(
        &self,
        caller: Caller<'_>,
        object: u64,
        parents: &[Arc<Subject>],
        (planned, spending): (&NewObject, &mut gate::Spending),
        judge: impl Fn(&NewObject) -> Demands,
    ) -> Result<(), CK_RV> {
        let Caller { place, session, .. } = caller;
        let made = self.visible_object(session, object).and_then(|facts| {
            Ok(NewObject { named: facts.named(&self.token(place.slot())?), lasting: facts.lasting })
        });
        let refused = match &made {
            Ok(made) => {
                // Modules fill in labels and ids that a template leaves open.
                let judged =
                    if made == planned { Ok(()) } else { self.gate.confirm(place, &judge(made), spending) };
                match judged {
                    Ok(()) => {
                        self.take_down(caller, object, made, parents);
                        self.gate.handles().give(place.slot(), object);
                        return Ok(());
                    }
                    Err(denial) => self.deny(&denial),
                }
            }
            // It cannot be seen, or it bears the attestation key's name.
            Err(_) => {
                let subject = Arc::new(Subject::of(planned.named.clone()));
                let refusal = Refusal::Unaccounted;
                self.deny(&self.gate.refuse(Some(place), caller.function, Some(&subject), refusal))
            }
        };
        if self.module.destroy(session, object) != CKR_OK {
            // It stays, and is found by its name: then it counts for what it was made from, too.
            self.take_down(caller, object, made.as_ref().unwrap_or(planned), parents);
            self.gate.object_left(caller.function);
        }
        self.gate.objects_changed();
        Err(refused)
    }

    fn take_down(&self, caller: Caller<'_>, object: u64, made: &NewObject, parents: &[Arc<Subject>]) {
        let private = self.module.is_private(caller.session, object) != Some(false);
        let of = (caller.place.slot(), caller.session, object);
        self.gate.provenance().record(of, made, private, parents.iter().map(Arc::as_ref));
    }

    /// What a template makes of an object of `kind`, or of one that `original` describes where it is silent.
    pub(super) fn planned(
        &self,
        caller: Caller<'_>,
        template: &TemplateView,
        kind: ObjectKind,
        original: Option<&NewObject>,
    ) -> Result<NewObject, CK_RV> {
        let token = self.token(caller.place.slot())?;
        let named = |id: Vec<u8>, label: Vec<u8>| match kind.class() {
            Some(class) => {
                Named::Object(attestation::key_uri::ObjectIdentity { token: token.clone(), class, id, label })
            }
            None => Named::Token(token.clone()),
        };
        let inherited = match original.map(|original| &original.named) {
            Some(Named::Object(identity)) => (identity.id.clone(), identity.label.clone()),
            Some(Named::Token(_)) | None => (Vec::new(), Vec::new()),
        };
        let planned = |template: &TemplateView| {
            Some(NewObject {
                named: named(stated(&template.id, inherited.0)?, stated(&template.label, inherited.1)?),
                lasting: stated(&template.token, original.is_some_and(|original| original.lasting))?,
            })
        };
        planned(template).ok_or_else(|| self.unclear(caller))
    }

    /// The kind of object that a template asks for; `default` where it does not say.
    pub(super) fn planned_kind(
        &self,
        caller: Caller<'_>,
        template: &TemplateView,
        default: ObjectKind,
    ) -> Result<ObjectKind, CK_RV> {
        match template.class {
            Stated::Absent => Ok(default),
            Stated::Once(class) => Ok(kind_of(class)),
            Stated::Unclear => Err(self.unclear(caller)),
        }
    }

    /// Whether an object may be public with what a template states.
    pub(super) fn may_be_public(&self, caller: Caller<'_>, template: &TemplateView) -> Result<bool, CK_RV> {
        stated(&template.private, true).map(|is_private| !is_private).ok_or_else(|| self.unclear(caller))
    }

    fn unclear(&self, caller: Caller<'_>) -> CK_RV {
        let refusal = Refusal::TemplateUnclear;
        self.deny(&self.gate.refuse(Some(caller.place), caller.function, None, refusal))
    }
}

fn stated<T: Clone>(value: &Stated<T>, absent: T) -> Option<T> {
    match value {
        Stated::Absent => Some(absent),
        Stated::Once(value) => Some(value.clone()),
        Stated::Unclear => None,
    }
}

impl Layer<calls::C_GenerateKey> for GatedModule {
    fn call(&self, call: calls::C_GenerateKey) -> CK_RV {
        call.pinned(&self.flat, |mechanism, template, pinned| {
            let function = Function::C_GenerateKey;
            let result = self.hold(call.session()).and_then(|(place, _held)| {
                let caller = Caller { function, place, session: call.session() };
                self.gate.prepare();
                let kind = self.planned_kind(caller, template, ObjectKind::SecretKey)?;
                let planned = self.planned(caller, template, kind, None)?;
                let of = (place, call.session());
                let names = self.find_named(function, of, (mechanism.kind, &mechanism.names))?;
                let mechanism = Mechanism { kind: mechanism.kind, names: &names };
                let judge =
                    |new: &NewObject| rules::generate(function, mechanism, core::slice::from_ref(new));
                self.make(caller, &[], &planned, judge, |permit| {
                    pinned.with_own_place(|call| self.module.invoke(permit, call))
                })
            });
            delivered(result, |key| call.deliver(key))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}

impl Layer<calls::C_GenerateKeyPair> for GatedModule {
    fn call(&self, call: calls::C_GenerateKeyPair) -> CK_RV {
        call.pinned(&self.flat, |mechanism, public, private, pinned| {
            let function = Function::C_GenerateKeyPair;
            let result = self.hold(call.session()).and_then(|(place, _held)| {
                let caller = Caller { function, place, session: call.session() };
                self.gate.prepare();
                let of = (place, call.session());
                let names = self.find_named(function, of, (mechanism.kind, &mechanism.names))?;
                let mechanism = Mechanism { kind: mechanism.kind, names: &names };
                let halves = [
                    self.planned(caller, public, ObjectKind::PublicKey, None)?,
                    self.planned(caller, private, ObjectKind::PrivateKey, None)?,
                ];
                let demands = rules::generate(function, mechanism, &halves);
                let (permit, mut spending) =
                    self.gate.permit(Some(place), &demands).map_err(|denial| self.deny(&denial))?;
                let answer = pinned.with_own_place(|call| self.module.invoke(permit, call));
                self.gate.objects_changed();
                let pair = match answer {
                    (CKR_OK, Some(pair)) => pair,
                    (CKR_OK, None) => return Err(CKR_GENERAL_ERROR),
                    (rv, _) => return Err(rv),
                };
                let judge =
                    |new: &NewObject| rules::generate(function, mechanism, core::slice::from_ref(new));
                let [planned_public, planned_private] = &halves;
                let accounted = self
                    .account_for(caller, pair.0, &[], (planned_public, &mut spending), judge)
                    .map_err(|rv| (rv, pair.1))
                    .and_then(|()| {
                        let planned = (planned_private, &mut spending);
                        self.account_for(caller, pair.1, &[], planned, judge).map_err(|rv| (rv, pair.0))
                    });
                if let Err((rv, other)) = accounted {
                    // Half a pair is of no use to anybody.
                    drop(self.gate.withdraw(Ends::Object { slot: place.slot(), object: other }));
                    if self.module.destroy(call.session(), other) != CKR_OK {
                        self.gate.object_left(function);
                    }
                    self.gate.objects_changed();
                    return Err(rv);
                }
                spending.complete();
                Ok(pair)
            });
            delivered(result, |pair| call.deliver(pair))
        })
        .unwrap_or(CKR_ARGUMENTS_BAD)
    }
}
