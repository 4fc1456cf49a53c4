//! Objects that end with a call: their handles lead nowhere from before the call, since some modules give the handle of an
//! object that has ended to the next one, which another thread may be making.

use crate::gate::Gate;
use crate::provenance::Made;

/// Which objects a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// One.
    Object {
        /// Of the session.
        slot: u64,
        /// Its handle.
        object: u64,
    },
    /// Those of a session.
    Session(u64),
    /// Those of all sessions of a slot; what any handle there means by then is for a new search to say.
    Slot(u64),
    /// The private ones of all sessions of a slot: a logout destroys them (PKCS#11 2.40 section 5.6, `C_Logout`).
    Private {
        /// Whose token is logged out of.
        slot: u64,
    },
}

/// What was known of objects that a call was to end.
#[derive(Debug, Default)]
#[must_use = "where the objects have not ended, it is to be put back"]
pub struct Withdrawn {
    made: Vec<((u64, u64), Made)>,
    given: Vec<(u64, u64)>,
}

impl Withdrawn {
    /// Whether nothing was known of any such object.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.given.is_empty()
    }
}

impl Gate {
    /// Takes back what the gate knows of objects that the next call ends.
    pub fn withdraw(&self, ends: Ends) -> Withdrawn {
        let made = self.provenance().take_out(ends);
        let objects = made.iter().map(|(place, _)| *place);
        let given = match ends {
            Ends::Object { slot, object } => self.handles().take_out(|place| place == (slot, object)),
            Ends::Slot(slot) => self.handles().take_out(|place| place.0 == slot),
            Ends::Session(_) | Ends::Private { .. } if made.is_empty() => Vec::new(),
            Ends::Session(_) | Ends::Private { .. } => {
                let ended: std::collections::HashSet<_> = objects.collect();
                self.handles().take_out(|place| ended.contains(&place))
            }
        };
        Withdrawn { made, given }
    }

    /// The objects have not ended.
    pub fn put_back(&self, withdrawn: Withdrawn) {
        self.provenance().put_back(withdrawn.made);
        withdrawn.given.into_iter().for_each(|(slot, object)| self.handles().give(slot, object));
    }
}
