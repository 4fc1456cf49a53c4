//! The carrier in shared memory: one place for a frame, which client and server use in turn.
//!
//! The other side may be hostile: it may change what is in the memory at any time. What is taken out is copied once, within
//! bounds that do not depend on the memory, and judged as a copy. All that the other side can do is to make this one wait, or
//! read what it would have read of a socket.

use core::time::Duration;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::WireError;
use crate::header::{HEADER, MAX_BODY};

/// Bytes of the memory that a slot is in; larger frames go over the socket.
pub const SLOT: usize = 64 << 10;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// The application's: there is nothing in the place, or an answer.
    Client = 0,
    /// The guard's: there is a call.
    Server = 1,
}

impl Side {
    /// The one that it shares the place with.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

const SIDE: u32 = 1;
/// The one who waits sleeps, and has to be woken.
const ASLEEP: u32 = 2;
/// In place of a length: the frame comes over the socket.
const BY_SOCKET: u64 = u64::MAX;

/// Where a side is when it passes the turn on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The number of its processor, where it knows that.
    pub processor: Option<u32>,
    /// Others need the processors, as far as it knows.
    pub is_in_a_crowd: bool,
}

/// Sleeping until the turn changes, and waking who does.
pub trait Sleep {
    /// Sleeps as long as `turn` has the value `expected`, for no longer than that, or shorter.
    fn sleep(&self, turn: &AtomicU32, expected: u32, at_most: Duration);
    /// Wakes the one who sleeps.
    fn wake(&self, turn: &AtomicU32);
}

/// Where the frame is that the other side has passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It was taken out.
    Here,
    /// It comes over the socket.
    BySocket,
}

/// A place for one frame, in memory that two processes share.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    turn: &'a AtomicU32,
    length: &'a AtomicU64,
    whereabouts: &'a AtomicU64,
    content: &'a [AtomicU64],
}

impl<'a> Slot<'a> {
    /// Over memory that is zeroed at first; `None` where there is too little of it.
    pub fn over(turn: &'a AtomicU32, memory: &'a [AtomicU64]) -> Option<Self> {
        let ([length, whereabouts], content) = memory.split_first_chunk()?;
        (content.len() * 8 >= HEADER).then_some(Self { turn, length, whereabouts, content })
    }

    /// Bytes of the largest frame that it has room for.
    pub const fn room(&self) -> usize {
        self.content.len() * 8
    }

    /// Puts a frame in; false where there is no room for it. It must be this side's turn.
    pub fn put(&self, frame: &[u8]) -> bool {
        if frame.len() > self.room() {
            return false;
        }
        let (whole, rest) = frame.as_chunks::<8>();
        for (word, bytes) in self.content.iter().zip(whole) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        if let Some(word) = self.content.get(whole.len())
            && !rest.is_empty()
        {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.length.store(frame.len() as u64, Ordering::Relaxed);
        true
    }

    /// Says that the frame comes over the socket. It must be this side's turn.
    pub fn put_by_socket(&self) {
        self.length.store(BY_SOCKET, Ordering::Relaxed);
    }

    /// Takes out what the other side has put in, into `frame`. It must be this side's turn.
    ///
    /// # Errors
    /// [`WireError::TooLong`] for a length that does not fit.
    pub fn take(&self, frame: &mut Vec<u8>) -> Result<Passed, WireError> {
        frame.clear();
        let length = match self.length.load(Ordering::Relaxed) {
            BY_SOCKET => return Ok(Passed::BySocket),
            length => length,
        };
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= self.room().min(HEADER + MAX_BODY));
        let bytes = bytes.ok_or(WireError::TooLong(length))?;
        for word in self.content.iter().take(bytes.div_ceil(8)) {
            frame.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        frame.truncate(bytes);
        Ok(Passed::Here)
    }

    /// Says where this side is. It must be this side's turn.
    pub fn say(&self, whereabouts: Whereabouts) {
        let Whereabouts { processor, is_in_a_crowd } = whereabouts;
        let number = processor.map_or(0, |processor| u64::from(processor) + 1);
        self.whereabouts.store(number << 1 | u64::from(is_in_a_crowd), Ordering::Relaxed);
    }

    /// What the other side has said of itself, whether true or not.
    pub fn said(&self) -> Whereabouts {
        let said = self.whereabouts.load(Ordering::Relaxed);
        let processor = (said >> 1).checked_sub(1).and_then(|processor| u32::try_from(processor).ok());
        Whereabouts { processor, is_in_a_crowd: said & 1 != 0 }
    }

    /// Passes the turn on. What was put in before is seen by the other side.
    pub fn pass(&self, to: Side, sleep: &impl Sleep) {
        if self.turn.swap(to as u32, Ordering::AcqRel) & ASLEEP != 0 {
            sleep.wake(self.turn);
        }
    }

    /// Whether it is `side`'s turn. What the other side has put in before is seen then.
    pub fn is_turn_of(&self, side: Side) -> bool {
        self.turn.load(Ordering::Acquire) & SIDE == side as u32
    }

    /// Sleeps until it is `side`'s turn, or as long as the sleep lasts: whether it is.
    pub fn sleep_until(&self, side: Side, sleep: &impl Sleep, at_most: Duration) -> bool {
        let turn = self.turn.load(Ordering::Acquire);
        if turn & SIDE == side as u32 {
            return true;
        }
        // Whoever passes the turn on sees this, or this sees that it has been.
        let marked = turn | ASLEEP;
        let is_marked = turn == marked
            || self.turn.compare_exchange(turn, marked, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_marked {
            sleep.sleep(self.turn, marked, at_most);
        }
        self.is_turn_of(side)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Nobody sleeps in these tests.
    struct Awake;

    impl Sleep for Awake {
        fn sleep(&self, _: &AtomicU32, _: u32, _: Duration) {
            panic!("asleep");
        }
        fn wake(&self, _: &AtomicU32) {
            panic!("awake already");
        }
    }

    fn memory(words: usize) -> (AtomicU32, Vec<AtomicU64>) {
        (AtomicU32::new(0), (0..words).map(|_| AtomicU64::new(0)).collect())
    }

    proptest! {
        #[test]
        fn what_fits_comes_out_as_it_went_in(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            let (turn, words) = memory(10);
            let slot = Slot::over(&turn, &words).unwrap();
            prop_assert_eq!(slot.room(), 64);
            let fits = slot.put(&frame);
            prop_assert_eq!(fits, frame.len() <= 64);
            let mut taken = vec![1, 2, 3];
            if fits {
                prop_assert_eq!(slot.take(&mut taken), Ok(Passed::Here));
                prop_assert_eq!(taken, frame);
            }
        }

        /// Whatever the other side has written: nothing but what is in the place is taken out.
        #[test]
        fn any_memory_gives_a_frame_or_an_error(content in proptest::collection::vec(any::<u64>(), 4..12)) {
            let turn = AtomicU32::new(0);
            let words: Vec<_> = content.iter().map(|word| AtomicU64::new(*word)).collect();
            let slot = Slot::over(&turn, &words).unwrap();
            let mut taken = Vec::new();
            match slot.take(&mut taken) {
                Ok(Passed::Here) => prop_assert_eq!(taken.len() as u64, content[0]),
                Ok(Passed::BySocket) => prop_assert!(content[0] == BY_SOCKET && taken.is_empty()),
                Err(error) => {
                    prop_assert_eq!(error, WireError::TooLong(content[0]));
                    prop_assert!(taken.is_empty() && content[0] > slot.room() as u64);
                }
            }
        }
    }

    #[test]
    fn the_turn_goes_to_and_fro() {
        let (turn, words) = memory(10);
        let slot = Slot::over(&turn, &words).unwrap();
        assert!(slot.is_turn_of(Side::Client) && !slot.is_turn_of(Side::Server));
        slot.pass(Side::Server, &Awake);
        assert!(slot.is_turn_of(Side::Server) && !slot.is_turn_of(Side::Client));
        assert!(slot.sleep_until(Side::Server, &Awake, Duration::ZERO), "nobody sleeps when it is its turn");
        slot.put_by_socket();
        slot.pass(Side::Client, &Awake);
        assert_eq!(slot.take(&mut Vec::new()), Ok(Passed::BySocket));
    }

    #[test]
    fn a_side_is_where_it_says_or_nowhere() {
        let (turn, words) = memory(10);
        let slot = Slot::over(&turn, &words).unwrap();
        assert_eq!(slot.said(), Whereabouts::default());
        for processor in [None, Some(0), Some(1), Some(u32::MAX)] {
            for is_in_a_crowd in [false, true] {
                let whereabouts = Whereabouts { processor, is_in_a_crowd };
                slot.say(whereabouts);
                assert_eq!(slot.said(), whereabouts);
            }
        }
        words[1].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(slot.said(), Whereabouts { processor: None, is_in_a_crowd: true });
    }

    #[test]
    fn too_little_memory_is_none() {
        let (turn, words) = memory(3);
        assert!(Slot::over(&turn, &words).is_none() && Slot::over(&turn, &[]).is_none());
    }
}
