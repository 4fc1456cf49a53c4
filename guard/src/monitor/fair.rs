//! Places that several clients want at once: those who wait are served user by user in turn, however many wait for one.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Instant;

use locks::Mutex;

/// Places, each with something in it or empty, and those who wait for one.
#[derive(Debug)]
pub(super) struct Fair<T> {
    state: Mutex<State<T>>,
    /// So many are kept when nobody waits.
    kept: usize,
}

#[derive(Debug)]
struct State<T> {
    /// Those that nobody has; the empty ones last.
    idle: VecDeque<Option<T>>,
    /// None of them empty, of each user at most one, that of the next user first.
    lines: VecDeque<Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    uid: u32,
    waiting: VecDeque<Arc<Waiter<T>>>,
}

/// One who waits: what it was handed, and how it is told.
#[derive(Debug)]
struct Waiter<T> {
    handed: Mutex<Option<Option<T>>>,
    told: Condvar,
}

/// One of the places, for as long as this lives. What is in it then stays there.
#[derive(Debug)]
pub(super) struct Turn<'a, T> {
    of: &'a Fair<T>,
    place: Option<T>,
}

impl<T> Fair<T> {
    /// So many places, all of them empty.
    pub(super) fn with_places(kept: usize) -> Self {
        let idle = (0..kept).map(|_| None).collect();
        Self { state: Mutex::new(State { idle, lines: VecDeque::new() }), kept }
    }

    /// One of them, waited for until then; `None` where there was none for this user in time.
    pub(super) fn turn(&self, uid: u32, until: Instant) -> Option<Turn<'_, T>> {
        self.take(uid, until).map(|place| Turn { of: self, place })
    }

    /// One, if there is one at once.
    pub(super) fn turn_at_once(&self) -> Option<Turn<'_, T>> {
        let idle = self.state.lock().idle.pop_front();
        idle.map(|place| Turn { of: self, place })
    }

    /// An empty place beside those that there are. Afterwards it is there if somebody waits, or if not all are there that
    /// are kept.
    pub(super) const fn one_more(&self) -> Turn<'_, T> {
        Turn { of: self, place: None }
    }

    fn take(&self, uid: u32, until: Instant) -> Option<Option<T>> {
        let waiter = {
            let mut state = self.state.lock();
            // Nobody waits for what is there.
            if let Some(place) = state.idle.pop_front() {
                return Some(place);
            }
            state.join(uid)
        };
        waiter.wait(until).or_else(|| {
            self.state.lock().leave(uid, &waiter);
            // It may have been handed over before that.
            waiter.handed.lock().take()
        })
    }

    fn put(&self, place: Option<T>) {
        let mut state = self.state.lock();
        if let Some(waiter) = state.next() {
            waiter.hand(place);
        } else if state.idle.len() >= self.kept {
            // The end of what is in it may take time.
            drop(state);
            drop(place);
        } else if place.is_some() {
            state.idle.push_front(place);
        } else {
            state.idle.push_back(place);
        }
    }
}

impl<T> State<T> {
    fn join(&mut self, uid: u32) -> Arc<Waiter<T>> {
        let waiter = Arc::new(Waiter { handed: Mutex::new(None), told: Condvar::new() });
        match self.lines.iter_mut().find(|line| line.uid == uid) {
            Some(line) => line.waiting.push_back(Arc::clone(&waiter)),
            None => self.lines.push_back(Line { uid, waiting: VecDeque::from([Arc::clone(&waiter)]) }),
        }
        waiter
    }

    fn leave(&mut self, uid: u32, waiter: &Arc<Waiter<T>>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.uid == uid) {
            line.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        self.lines.retain(|line| !line.waiting.is_empty());
    }

    fn next(&mut self) -> Option<Arc<Waiter<T>>> {
        let mut line = self.lines.pop_front()?;
        let next = line.waiting.pop_front();
        if !line.waiting.is_empty() {
            self.lines.push_back(line);
        }
        next
    }
}

impl<T> Waiter<T> {
    fn hand(&self, place: Option<T>) {
        *self.handed.lock() = Some(place);
        self.told.notify_one();
    }

    fn wait(&self, until: Instant) -> Option<Option<T>> {
        let mut handed = self.handed.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if handed.is_some() || left.is_zero() {
                return handed.take();
            }
            handed = self.told.wait_timeout(handed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.place
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut Option<T> {
        &mut self.place
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.of.put(self.place.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::thread::{self, JoinHandle};
    use std::time::Duration;

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);
    const SOON: Duration = Duration::from_millis(50);

    fn waiting(fair: &Fair<u32>) -> usize {
        fair.state.lock().lines.iter().map(|line| line.waiting.len()).sum()
    }

    /// Has users wait, one after the other, who say who they are when it is their turn.
    fn queue(fair: &Arc<Fair<u32>>, uids: &[u32]) -> (Vec<JoinHandle<()>>, Receiver<u32>) {
        let (told, tells) = mpsc::channel();
        let thread = |uid: &u32| {
            let (fair, told, uid) = (Arc::clone(fair), told.clone(), *uid);
            let before = waiting(&fair);
            let line = Arc::clone(&fair);
            let thread = thread::spawn(move || {
                let turn = line.turn(uid, Instant::now() + BOUND).unwrap();
                told.send(uid).unwrap();
                drop(turn);
            });
            while waiting(&fair) == before {
                thread::yield_now();
            }
            thread
        };
        (uids.iter().map(thread).collect(), tells)
    }

    #[test]
    fn who_waits_alone_is_next_whoever_has_many_waiting() {
        let fair = Arc::new(Fair::with_places(1));
        let turn = fair.turn(1, Instant::now()).unwrap();
        let (threads, tells) = queue(&fair, &[1, 1, 1, 1, 2, 1, 3, 2]);
        drop(turn);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), [1, 2, 3, 1, 2, 1, 1, 1]);
    }

    #[test]
    fn who_has_waited_long_enough_leaves_and_takes_nothing_along() {
        let fair = Arc::new(Fair::with_places(1));
        *fair.turn_at_once().unwrap() = Some(7);
        let turn = fair.turn(1, Instant::now()).unwrap();
        assert!(fair.turn_at_once().is_none());
        let began = Instant::now();
        assert!(fair.turn(2, began + SOON).is_none() && began.elapsed() >= SOON);
        assert!(fair.turn(2, began).is_none(), "whose time is over does not wait");
        assert_eq!(waiting(&fair), 0);
        assert!(fair.state.lock().lines.is_empty());
        drop(turn);
        assert_eq!(fair.turn(3, began).map(|turn| *turn), Some(Some(7)), "what is there takes no time");
    }

    #[test]
    fn what_is_handed_over_while_somebody_gives_up_is_not_lost() {
        let fair = Arc::new(Fair::<u32>::with_places(1));
        for round in 0..200 {
            let turn = fair.turn(1, Instant::now()).unwrap();
            let other = Arc::clone(&fair);
            let until = Instant::now() + Duration::from_micros(500);
            let thread = thread::spawn(move || drop(other.turn(2, until)));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            drop(turn);
            thread.join().unwrap();
            assert_eq!(fair.state.lock().idle.len(), 1, "{round}");
        }
    }

    #[test]
    fn more_than_are_kept_go_to_those_who_wait_and_then_away() {
        let fair = Arc::new(Fair::with_places(1));
        let turn = fair.turn(1, Instant::now()).unwrap();
        let (threads, tells) = queue(&fair, &[2]);
        *fair.one_more() = Some(9);
        assert_eq!(tells.recv_timeout(BOUND), Ok(2));
        for thread in threads {
            thread.join().unwrap();
        }
        drop(turn);
        assert_eq!(fair.state.lock().idle, [Some(9)]);
    }

    #[test]
    fn an_empty_place_is_the_last_to_be_taken() {
        let fair = Fair::<u32>::with_places(3);
        let until = Instant::now();
        let [mut one, two, mut three] = [(); 3].map(|()| fair.turn(1, until).unwrap());
        (*one, *three) = (Some(1), Some(3));
        drop((one, two, three));
        assert_eq!([(); 3].map(|()| fair.turn_at_once().unwrap().take()), [Some(3), Some(1), None]);
    }

    #[test]
    fn who_panics_gives_back() {
        let fair = Fair::<u32>::with_places(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = fair.turn(1, Instant::now()).unwrap();
            panic!("in its turn");
        }));
        assert!(panicked.is_err() && fair.turn_at_once().is_some());
    }
}
