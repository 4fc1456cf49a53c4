//! The gate as its users see it, with a clock and an attester that the tests decide on.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod clock;
mod concurrency;
mod ending;
mod farewell;
mod grants;
mod handed_in;
mod holding;
mod limits;
mod messages;
mod names;
mod once;
mod operations;
mod properties;
mod recall;
mod records;
mod reports;
mod tries;
mod world;
