//! The dynamic loader: libraries opened past this library's own `dlopen`, and the hook that such a `dlopen` is made of.
//!
//! Written for the GNU C library, whose handles are the addresses of its link maps.

mod export;
mod hook;
mod library;
mod next;
mod opening;
mod position;

pub use hook::{Answer, IsOurs, decide_dlmopen, decide_dlopen};
pub use library::Library;
pub use opening::Opening;
