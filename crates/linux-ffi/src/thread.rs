//! What the kernel says about the calling thread.

use core::mem::MaybeUninit;

/// How often another thread was given the calling thread's processor while that wanted to go on (getrusage(2), `ru_nivcsw`).
/// To offer it with `sched_yield` counts, too, where somebody took it. 0 where the kernel does not say.
pub fn preemptions() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for the write of one `rusage`, which is all that the call does with it.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: the call succeeded and has therefore written the whole structure.
    u64::try_from(unsafe { usage.assume_init() }.ru_nivcsw).unwrap_or(0)
}

/// The number of the processor that the calling thread runs on, if it has not left it this very moment (getcpu(2)).
pub fn processor() -> Option<u32> {
    // SAFETY: the call takes nothing and touches no memory of ours.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// More threads than there are processors, none of which sleeps.
    #[test]
    fn whoever_has_to_share_its_processor_is_told() {
        let threads = 2 * std::thread::available_parallelism().unwrap().get();
        let was_preempted = AtomicBool::new(false);
        let end = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let before = preemptions();
                    while !was_preempted.load(Ordering::Relaxed) && Instant::now() < end {
                        if preemptions() > before {
                            was_preempted.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(was_preempted.into_inner());
    }
}
