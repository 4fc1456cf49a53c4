//! The few raw Linux calls that Trustshim needs, each behind a safe function.
//!
//! Nothing here starts a thread, takes a lock or writes anywhere: it runs in other people's processes.

mod clock;
pub mod confine;
mod environment;
mod error;
mod fork_guard;
pub mod futex;
pub mod loader;
mod memory;
mod nonce_page;
mod of_process;
pub mod peer;
mod process;
mod shared_counter;
mod shared_memory;
pub mod socket;
mod thread;

pub use clock::boottime_ms;
pub use environment::with_variable;
pub use error::LinuxError;
pub use memory::page_size;
pub use nonce_page::{NONCE, NoncePage};
pub use of_process::OfProcess;
pub use process::{dumpable, is_secure_execution};
pub use shared_counter::SharedCounter;
pub use shared_memory::{SharedMemory, sealed_memory};
pub use thread::{preemptions, processor, this_thread};
