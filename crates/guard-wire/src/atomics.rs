//! The atomics of shared memory, in whose place the model in `model/` has its own.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
