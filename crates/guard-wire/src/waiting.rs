//! How one side waits for its turn: awake as long as the other is likely to be quick, so that neither has to be woken.

use core::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crate::slot::{Side, Sleep, Slot};

/// Longer than most signatures take; waking a sleeper takes half of it.
const AWAKE: Duration = Duration::from_micros(100);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// Whoever was away for so long had to leave the processor to somebody else: there are more of those than processors.
const AWAY: Duration = Duration::from_micros(30);
/// For so many turns the processor is left to others at once then.
const CROWDED: u32 = 256;
/// How often it is left to others before this side sleeps.
const YIELDS: u32 = 32;

/// What one side has learnt about waiting.
#[derive(Debug, Default)]
pub struct Waiting {
    crowded: u32,
}

impl Waiting {
    /// Waits until it is `side`'s turn, at last asleep and then as long as that sleep lasts: whether it is.
    pub fn wait(&mut self, slot: &Slot<'_>, side: Side, sleep: &impl Sleep) -> bool {
        let quick = if self.crowded == 0 { self.look(slot, side) } else { false };
        if quick {
            return true;
        }
        self.crowded = self.crowded.saturating_sub(1);
        for _ in 0..YIELDS {
            if slot.is_turn_of(side) {
                return true;
            }
            yield_now();
        }
        slot.sleep_until(side, sleep)
    }

    /// Looks until it is `side`'s turn, for a while, and not where somebody else needs the processor.
    fn look(&mut self, slot: &Slot<'_>, side: Side) -> bool {
        if slot.is_turn_of(side) {
            return true;
        }
        let began = Instant::now();
        let mut last = began;
        loop {
            for _ in 0..LOOKS {
                if slot.is_turn_of(side) {
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            if now.duration_since(last) > AWAY {
                self.crowded = CROWDED;
                return false;
            }
            if now.duration_since(began) > AWAKE {
                return false;
            }
            last = now;
        }
    }
}
