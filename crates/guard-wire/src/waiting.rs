//! How a side waits for its turn: awake as long as the other is likely to be quick, so that neither has to be woken. Where there
//! is more to do than there are processors, it sleeps at once: the time that a waiting thread takes from others they get back in
//! slices of milliseconds, and to offer a processor costs a slice, too (sched_yield(2), Linux 6.18). The same where the other side
//! shares its processor.

use core::hint::spin_loop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::naps::Naps;
use crate::placement::{Processor, Together};
use crate::slot::{Side, Sleep, Slot, Whereabouts};

/// Longer than most signatures take; waking a sleeper takes half of it.
const AWAKE: Duration = Duration::from_micros(100);
/// Looks between two at the clock.
const LOOKS: u32 = 32;
/// Whoever was away for so long has been at work or was interrupted, or somebody who needs it for long was given the processor.
const LONG: Duration = Duration::from_millis(1);

/// What the kernel tells a thread of itself.
#[derive(Clone, Copy, Debug)]
pub struct OfThread {
    /// How often others were given its processor: a machine that stands still for a moment is none that is crowded.
    pub preemptions: fn() -> u64,
    /// On which processor it runs.
    pub processor: fn() -> Option<u32>,
}

/// One side of one slot, which waits for its turn and passes it on.
#[derive(Debug)]
pub struct Waiter {
    crowd: Arc<Crowd>,
    side: Side,
    of_thread: OfThread,
    is_counted: bool,
    /// It was woken, and nothing was there: it is not kept awake by that.
    was_woken_in_vain: bool,
    /// It knew, the last time, that others need the processor.
    knows_a_crowd: bool,
    /// How often others had been given its processor when that was last looked at, or it last slept.
    preempted: u64,
    /// When it was last seen awake; `None` where it has slept since.
    seen: Option<Instant>,
    /// Where the other side says it was when it passed the turn on.
    other: Whereabouts,
    /// On this side's processor, which neither knows to be needed.
    together: Together,
    naps: Naps,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.count(false);
    }
}

impl Waiter {
    /// Of that side.
    pub fn new(crowd: Arc<Crowd>, side: Side, of_thread: OfThread) -> Self {
        Self {
            crowd,
            side,
            of_thread,
            is_counted: false,
            was_woken_in_vain: false,
            knows_a_crowd: false,
            preempted: 0,
            seen: None,
            other: Whereabouts { processor: None, is_in_a_crowd: false },
            together: Together::default(),
            naps: Naps::default(),
        }
    }

    /// Passes the turn to the other side. What was put in before is seen by that.
    pub fn pass(&self, slot: &Slot<'_>, sleep: &impl Sleep) {
        slot.say(Whereabouts { processor: (self.of_thread.processor)(), is_in_a_crowd: self.knows_a_crowd });
        slot.pass(self.side.other(), sleep);
    }

    /// Waits until it is this side's turn, at last asleep and then for no longer than that: whether it is.
    pub fn wait(&mut self, slot: &Slot<'_>, sleep: &impl Sleep, asleep_at_most: Duration) -> bool {
        let was_woken_in_vain = core::mem::take(&mut self.was_woken_in_vain);
        if !was_woken_in_vain {
            self.count(true);
        }
        let is_its_turn = slot.is_turn_of(self.side)
            || (!was_woken_in_vain && self.look(slot))
            || self.sleep(slot, sleep, asleep_at_most);
        if is_its_turn {
            let before = core::mem::replace(&mut self.other, slot.said()).processor;
            if self.side == Side::Server && before.is_some() && self.other.processor != before {
                self.crowd.has_room();
            }
            if self.side == Side::Client {
                // What the application does until the next call, and in which thread that comes, says nothing.
                self.seen = None;
            }
            // It may have slept for longer than that.
            self.knows_a_crowd = self.knows_a_crowd && self.crowd.is_there(Instant::now());
            let is_needless =
                self.side == Side::Server && !self.is_in_a_crowd() && self.is_beside_the_other();
            self.together.note(is_needless.then(Instant::now));
        }
        // The guard's side is busy with the call now, the application's with what it likes.
        self.count(is_its_turn && self.side == Side::Server);
        self.was_woken_in_vain = !is_its_turn;
        is_its_turn
    }

    /// Where this side best runs: on the other's processor where others need the rest, since whoever waits makes room for the
    /// other then; where nobody does, on another one: the kernel does not always move whoever is woken.
    /// That others need it, it must know by itself: the other side could have it wait behind whatever it likes.
    pub fn best_processor(&mut self) -> Processor {
        match self.other.processor {
            Some(processor) if self.knows_a_crowd => Processor::Only(processor),
            Some(processor) if self.together.is_too_long() => Processor::AnyBut(processor),
            _ => Processor::Any,
        }
    }

    /// What one side knows of others that need the processors keeps both from staying awake: who is alone on a processor stays
    /// awake, in the way of whoever comes there.
    const fn is_in_a_crowd(&self) -> bool {
        self.knows_a_crowd || self.other.is_in_a_crowd
    }

    fn is_beside_the_other(&self) -> bool {
        self.other.processor.is_some() && self.other.processor == (self.of_thread.processor)()
    }

    /// The other side has the call meanwhile, and is at work for the application's; the guard's has nothing to do.
    fn sleep(&mut self, slot: &Slot<'_>, sleep: &impl Sleep, at_most: Duration) -> bool {
        if self.side == Side::Server {
            self.count(false);
        }
        let before = (self.of_thread.processor)();
        let is_its_turn = (!self.is_beside_the_other() && self.naps.take(slot, self.side, sleep))
            || slot.sleep_until(self.side, sleep, at_most);
        if (self.of_thread.processor)() != before {
            self.crowd.has_room();
        }
        (self.preempted, self.seen) = ((self.of_thread.preemptions)(), None);
        self.count(is_its_turn);
        is_its_turn
    }

    /// Whether others were given this thread's processor since this was last asked.
    fn was_preempted(&mut self) -> bool {
        let before = core::mem::replace(&mut self.preempted, (self.of_thread.preemptions)());
        self.preempted != before
    }

    fn count(&mut self, is_at_work: bool) {
        if self.is_counted != is_at_work {
            self.crowd.count(is_at_work);
        }
        self.is_counted = is_at_work;
    }

    /// Looks until it is this side's turn, for a while, and not where somebody else needs the processor.
    fn look(&mut self, slot: &Slot<'_>) -> bool {
        let began = Instant::now();
        self.note_absence(began);
        let mut last = began;
        loop {
            self.knows_a_crowd = self.crowd.is_there(last);
            let is_futile = self.is_in_a_crowd() || self.is_beside_the_other();
            if is_futile || last.duration_since(began) > AWAKE {
                return slot.is_turn_of(self.side);
            }
            let is_its_turn = (0..LOOKS).any(|_| is_turn(slot, self.side));
            last = Instant::now();
            self.note_absence(last);
            if is_its_turn {
                self.naps.earn();
                return true;
            }
        }
    }

    /// Learns whether others were given the processor while this thread was away.
    fn note_absence(&mut self, now: Instant) {
        let Some(before) = self.seen.replace(now) else { return };
        if now.duration_since(before) > LONG && self.was_preempted() {
            self.crowd.was_away(before, now);
        }
    }
}

fn is_turn(slot: &Slot<'_>, side: Side) -> bool {
    spin_loop();
    slot.is_turn_of(side)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use crate::atomics::AtomicU32;

    use super::*;

    /// Gives the turn back whenever its side sleeps, and counts that.
    struct GivesBack(AtomicUsize);

    impl Sleep for GivesBack {
        fn sleep(&self, turn: &AtomicU32, _: u32, _: Duration) {
            self.0.fetch_add(1, Ordering::Relaxed);
            turn.store(Side::Client as u32, Ordering::Release);
        }
        fn wake(&self, _: &AtomicU32) {}
    }

    thread_local! {
        /// How often it was asked where it runs: once for each look, and three times for a sleep.
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    const ON_THE_FIRST: OfThread = OfThread {
        preemptions: || 0,
        processor: || {
            ASKED.set(ASKED.get() + 1);
            Some(0)
        },
    };

    /// The client's waiter that has a call answered by a guard on that processor, and is about the next one.
    fn answered_on(processor: u32, crowd: &Arc<Crowd>, slot: &Slot<'_>, sleep: &GivesBack) -> Waiter {
        let mut waiter = Waiter::new(Arc::clone(crowd), Side::Client, ON_THE_FIRST);
        slot.say(Whereabouts { processor: Some(processor), is_in_a_crowd: false });
        assert!(waiter.wait(slot, sleep, LONG), "nothing is in the place yet");
        waiter.pass(slot, sleep);
        waiter
    }

    #[test]
    fn whoever_shares_its_processor_with_the_other_side_sleeps_at_once() {
        let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
        let slot = Slot::over(&turn, &words).unwrap();
        let crowd = Arc::new(Crowd::on(4));
        for (processor, stays_awake) in [(0, false), (1, true)] {
            let sleep = GivesBack(AtomicUsize::new(0));
            let mut waiter = answered_on(processor, &crowd, &slot, &sleep);
            ASKED.set(0);
            assert!(waiter.wait(&slot, &sleep, LONG));
            assert_eq!(sleep.0.into_inner(), 1);
            assert_eq!(ASKED.get() > 4, stays_awake, "on processor {processor}");
            assert_eq!(waiter.best_processor(), Processor::Any, "there are enough processors");
            assert_eq!(crowd.at_work(), 0);
        }
    }

    #[test]
    fn the_guard_moves_away_from_its_client_where_nobody_needs_the_rest() {
        let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
        let slot = Slot::over(&turn, &words).unwrap();
        let crowd = Arc::new(Crowd::on(4));
        let mut waiter = Waiter::new(crowd, Side::Server, ON_THE_FIRST);
        let mut best_if_beside_it = |processor| {
            slot.say(Whereabouts { processor: Some(processor), is_in_a_crowd: false });
            turn.store(Side::Server as u32, Ordering::Release);
            assert!(waiter.wait(&slot, &GivesBack(AtomicUsize::new(0)), LONG));
            waiter.best_processor()
        };
        for _ in 0..2 {
            for _ in 1..16 {
                assert_eq!(best_if_beside_it(0), Processor::Any, "that may be by chance");
            }
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(best_if_beside_it(0), Processor::AnyBut(0));
            assert_eq!(best_if_beside_it(1), Processor::Any);
        }
    }

    #[test]
    fn who_got_the_turn_awake_naps_the_next_time_it_falls_asleep() {
        thread_local!(static TURN: Cell<Option<&'static AtomicU32>> = const { Cell::new(None) });
        struct Counts(AtomicUsize);
        impl Sleep for Counts {
            fn sleep(&self, turn: &AtomicU32, _: u32, at_most: Duration) {
                self.0.fetch_add(1, Ordering::Relaxed);
                if at_most == Duration::MAX {
                    turn.store(Side::Client as u32, Ordering::Release);
                }
            }
            fn wake(&self, _: &AtomicU32) {}
        }
        // It is asked where it runs while it looks out.
        let processor = || {
            if let Some(turn) = TURN.get() {
                turn.store(Side::Client as u32, Ordering::Release);
            }
            Some(0)
        };
        let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
        let turn: &'static AtomicU32 = Box::leak(Box::new(turn));
        let slot = Slot::over(turn, &words).unwrap();
        let of_thread = OfThread { preemptions: || 0, processor };
        let mut waiter = Waiter::new(Arc::new(Crowd::on(4)), Side::Client, of_thread);
        slot.say(Whereabouts { processor: Some(1), is_in_a_crowd: false });
        assert!(waiter.wait(&slot, &Counts(AtomicUsize::new(0)), Duration::MAX), "it is its turn at first");
        let mut sleeps_if_answered = |at_once: bool| {
            let sleep = Counts(AtomicUsize::new(0));
            turn.store(Side::Server as u32, Ordering::Release);
            TURN.set(at_once.then_some(turn));
            assert!(waiter.wait(&slot, &sleep, Duration::MAX));
            sleep.0.into_inner()
        };
        assert_eq!(sleeps_if_answered(false), 1);
        assert_eq!([sleeps_if_answered(true), sleeps_if_answered(true)], [0, 0]);
        assert_eq!(sleeps_if_answered(false), 3, "two short ones, and the long one");
        assert_eq!(sleeps_if_answered(false), 1);
    }

    #[test]
    fn more_calls_than_processors_bring_a_side_that_knows_to_the_other() {
        for (processors, others_know, best) in
            [(1, false, Processor::Only(7)), (4, true, Processor::Any), (4, false, Processor::Any)]
        {
            let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
            let slot = Slot::over(&turn, &words).unwrap();
            let crowd = Arc::new(Crowd::on(processors));
            let sleep = GivesBack(AtomicUsize::new(0));
            let mut waiter = answered_on(7, &crowd, &slot, &sleep);
            slot.say(Whereabouts { processor: Some(7), is_in_a_crowd: others_know });
            assert!(waiter.wait(&slot, &sleep, LONG));
            assert_eq!(waiter.best_processor(), best);
            waiter.pass(&slot, &sleep);
            assert_eq!(slot.said().is_in_a_crowd, processors == 1, "it says what it knows by itself");
        }
    }

    #[test]
    fn a_crowd_is_not_remembered_for_longer_than_it_lasts() {
        let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
        let slot = Slot::over(&turn, &words).unwrap();
        let crowd = Arc::new(Crowd::on(2));
        let sleep = GivesBack(AtomicUsize::new(0));
        let mut waiter = answered_on(7, &crowd, &slot, &sleep);
        crowd.count(true);
        assert!(waiter.wait(&slot, &sleep, LONG) && waiter.knows_a_crowd);
        crowd.count(false);
        std::thread::sleep(Crowd::SHARED + Crowd::SHARED);
        assert!(waiter.wait(&slot, &sleep, LONG), "it still has the turn");
        assert!(!waiter.knows_a_crowd);
    }

    #[test]
    fn of_what_lies_between_two_calls_only_the_guards_work_counts() {
        thread_local!(static PREEMPTIONS: Cell<u64> = const { Cell::new(0) });
        let preemptions = || PREEMPTIONS.get();
        for (side, counts) in [(Side::Client, false), (Side::Server, true)] {
            let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
            let slot = Slot::over(&turn, &words).unwrap();
            let crowd = Arc::new(Crowd::on(4));
            let mut waiter =
                Waiter::new(Arc::clone(&crowd), side, OfThread { preemptions, processor: || Some(0) });
            turn.store(side as u32, Ordering::Release);
            assert!(waiter.look(&slot) && waiter.wait(&slot, &GivesBack(AtomicUsize::new(0)), LONG));
            PREEMPTIONS.set(PREEMPTIONS.get() + 1);
            std::thread::sleep(2 * LONG);
            assert!(waiter.look(&slot));
            assert_eq!(crowd.is_there(Instant::now()), counts, "{side:?}");
        }
    }

    #[test]
    fn a_crowd_is_none_where_somebody_wakes_up_elsewhere() {
        thread_local!(static AT: Cell<u32> = const { Cell::new(0) });
        struct Moves(u32);
        impl Sleep for Moves {
            fn sleep(&self, turn: &AtomicU32, _: u32, _: Duration) {
                AT.set(AT.get() + self.0);
                turn.store(Side::Client as u32, Ordering::Release);
            }
            fn wake(&self, _: &AtomicU32) {}
        }
        let of_thread = OfThread { preemptions: || 0, processor: || Some(AT.get()) };
        for moves in [0, 1] {
            let (turn, words) = (AtomicU32::new(0), core::array::from_fn::<_, 10, _>(|_| AtomicU64::new(0)));
            let slot = Slot::over(&turn, &words).unwrap();
            let crowd = Arc::new(Crowd::on(4));
            let mut waiter = Waiter::new(Arc::clone(&crowd), Side::Client, of_thread);
            let now = Instant::now();
            crowd.was_away(now, now + Duration::from_secs(1));
            waiter.pass(&slot, &Moves(moves));
            assert!(waiter.wait(&slot, &Moves(moves), LONG));
            assert_eq!(crowd.is_there(Instant::now()), moves == 0);
        }
    }
}
