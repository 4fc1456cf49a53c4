//! From a handle to what grants are about: which object it is, on which token, and what it was made from.

use std::sync::Arc;

use cryptoki_ffi::{CK_RV, ObjectFacts, ParameterNames};
use cryptoki_sys::{
    CK_OBJECT_HANDLE, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_SESSION_HANDLE_INVALID,
};
use gate::{Look, Place, Refusal, Session, Subject};
use pkcs11_table::Function;

use super::GatedModule;

/// An object that a call touches.
pub(super) struct Found {
    pub(super) facts: ObjectFacts,
    pub(super) subject: Arc<Subject>,
}

impl GatedModule {
    /// What the object is; the attestation key is no object at all.
    pub(super) fn visible_object(
        &self,
        session: u64,
        object: CK_OBJECT_HANDLE,
    ) -> Result<ObjectFacts, CK_RV> {
        let facts = self.module.object(session, object)?;
        if self.place.is_attestation_key(&facts) {
            return Err(CKR_OBJECT_HANDLE_INVALID);
        }
        Ok(facts)
    }

    /// What the object is whose handle the application was given on a session of this slot. To any other the real module
    /// might answer with an object of another token, which is not what the session's token is granted for.
    pub(super) fn given_object(
        &self,
        (place, session): (&Place, u64),
        object: CK_OBJECT_HANDLE,
    ) -> Result<ObjectFacts, CK_RV> {
        if !self.gate.handles().are_given(place.slot(), object) {
            return Err(CKR_OBJECT_HANDLE_INVALID);
        }
        self.visible_object(session, object)
    }

    /// What the object is, and what has to be granted for its use.
    pub(super) fn find(
        &self,
        function: Function,
        (place, session): (&Place, u64),
        object: CK_OBJECT_HANDLE,
    ) -> Result<Found, CK_RV> {
        let slot = place.slot();
        let facts = self.given_object((place, session), object)?;
        let named = facts.named(&self.token(slot)?);
        // Closed meanwhile, the handle may have come to mean a session on another token.
        if !place.is(session) || place.slot() != slot {
            return Err(CKR_SESSION_HANDLE_INVALID);
        }
        let subject = if facts.kind.is_key() {
            self.gate.provenance().subject(slot, object, named.clone(), facts.lasting)
        } else {
            Ok(Subject::of(named.clone()))
        };
        match subject {
            Ok(subject) => Ok(Found { facts, subject: Arc::new(subject) }),
            Err(gate::Unaccounted) => {
                let subject = Arc::new(Subject::of(named));
                let denial = self.gate.refuse(Some(place), function, Some(&subject), Refusal::Unaccounted);
                Err(self.deny(&denial))
            }
        }
    }

    /// The key of a handle; an object that is no key answers as a handle that leads nowhere.
    pub(super) fn find_key(
        &self,
        function: Function,
        of: (&Place, u64),
        object: CK_OBJECT_HANDLE,
    ) -> Result<Arc<Subject>, CK_RV> {
        match self.find(function, of, object) {
            Ok(found) if found.facts.kind.is_key() => Ok(found.subject),
            Ok(_) | Err(CKR_OBJECT_HANDLE_INVALID) => Err(CKR_KEY_HANDLE_INVALID),
            Err(rv) => Err(rv),
        }
    }

    /// As [`Self::find_key`]; a key that the session has lately used is not looked at again.
    pub(super) fn recall_key(
        &self,
        function: Function,
        (place, session, state): (&Place, u64, &mut Session),
        object: CK_OBJECT_HANDLE,
    ) -> Result<(Look, Arc<Subject>), CK_RV> {
        let look = self.gate.look(state).map_err(|refusal| {
            let denial = self.gate.refuse(Some(place), function, None, refusal);
            self.deny(&denial)
        })?;
        if let Some((subject, look)) = self.gate.known(state, object, look) {
            return Ok((look, subject));
        }
        let subject = self.find_key(function, (place, session), object)?;
        self.gate.learn(state, object, look, &subject);
        Ok((look, subject))
    }

    /// The keys that a mechanism's parameter names.
    pub(super) fn find_named(
        &self,
        function: Function,
        of: (&Place, u64),
        (kind, names): (u64, &ParameterNames),
    ) -> Result<Vec<Arc<Subject>>, CK_RV> {
        match names {
            ParameterNames::Objects(objects) => {
                objects.iter().map(|object| self.find_key(function, of, *object)).collect()
            }
            ParameterNames::Unclear => {
                let refusal = Refusal::MechanismUnclear(kind);
                Err(self.deny(&self.gate.refuse(Some(of.0), function, None, refusal)))
            }
        }
    }
}
