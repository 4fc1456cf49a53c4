//! On which processor a connection's thread runs: where it likes, or where its client does.

use guard_wire::Processor;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of the calling thread.
pub(super) struct Processors {
    /// Those that it had at first; `None` where the kernel does not say.
    all: Option<CpuSet>,
    /// Which of them it keeps to.
    kept: Processor,
}

impl Processors {
    /// As they are.
    pub(super) fn of_this_thread() -> Self {
        Self { all: sched_getaffinity(None).ok(), kept: Processor::Any }
    }

    /// Whether it does not run anywhere.
    pub(super) fn are_restricted(&self) -> bool {
        self.kept != Processor::Any
    }

    /// Runs where it is best: keeps to a processor, or leaves one. The numbers may come from the client, whose calls have it so.
    pub(super) fn keep_to(&mut self, wanted: Processor) {
        let Some(all) = self.all else { return };
        let (wanted, set) = match chosen(all, wanted) {
            Some(set) => (wanted, set),
            None => (Processor::Any, all),
        };
        if wanted == self.kept {
            return;
        }
        // Where that may not be, it goes on where it is: only slower.
        if sched_setaffinity(None, &set).is_ok() {
            self.kept = wanted;
        }
        if let Processor::AnyBut(_) = wanted {
            // It has left that one. Should others turn out to be where it is now, the kernel can have it back there.
            self.keep_to(Processor::Any);
        }
    }
}

/// Those of `all` that are wanted, where there are any.
fn chosen(all: CpuSet, wanted: Processor) -> Option<CpuSet> {
    let index =
        |number| usize::try_from(number).ok().filter(|index| *index < CpuSet::MAX_CPU && all.is_set(*index));
    match wanted {
        Processor::Any => Some(all),
        Processor::Only(number) => {
            let mut one = CpuSet::new();
            one.set(index(number)?);
            Some(one)
        }
        Processor::AnyBut(number) => {
            let mut others = all;
            others.unset(index(number)?);
            (others.count() > 0).then_some(others)
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
    fn a_thread_keeps_to_a_processor_or_leaves_it_and_may_have_all_again() {
        let before = those_of_this_thread();
        let last = *before.last().unwrap();
        let others = &before[..before.len() - 1];
        let mut processors = Processors::of_this_thread();
        processors.keep_to(Processor::Only(last as u32));
        assert_eq!(those_of_this_thread(), [last]);
        // It may be moved back before it can look: that is not so each time.
        let has_left = (0..100).any(|_| {
            processors.keep_to(Processor::Only(last as u32));
            assert_eq!(those_of_this_thread(), [last]);
            processors.keep_to(Processor::AnyBut(last as u32));
            let is_there = linux_ffi::processor();
            assert_eq!(those_of_this_thread(), before);
            is_there != Some(last as u32)
        });
        assert_eq!(has_left, !others.is_empty(), "one cannot leave the only one");
        processors.keep_to(Processor::Only(last as u32));
        processors.keep_to(Processor::Any);
        assert_eq!(those_of_this_thread(), before);
        for kept in [Processor::Only, Processor::AnyBut] {
            for there_is_none in [CpuSet::MAX_CPU as u32 - 1, CpuSet::MAX_CPU as u32, u32::MAX] {
                processors.keep_to(Processor::Only(last as u32));
                processors.keep_to(kept(there_is_none));
                assert_eq!(those_of_this_thread(), before, "{there_is_none}");
            }
        }
    }
}
