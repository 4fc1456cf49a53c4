//! Whether the client still is what it was measured as: asked of the monitor when a key is used, at most every 250 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use locks::Mutex;

use crate::channel::Channel;
use crate::error::GuardError;
use crate::messages::{Looked, Question};

/// For so long a look stands, in milliseconds.
const STANDS_MS: u64 = 250;

/// The looks at one client.
#[derive(Debug)]
pub(super) struct Watch {
    /// When the last one was asked for, `CLOCK_BOOTTIME` in milliseconds.
    looked_ms: AtomicU64,
    channel: Arc<Mutex<Channel>>,
}

impl Watch {
    /// Nobody has looked yet.
    pub(super) const fn new(channel: Arc<Mutex<Channel>>) -> Self {
        Self { looked_ms: AtomicU64::new(0), channel }
    }

    /// Has the monitor look again unless it has lately, and says whether the client has changed. `change` is done before any
    /// other thread may go on.
    pub(super) fn look_again(&self, change: impl FnOnce()) -> Result<(), GuardError> {
        let now_ms = linux_ffi::boottime_ms()?;
        if stands(self.looked_ms.load(Ordering::Acquire), now_ms) {
            return Ok(());
        }
        let channel = self.channel.lock();
        // Another thread may have had it done meanwhile. The moment before the look is what counts.
        let now_ms = linux_ffi::boottime_ms()?;
        if stands(self.looked_ms.load(Ordering::Acquire), now_ms) {
            return Ok(());
        }
        match channel.ask(&Question::Look)? {
            Looked::Same => self.looked_ms.store(now_ms, Ordering::Release),
            // Neither is noted: until it has been measured, every use of a key looks again.
            Looked::Changed => change(),
            Looked::Unmeasured => {}
        }
        Ok(())
    }
}

/// A clock that went backwards makes no look last longer.
const fn stands(looked_ms: u64, now_ms: u64) -> bool {
    looked_ms != 0 && now_ms >= looked_ms && now_ms - looked_ms < STANDS_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_stands_for_a_quarter_of_a_second() {
        assert!(stands(1000, 1000) && stands(1000, 1249));
        assert!(!stands(1000, 1250) && !stands(1000, 5000));
        assert!(!stands(1000, 999), "the clock went backwards");
        assert!(!stands(0, 100), "nobody has looked yet");
    }

    #[test]
    fn whoever_cannot_be_asked_is_an_error() {
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        let watch = Watch::new(Arc::new(Mutex::new(ours)));
        watch.look_again(|| panic!("nobody has said so")).unwrap_err();
        watch.look_again(|| panic!("nobody has said so")).unwrap_err();
    }

    #[test]
    fn the_monitor_is_asked_again_until_nothing_has_changed() {
        let (ours, theirs) = Channel::pair().unwrap();
        let monitor = std::thread::spawn(move || {
            let channel = Channel::of(theirs);
            let mut asked = 0;
            while channel.receive::<Question>().unwrap().is_some() {
                asked += 1;
                let looked = match asked {
                    1 => Looked::Unmeasured,
                    2 => Looked::Changed,
                    _ => Looked::Same,
                };
                channel.send(&looked).unwrap();
            }
            asked
        });
        let watch = Watch::new(Arc::new(Mutex::new(ours)));
        let mut changes = 0;
        for _ in 0..6 {
            watch.look_again(|| changes += 1).unwrap();
        }
        drop(watch);
        assert_eq!((changes, monitor.join().unwrap()), (1, 3));
    }
}
