//! Which objects were made in this process, and from what: by name alone, a key that was derived from another would be
//! free of its grants.

use std::collections::HashMap;

use locks::Mutex;

use crate::ends::Ends;
use crate::subject::{Named, NewObject, Subject};

/// An object by the slot of its session and its handle.
type Place = (u64, u64);

/// How an object was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
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

    /// Takes out what a call is about to end. Objects that last are not those of a session, though one made them.
    pub(crate) fn take_out(&self, ends: Ends) -> Vec<(Place, Made)> {
        let mut all = self.made.lock();
        match ends {
            Ends::Object { slot, object } => all.remove_entry(&(slot, object)).into_iter().collect(),
            Ends::Session(session) => {
                all.extract_if(|_, made| !made.lasting && made.session == session).collect()
            }
            Ends::Slot(slot) => all.extract_if(|place, made| !made.lasting && place.0 == slot).collect(),
            Ends::Private { slot } => {
                all.extract_if(|place, made| !made.lasting && place.0 == slot && made.private).collect()
            }
        }
    }

    /// They have not ended. What was made under the same handle meanwhile is the object of that handle now.
    pub(crate) fn put_back(&self, taken: Vec<(Place, Made)>) {
        let mut all = self.made.lock();
        for (place, made) in taken {
            all.entry(place).or_insert(made);
        }
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
        let ends = [
            (Ends::Object { slot: SLOT, object: 1 }, (false, true, true)),
            (Ends::Object { slot: SLOT, object: 3 }, (true, true, false)),
            (Ends::Session(SESSION), (false, false, true)),
            (Ends::Session(SESSION + 1), (true, true, true)),
            (Ends::Slot(SLOT), (false, false, true)),
            (Ends::Slot(SLOT + 1), (true, true, true)),
            (Ends::Private { slot: SLOT }, (false, true, true)),
            (Ends::Private { slot: SLOT + 1 }, (true, true, true)),
        ];
        for (ends, expected) in ends {
            let provenance = all_of();
            let taken = provenance.take_out(ends);
            assert_eq!(left(&provenance), expected, "{ends:?}");
            provenance.put_back(taken);
            assert_eq!(left(&provenance), (true, true, true), "{ends:?}");
        }
    }

    #[test]
    fn what_was_made_meanwhile_is_not_displaced_by_what_is_put_back() {
        let provenance = Provenance::default();
        made(&provenance, 1, false, true, &[Subject::of(named("old"))]);
        let taken = provenance.take_out(Ends::Session(SESSION));
        made(&provenance, 1, false, true, &[Subject::of(named("later"))]);
        provenance.put_back(taken);
        assert_eq!(judged_by(&provenance, 1, false), Ok(vec![named("later")]));
    }
}
