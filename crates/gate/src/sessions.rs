//! The application's sessions, found by their handles without a lock: threads that work on sessions of their own share
//! nothing here that is written to.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use attestation::decision::DecisionId;
use locks::{Mutex, MutexGuard};

use crate::session::Session;

/// Places with the same hash, on one level.
const WAYS: usize = 8;
/// Buckets of the first level; each further level has twice as many.
const FIRST: usize = 16;
/// 128 places on the first level, 16 million on all.
const LEVELS: usize = 17;

/// One place for a session. It is used again after the session in it was closed, and never freed.
///
/// On cache lines of its own, so that a thread that uses its session does not slow down the others.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Place {
    /// 0 is no session's handle (PKCS#11 2.40 section 3.4): the place is free.
    handle: AtomicU64,
    slot: AtomicU64,
    last_denial: AtomicU64,
    session: Mutex<Session>,
}

type Bucket = [Place; WAYS];

/// A session, and the hold of it.
pub type Held<'a> = (&'a Place, MutexGuard<'a, Session>);

/// All sessions of the application. Whatever is not in here is not the application's to use: the attester's own
/// sessions are not.
#[derive(Debug, Default)]
pub struct Sessions {
    levels: [OnceLock<Box<[Bucket]>>; LEVELS],
    /// Held to change which handles there are.
    changing: Mutex<()>,
}

impl Place {
    /// The slot it was opened on.
    pub fn slot(&self) -> u64 {
        self.slot.load(Ordering::Relaxed)
    }

    /// What runs on the session; held while a call that could change it is under way.
    pub fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock()
    }

    /// Whether it (still) is the session of that handle. To be asked once the lock is held.
    pub fn is(&self, handle: u64) -> bool {
        handle != 0 && self.handle.load(Ordering::Acquire) == handle
    }

    /// Notes the last refusal, for `CK_SESSION_INFO.ulDeviceError`.
    pub fn note_denial(&self, id: DecisionId) {
        self.last_denial.store(id.number(), Ordering::Relaxed);
    }

    /// The number of the last refusal, 0 if there was none.
    pub fn last_denial(&self) -> u64 {
        self.last_denial.load(Ordering::Relaxed)
    }

    /// Forgets the session, which was closed. Nobody may have got its handle again before its lock, which the caller has, is
    /// free.
    pub fn close(&self, session: &mut Session) {
        *session = Session::default();
        self.handle.store(0, Ordering::Release);
    }
}

impl Sessions {
    /// Takes in a session that the real module has opened on `slot`; false where there is no room left.
    pub fn opened(&self, handle: u64, slot: u64) -> bool {
        if handle == 0 {
            return false;
        }
        let _changing = self.changing.lock();
        if let Some(place) = self.get(handle) {
            // The real module has given the handle out again: the session that had it is gone, or is being closed this
            // moment, by a call that has the lock.
            let mut session = place.lock();
            place.close(&mut session);
        }
        let free = self.levels.iter().enumerate().find_map(|(level, buckets)| {
            let buckets = buckets.get_or_init(|| (0..FIRST << level).map(|_| Bucket::default()).collect());
            bucket(buckets, handle)?.iter().find(|place| place.handle.load(Ordering::Acquire) == 0)
        });
        let Some(place) = free else { return false };
        place.slot.store(slot, Ordering::Relaxed);
        place.last_denial.store(0, Ordering::Relaxed);
        place.handle.store(handle, Ordering::Release);
        true
    }

    /// The session of that handle, if the application opened it.
    #[inline]
    pub fn get(&self, handle: u64) -> Option<&Place> {
        if handle == 0 {
            return None;
        }
        self.levels
            .iter()
            .map_while(OnceLock::get)
            .find_map(|buckets| bucket(buckets, handle)?.iter().find(|place| place.is(handle)))
    }

    /// The application's session of that handle, held: no other call on it slips in, and it is not closed.
    pub fn hold(&self, handle: u64) -> Option<Held<'_>> {
        let place = self.get(handle)?;
        let session = place.lock();
        // It may have been closed while this thread waited.
        place.is(handle).then_some((place, session))
    }

    /// As [`Self::hold`], but does not wait for a call that is under way on it.
    pub fn try_hold(&self, handle: u64) -> Option<Held<'_>> {
        let place = self.get(handle)?;
        let session = place.session.try_lock()?;
        place.is(handle).then_some((place, session))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places().filter(|place| place.handle.load(Ordering::Acquire) != 0).count()
    }

    /// The handles of the sessions on a slot.
    pub fn on_slot(&self, slot: u64) -> Vec<u64> {
        let handles = self.places().filter(|place| place.slot() == slot);
        handles.map(|place| place.handle.load(Ordering::Acquire)).filter(|handle| *handle != 0).collect()
    }

    /// All sessions of a slot, held; `None` where a call is under way on one of them.
    pub fn try_hold_all(&self, slot: u64) -> Option<Vec<Held<'_>>> {
        let _changing = self.changing.lock();
        self.on_slot(slot).into_iter().map(|handle| self.try_hold(handle)).collect()
    }

    /// Every place, free ones included.
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.levels.iter().map_while(OnceLock::get).flat_map(|buckets| buckets.iter().flatten())
    }
}

/// The bucket of a handle; the number of buckets is a power of two.
fn bucket(buckets: &[Bucket], handle: u64) -> Option<&Bucket> {
    // Fibonacci hashing: handles are often small numbers that follow each other, or addresses.
    let hash = handle.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let mask = (buckets.len() as u64).wrapping_sub(1);
    buckets.get(usize::try_from(hash & mask).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(sessions: &Sessions, handle: u64) {
        let (place, mut session) = sessions.hold(handle).unwrap();
        place.close(&mut session);
    }

    #[test]
    fn sessions_are_found_until_they_are_closed() {
        let sessions = Sessions::default();
        for handle in 1..2_000 {
            assert!(sessions.opened(handle, handle % 2));
        }
        assert!(
            (1..2_000).all(|handle| sessions.get(handle).is_some_and(|place| place.slot() == handle % 2))
        );
        assert!(sessions.get(2_000).is_none());
        assert_eq!(sessions.count(), 1_999);
        let mut odd = sessions.on_slot(1);
        odd.sort_unstable();
        assert!(odd.into_iter().eq((1..2_000).step_by(2)));
        assert!(sessions.on_slot(2).is_empty() && !sessions.on_slot(0).contains(&0));
        close(&sessions, 7);
        assert!(sessions.get(7).is_none() && sessions.get(8).is_some());
        for (place, mut session) in sessions.try_hold_all(0).unwrap() {
            place.close(&mut session);
        }
        assert!(sessions.get(8).is_none() && sessions.get(9).is_some());
        assert_eq!(sessions.count(), 999);
    }

    #[test]
    fn zero_is_no_session() {
        let sessions = Sessions::default();
        assert!(!sessions.opened(0, 1));
        assert!(sessions.get(0).is_none());
        assert!(sessions.hold(0).is_none() && sessions.try_hold(0).is_none());
        let place = Place::default();
        assert!(!place.is(0), "a free place is no session");
    }

    #[test]
    fn places_are_used_again_and_nothing_of_the_old_session_is_left() {
        let sessions = Sessions::default();
        // Far more sessions than there is room for at once.
        for handle in 1..100_000 {
            assert!(sessions.opened(handle, 3));
            let place = sessions.get(handle).unwrap();
            assert_eq!(place.last_denial(), 0);
            place.note_denial(DecisionId::from_random(handle << 4));
            close(&sessions, handle);
        }
        assert!(sessions.levels.get(1).unwrap().get().is_none(), "one session at a time needs one level");
    }

    #[test]
    fn a_handle_that_is_given_out_again_is_a_new_session() {
        let sessions = Sessions::default();
        assert!(sessions.opened(5, 1));
        sessions.get(5).unwrap().note_denial(DecisionId::from_random(1 << 4));
        assert!(sessions.opened(5, 2));
        let place = sessions.get(5).unwrap();
        assert_eq!((place.slot(), place.last_denial()), (2, 0));
        close(&sessions, 5);
        assert!(sessions.get(5).is_none(), "it was taken in once");
    }

    #[test]
    fn a_session_under_a_call_is_held_by_nobody_else() {
        let sessions = Sessions::default();
        assert!(sessions.opened(5, 1) && sessions.opened(6, 1) && sessions.opened(7, 2));
        let held = sessions.hold(5).unwrap();
        assert!(sessions.try_hold(5).is_none() && sessions.try_hold(6).is_some());
        assert!(sessions.try_hold_all(1).is_none() && sessions.try_hold_all(2).is_some());
        drop(held);
        assert_eq!(sessions.try_hold_all(1).map(|held| held.len()), Some(2));
    }

    #[test]
    fn a_handle_that_is_given_out_again_while_its_session_is_closed_is_a_new_session() {
        let sessions = Sessions::default();
        assert!(sessions.opened(5, 1));
        let (place, mut session) = sessions.hold(5).unwrap();
        std::thread::scope(|scope| {
            let opens = scope.spawn(|| sessions.opened(5, 2));
            place.close(&mut session);
            drop(session);
            assert!(opens.join().unwrap());
        });
        assert_eq!(sessions.get(5).map(Place::slot), Some(2));
    }

    #[test]
    fn threads_find_their_own_sessions_while_others_come_and_go() {
        let sessions = Sessions::default();
        std::thread::scope(|scope| {
            for thread in 1..=4_u64 {
                let sessions = &sessions;
                scope.spawn(move || {
                    for round in 0..2_000 {
                        let handle = thread << 32 | round;
                        assert!(sessions.opened(handle, thread));
                        let place = sessions.get(handle).unwrap();
                        let guard = place.lock();
                        assert!(place.is(handle) && place.slot() == thread);
                        drop(guard);
                        close(sessions, handle);
                        assert!(sessions.get(handle).is_none() && !place.is(handle));
                    }
                });
            }
        });
    }
}
