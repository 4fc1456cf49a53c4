//! Which objects were made in this process, and from what: by name alone, a key that was derived from another would be
//! free of its grants.

use std::collections::HashMap;

use locks::Mutex;

use crate::subject::{Named, NewObject, Subject};

/// An object by the slot of its session and its handle.
type Place = (u64, u64);

#[derive(Clone, Debug)]
struct Made {
    origins: Vec<Named>,
    /// The session that made it.
    session: u64,
    lasting: bool,
    /// `CKA_PRIVATE`, or not known to be otherwise: a logout destroys it.
    private: bool,
}

/// The object is none that lasts, and nobody has made it through this gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unaccounted;

/// The objects that were made in this process.
#[derive(Debug, Default)]
pub struct Provenance {
    made: Mutex<HashMap<Place, Made>>,
}

impl Provenance {
    /// Takes down an object that `session` has just made from `parents`.
    pub fn record<'a>(
        &self,
        (slot, session, object): (u64, u64, u64),
        new: &NewObject,
        private: bool,
        parents: impl IntoIterator<Item = &'a Subject>,
    ) {
        let mut origins: Vec<Named> = Vec::new();
        for named in parents.into_iter().flat_map(Subject::judged_by) {
            if !origins.contains(named) {
                origins.push(named.clone());
            }
        }
        let made = Made { origins, session, lasting: new.lasting, private };
        self.made.lock().insert((slot, object), made);
    }

    /// What grants have to cover for this object.
    ///
    /// # Errors
    /// [`Unaccounted`]: every object of a session is made by a call that the gate sees, so one that it has not seen is being
    /// made at this moment, or the handle has come to mean something else.
    pub fn subject(
        &self,
        slot: u64,
        object: u64,
        named: Named,
        lasting: bool,
    ) -> Result<Subject, Unaccounted> {
        match self.made.lock().get(&(slot, object)) {
            Some(made) if made.lasting == lasting => Ok(Subject::made_from(named, &made.origins, lasting)),
            None if lasting => Ok(Subject::of(named)),
            Some(_) | None => Err(Unaccounted),
        }
    }

    /// The object was destroyed.
    pub fn destroyed(&self, slot: u64, object: u64) {
        self.made.lock().remove(&(slot, object));
    }

    /// The session was closed: its own objects are gone, and their handles may come to mean others. Whether it had any.
    pub fn session_closed(&self, session: u64) -> bool {
        let mut made = self.made.lock();
        let before = made.len();
        made.retain(|_, made| made.lasting || made.session != session);
        made.len() != before
    }

    /// All sessions of a slot were closed.
    pub fn slot_closed(&self, slot: u64) {
        self.made.lock().retain(|place, made| made.lasting || place.0 != slot);
    }

    /// The application has logged out of the token in `slot`: private objects of its sessions are gone (PKCS#11 2.40
    /// section 5.6, `C_Logout`).
    pub fn logged_out(&self, slot: u64) {
        self.made.lock().retain(|place, made| made.lasting || place.0 != slot || !made.private);
    }

    /// Forgets everything, as `C_Finalize` does.
    pub fn clear(&self) {
        self.made.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use attestation::key_uri::TokenIdentity;

    use super::*;

    const SLOT: u64 = 4;
    const SESSION: u64 = 9;

    fn named(label: &str) -> Named {
        Named::Token(TokenIdentity {
            label: label.into(),
            serial: "1".into(),
            model: "m".into(),
            manufacturer: "v".into(),
        })
    }

    fn made(provenance: &Provenance, object: u64, lasting: bool, private: bool, parents: &[Subject]) {
        let new = NewObject { named: named("new"), lasting };
        provenance.record((SLOT, SESSION, object), &new, private, parents);
    }

    fn judged_by(provenance: &Provenance, object: u64, lasting: bool) -> Result<Vec<Named>, Unaccounted> {
        let subject = provenance.subject(SLOT, object, named("new"), lasting)?;
        assert_eq!(subject.named(), &named("new"));
        Ok(subject.judged_by().to_vec())
    }

    #[test]
    fn an_object_is_judged_by_all_that_it_was_made_from() {
        let provenance = Provenance::default();
        let (one, other) = (Subject::of(named("one")), Subject::of(named("other")));
        made(&provenance, 1, false, true, &[one.clone(), other, one]);
        assert_eq!(judged_by(&provenance, 1, false), Ok(vec![named("one"), named("other")]));
        // And what is made from it, in turn.
        let first = provenance.subject(SLOT, 1, named("new"), false).unwrap();
        made(&provenance, 2, false, true, &[first]);
        assert_eq!(judged_by(&provenance, 2, false), Ok(vec![named("one"), named("other")]));
    }

    #[test]
    fn an_object_that_lasts_is_judged_by_its_name_too() {
        let provenance = Provenance::default();
        made(&provenance, 1, true, true, &[Subject::of(named("base"))]);
        assert_eq!(judged_by(&provenance, 1, true), Ok(vec![named("base"), named("new")]));
        made(&provenance, 2, true, true, &[Subject::of(named("new"))]);
        assert_eq!(judged_by(&provenance, 2, true), Ok(vec![named("new")]));
    }

    #[test]
    fn an_object_of_a_session_must_be_accounted_for() {
        let provenance = Provenance::default();
        assert_eq!(judged_by(&provenance, 1, false), Err(Unaccounted));
        assert_eq!(judged_by(&provenance, 1, true), Ok(vec![named("new")]));
        made(&provenance, 1, false, true, &[]);
        assert_eq!(judged_by(&provenance, 1, false), Ok(vec![named("new")]));
        assert_eq!(
            judged_by(&provenance, 1, true),
            Err(Unaccounted),
            "the handle means another object by now"
        );
        assert!(provenance.subject(SLOT + 1, 1, named("new"), false).is_err(), "another slot");
    }

    #[test]
    fn objects_are_forgotten_when_they_end() {
        let all_of = || {
            let provenance = Provenance::default();
            made(&provenance, 1, false, true, &[]);
            made(&provenance, 2, false, false, &[]);
            made(&provenance, 3, true, true, &[Subject::of(named("base"))]);
            provenance
        };
        let left = |provenance: &Provenance| {
            let base = judged_by(provenance, 3, true).is_ok_and(|by| by.contains(&named("base")));
            (judged_by(provenance, 1, false).is_ok(), judged_by(provenance, 2, false).is_ok(), base)
        };
        type End = fn(&Provenance);
        let ends: [(End, _); 8] = [
            (|_| {}, (true, true, true)),
            (|all| all.destroyed(SLOT, 1), (false, true, true)),
            (|all| assert!(all.session_closed(SESSION)), (false, false, true)),
            (|all| assert!(!all.session_closed(SESSION + 1)), (true, true, true)),
            (|all| all.slot_closed(SLOT), (false, false, true)),
            (|all| all.slot_closed(SLOT + 1), (true, true, true)),
            (|all| all.logged_out(SLOT), (false, true, true)),
            (|all| all.clear(), (false, false, false)),
        ];
        for (index, (end, expected)) in ends.into_iter().enumerate() {
            let provenance = all_of();
            end(&provenance);
            assert_eq!(left(&provenance), expected, "{index}");
        }
        let provenance = all_of();
        provenance.logged_out(SLOT + 1);
        assert_eq!(left(&provenance), (true, true, true));
    }
}
