//! Which object handles the application was given, and on which slot. Some modules take a handle on a session of any token:
//! a key would then be judged as one of the session's token, and bear the grants of another.

use std::collections::HashSet;

use locks::RwLock;

/// The handles that searches and the making of objects have given out.
#[derive(Debug, Default)]
pub struct Handles {
    /// By slot and handle.
    given: RwLock<HashSet<(u64, u64)>>,
}

impl Handles {
    /// The application is given this handle on a session of `slot`.
    pub fn give(&self, slot: u64, object: u64) {
        // Searches repeat themselves.
        if !self.are_given(slot, object) {
            self.given.write().insert((slot, object));
        }
    }

    /// Whether the application was given this handle on a session of `slot`.
    pub fn are_given(&self, slot: u64, object: u64) -> bool {
        self.given.read().contains(&(slot, object))
    }

    /// Takes out those that a call is about to end.
    pub(crate) fn take_out(&self, ends: impl Fn((u64, u64)) -> bool) -> Vec<(u64, u64)> {
        self.given.write().extract_if(|given| ends(*given)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_one_of_the_slot_on_which_it_was_given() {
        let handles = Handles::default();
        handles.give(1, 7);
        handles.give(1, 7);
        assert!(handles.are_given(1, 7));
        assert!(!handles.are_given(2, 7));
        assert!(!handles.are_given(1, 8));
    }

    #[test]
    fn those_that_end_are_given_no_more() {
        let handles = Handles::default();
        let all = [(1, 7), (1, 8), (2, 7)];
        all.iter().for_each(|(slot, object)| handles.give(*slot, *object));
        assert_eq!(handles.take_out(|given| given == (1, 7)), [(1, 7)]);
        assert_eq!(all.map(|(slot, object)| handles.are_given(slot, object)), [false, true, true]);
    }
}
