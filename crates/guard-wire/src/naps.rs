//! Short sleeps before a long one. The other side may be awake and yet not run: somebody else was given its processor. A processor
//! that falls idle takes over whoever waits at another one; but not who has run there within the last half a millisecond (Linux,
//! `sched_migration_cost`), and not each time. Without a nap it is the clock's tick that sees to it, after 4 to 8 ms.

use core::time::Duration;

use crate::slot::{Side, Sleep, Slot};

/// With the time that a side looks out before, longer than half a millisecond.
const FIRST: Duration = Duration::from_micros(400);
/// The further ones.
const NEXT: Duration = Duration::from_micros(100);
/// After so many, it is no such thing, or the clock has seen to it.
const MOST: u32 = 16;

/// How many naps one side may take: one for each turn that came while it looked out. So they cost next to nothing where the other
/// side is slow each time, or gone.
#[derive(Debug, Default)]
pub(crate) struct Naps(u32);

impl Naps {
    /// The turn came while the side was awake.
    pub(crate) const fn earn(&mut self) {
        if self.0 < MOST {
            self.0 += 1;
        }
    }

    /// Sleeps shortly, as often as it may: whether it is that side's turn.
    pub(crate) fn take(&mut self, slot: &Slot<'_>, side: Side, sleep: &impl Sleep) -> bool {
        let mut nap = FIRST;
        while let Some(left) = self.0.checked_sub(1) {
            self.0 = left;
            if slot.sleep_until(side, sleep, nap) {
                return true;
            }
            nap = NEXT;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::atomics::AtomicU32;

    /// Passes the turn in the sleep of that number, and notes how long each would be.
    struct Passes {
        at: usize,
        naps: RefCell<Vec<Duration>>,
    }

    impl Sleep for Passes {
        fn sleep(&self, turn: &AtomicU32, _: u32, at_most: Duration) {
            let mut naps = self.naps.borrow_mut();
            naps.push(at_most);
            if naps.len() == self.at {
                turn.store(Side::Server as u32, Ordering::Release);
            }
        }
        fn wake(&self, _: &AtomicU32) {}
    }

    /// The naps that one takes who has earned so many, if the turn comes in the one of that number; and whether it came.
    fn naps(earned: u32, at: usize) -> (Vec<Duration>, bool) {
        let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
        let slot = Slot::over(&turn, &words).unwrap();
        let sleep = Passes { at, naps: RefCell::default() };
        let mut naps = Naps::default();
        (0..earned).for_each(|_| naps.earn());
        let came = naps.take(&slot, Side::Server, &sleep);
        let taken = u32::try_from(sleep.naps.borrow().len()).unwrap();
        assert_eq!(naps.0, earned.min(MOST) - taken);
        (sleep.naps.into_inner(), came)
    }

    #[test]
    fn there_are_as_many_as_were_earned_up_to_a_bound_and_none_after_the_turn() {
        assert_eq!(naps(0, 0), (vec![], false));
        assert_eq!(naps(1, 0), (vec![FIRST], false));
        assert_eq!(naps(3, 0), (vec![FIRST, NEXT, NEXT], false));
        assert_eq!(naps(3, 2), (vec![FIRST, NEXT], true));
        assert_eq!(naps(1000, 0).0.len(), 16);
    }
}
