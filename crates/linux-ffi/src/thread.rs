//! What the kernel says about the calling thread.

use core::mem::MaybeUninit;

/// Tells the calling thread from all others of its process that live; one that begins later may be called the same as one that has
/// ended. Never 0. It is in a register: thread-local storage of a library that is loaded late costs a call of the loader.
#[inline]
pub fn this_thread() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let thread;
        // SAFETY: every thread has a control block that begins with its own address (ELF Handling For Thread-Local Storage,
        // section 3.4.6); that is read, and nothing else.
        unsafe {
            core::arch::asm!(
                "mov {}, fs:[0]",
                out(reg) thread,
                options(pure, readonly, nostack, preserves_flags)
            );
        }
        thread
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the call takes nothing, and gives the address of what the C library keeps of the thread.
    unsafe {
        libc::pthread_self()
    }
}

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

    #[test]
    fn threads_that_live_are_called_differently() {
        let all = std::sync::Barrier::new(8);
        let named = || {
            let this = this_thread();
            all.wait();
            assert_eq!(this_thread(), this);
            this
        };
        let mut names: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(named)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == 8 && !names.contains(&0), "{names:?}");
    }

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
