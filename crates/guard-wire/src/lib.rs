//! The frames between shim and guard: a header of 16 bytes and a body of words and byte strings. Everything is bounded, and
//! a body is read strictly: whatever is not what a frame of its code holds is an error.

#![forbid(unsafe_code)]

mod atomics;
mod body;
mod control;
mod crowd;
mod error;
mod header;
mod naps;
mod placement;
mod slot;
mod waiting;

pub use body::{Reader, Writer};
pub use control::{Control, MAX_INTERFACES, MAX_REASON, NONCE};
pub use crowd::Crowd;
pub use error::WireError;
pub use header::{Code, HEADER, Header, Kind, MAX_BODY, MAX_CONTROL, VERSION};
pub use placement::Processor;
pub use slot::{Passed, SLOT, Side, Sleep, Slot, Whereabouts};
pub use waiting::{OfThread, Waiter};
