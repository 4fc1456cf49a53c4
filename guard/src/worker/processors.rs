//! On which processor a connection's thread runs: where it likes, or where its client does.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of the calling thread.
pub(super) struct Processors {
    /// Those that it had at first; `None` where the kernel does not say.
    all: Option<CpuSet>,
    /// It runs on that one only.
    only: Option<usize>,
}

impl Processors {
    /// As they are.
    pub(super) fn of_this_thread() -> Self {
        Self { all: sched_getaffinity(None).ok(), only: None }
    }

    /// Whether it does not run anywhere.
    pub(super) const fn are_restricted(&self) -> bool {
        self.only.is_some()
    }

    /// Runs on that processor, or anywhere. It may come from the client, whose calls have it so.
    pub(super) fn keep_to(&mut self, wanted: Option<u32>) {
        let Some(all) = self.all else { return };
        let only = wanted
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| *number < CpuSet::MAX_CPU && all.is_set(*number));
        if only == self.only {
            return;
        }
        let set = only.map_or(all, |number| {
            let mut one = CpuSet::new();
            one.set(number);
            one
        });
        // Where that may not be, it goes on where it is: only slower.
        if sched_setaffinity(None, &set).is_ok() {
            self.only = only;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn those_of_this_thread() -> Vec<usize> {
        let all = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number)).collect()
    }

    #[test]
    fn a_thread_keeps_to_a_processor_until_it_may_have_all_again() {
        let before = those_of_this_thread();
        let last = *before.last().unwrap();
        let mut processors = Processors::of_this_thread();
        processors.keep_to(Some(last as u32));
        assert_eq!(those_of_this_thread(), [last]);
        processors.keep_to(None);
        assert_eq!(those_of_this_thread(), before);
        processors.keep_to(Some(last as u32));
        for there_is_none in [CpuSet::MAX_CPU as u32 - 1, CpuSet::MAX_CPU as u32, u32::MAX] {
            processors.keep_to(Some(there_is_none));
            assert_eq!(those_of_this_thread(), before, "{there_is_none}");
        }
    }
}
