//! The protocol of shared memory (`guard_wire::Slot`), with the atomics of `loom` in place of the processor's.

#![allow(dead_code, missing_docs)]

#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/header.rs"]
mod header;
#[path = "../../src/slot.rs"]
mod slot;

mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

pub use slot::{Passed, Side, Sleep, Slot};
