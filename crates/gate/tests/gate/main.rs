//! The gate as its users see it, with a clock and an attester that the tests decide on.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod holding;
mod world;
