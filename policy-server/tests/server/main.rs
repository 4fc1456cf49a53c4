//! The policy server driven from outside: its routes in this process, and the real command with its database.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod appraisal;
mod approval;
mod attest;
mod connections;
mod durability;
mod enrollment;
mod host;
mod installation;
mod nonces;
mod operators;
mod process;
mod requests;
