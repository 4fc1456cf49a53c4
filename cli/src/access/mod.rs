//! What another user of this host can reach: tried as that user, in a process of its own, and never concluded from modes.

mod attempt;
mod places;
mod prober;
mod user;

pub use attempt::{Answer, Attempt, How};
pub use places::{Process, below, guard_processes, token_places, yama};
pub use prober::{answer_attempts, try_as};
pub use user::{User, group_number};
