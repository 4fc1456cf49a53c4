//! In which slots the attester's own token has been seen, for when a slot cannot be looked at.

use std::collections::HashMap;

use cryptoki_ffi::ModuleError;
use cryptoki_sys::{CKR_SLOT_ID_INVALID, CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED};
use locks::RwLock;

/// What a look at a slot has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The attester's token.
    Own,
    /// Another token.
    Other,
    /// No token, or none that anything could be done with (PKCS#11 3.1 section 5.1, `CKR_TOKEN_NOT_PRESENT`).
    Empty,
    /// That there is no such slot.
    NoSlot,
    /// Nothing: it could be any token.
    Nothing,
}

impl Look {
    /// From whether the token's names are those of the attester's.
    pub(crate) const fn of(is_own: &Result<bool, ModuleError>) -> Self {
        match is_own {
            Ok(true) => Self::Own,
            Ok(false) => Self::Other,
            Err(ModuleError::Failed { rv: CKR_TOKEN_NOT_PRESENT | CKR_TOKEN_NOT_RECOGNIZED, .. }) => {
                Self::Empty
            }
            Err(ModuleError::Failed { rv: CKR_SLOT_ID_INVALID, .. }) => Self::NoSlot,
            Err(_) => Self::Nothing,
        }
    }
}

/// Of every slot in which a token was seen, whether the last one was the attester's.
#[derive(Debug, Default)]
pub(crate) struct Seen(RwLock<HashMap<u64, bool>>);

impl Seen {
    pub(crate) fn note(&self, slot: u64, look: Look) {
        let is_own = match look {
            Look::Own => true,
            Look::Other => false,
            Look::Empty | Look::NoSlot | Look::Nothing => return,
        };
        if self.was_own(slot) != Some(is_own) {
            self.0.write().insert(slot, is_own);
        }
    }

    /// Whether the application must not know of the slot. Where nothing is seen, it is what it was, and never yet seen it may
    /// well be the attester's.
    pub(crate) fn hides(&self, slot: u64, look: Look) -> bool {
        match look {
            Look::Own => true,
            Look::Other => false,
            Look::Empty | Look::NoSlot => self.was_own(slot) == Some(true),
            Look::Nothing => self.was_own(slot) != Some(false),
        }
    }

    /// Whether nothing may be begun with the token in the slot. What it was does not count: tokens change places. Nor does that there
    /// is no slot, which would be the answer anyway.
    pub(crate) fn bars(&self, slot: u64, look: Look) -> bool {
        matches!(look, Look::NoSlot | Look::Nothing) || self.hides(slot, look)
    }

    fn was_own(&self, slot: u64) -> Option<bool> {
        self.0.read().get(&slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use cryptoki_sys::{CK_RV, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED};

    use super::*;

    const SLOT: u64 = 7;
    const ANOTHER: u64 = 8;

    fn failed(rv: CK_RV) -> Look {
        Look::of(&Err(ModuleError::Failed { function: "C_GetTokenInfo", rv }))
    }

    /// Whether the slot is hidden and barred after `looks`, the last of which is the one in hand.
    fn after(looks: &[Look]) -> (bool, bool) {
        let seen = Seen::default();
        looks.iter().for_each(|look| seen.note(SLOT, *look));
        let last = *looks.last().unwrap();
        (seen.hides(SLOT, last), seen.bars(SLOT, last))
    }

    #[test]
    fn a_look_that_fails_shows_nothing_unless_it_says_that_there_is_nothing() {
        assert_eq!((Look::of(&Ok(true)), Look::of(&Ok(false))), (Look::Own, Look::Other));
        for rv in [CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED] {
            assert_eq!(failed(rv), Look::Empty);
        }
        for rv in [CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED] {
            assert_eq!(failed(rv), Look::Nothing);
        }
        assert_eq!(failed(CKR_SLOT_ID_INVALID), Look::NoSlot);
        assert_eq!(Look::of(&Err(ModuleError::NoToken("any".into()))), Look::Nothing);
    }

    #[test]
    fn what_is_seen_decides() {
        for before in [&[][..], &[Look::Own], &[Look::Other], &[Look::Nothing]] {
            assert_eq!(after(&[before, &[Look::Own]].concat()), (true, true));
            assert_eq!(after(&[before, &[Look::Other]].concat()), (false, false));
        }
    }

    #[test]
    fn a_slot_that_was_never_seen_may_be_the_attesters() {
        assert_eq!(after(&[Look::Nothing]), (true, true));
        assert_eq!(after(&[Look::Empty]), (false, false), "without a token it is not");
        assert_eq!(after(&[Look::NoSlot]), (false, true), "the real module says itself that there is none");
        assert_eq!(after(&[Look::Empty, Look::Nothing]), (true, true), "which may have been put in");
        let seen = Seen::default();
        seen.note(ANOTHER, Look::Own);
        assert!(seen.hides(SLOT, Look::Nothing), "there may be two that the URI names");
    }

    #[test]
    fn where_nothing_is_seen_a_slot_is_what_it_was_and_nothing_is_begun() {
        assert_eq!(after(&[Look::Own, Look::Nothing]), (true, true));
        assert_eq!(after(&[Look::Own, Look::Empty]), (true, true));
        assert_eq!(after(&[Look::Own, Look::NoSlot]), (true, true));
        assert_eq!(after(&[Look::Own, Look::Empty, Look::Nothing]), (true, true));
        assert_eq!(after(&[Look::Other, Look::Nothing]), (false, true));
        assert_eq!(after(&[Look::Other, Look::Empty]), (false, false));
        assert_eq!(after(&[Look::Own, Look::Other, Look::Nothing]), (false, true));
        assert_eq!(after(&[Look::Other, Look::Own, Look::Nothing]), (true, true));
    }
}
