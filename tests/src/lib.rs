//! What the whole-system scenarios under `tests/` stand on: a complete installation in a temporary directory, real clients
//! with a bounded time, a probe that makes any PKCS#11 call, and the spy token's record.

#![forbid(unsafe_code)]

pub mod application;
pub mod attacked;
pub mod bad_calls;
pub mod caller;
pub mod client;
pub mod compiled;
pub mod every_call;
pub mod guarded;
pub mod mode;
pub mod one_token;
pub mod openssl;
pub mod operations;
pub mod parity;
pub mod pkcs11_tool;
pub mod probe;
pub mod processes;
pub mod root;
pub mod spied;
pub mod spy_record;
pub mod stack;
pub mod watched;

pub use application::Application;
pub use caller::{Caller, Outcome};
pub use client::Finished;
pub use guarded::Guarded;
pub use mode::Mode;
pub use parity::{Access, Parity};
pub use pkcs11_tool::Tool;
pub use probe::{Probe, Reply};
pub use spied::Spied;
pub use spy_record::SpyRecord;
pub use stack::{Approval, Stack, Token};
pub use watched::{Program, Watched};
