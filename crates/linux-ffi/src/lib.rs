//! The few raw Linux calls that Trustshim needs, each behind a safe function.
//!
//! Nothing here starts a thread, takes a lock or writes anywhere: it runs in other people's processes.

mod clock;
mod environment;
mod error;
mod fork_guard;
pub mod loader;
mod memory;
mod of_process;
mod process;

pub use clock::boottime_ms;
pub use environment::with_variable;
pub use error::LinuxError;
pub use memory::page_size;
pub use of_process::OfProcess;
pub use process::{dumpable, is_secure_execution};
