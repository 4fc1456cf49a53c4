//! The policy server driven from outside: its routes in this process, and the real command with its database.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod appraisal;
mod approval;
mod attest;
mod connections;
mod credentials;
mod durability;
mod enrollment;
mod grants;
mod handed_in;
mod host;
mod hostile_evidence;
mod installation;
mod killed;
mod load;
mod observing;
mod operators;
mod process;
mod reference_values;
mod requests;
mod sets;
mod storage;
mod taking_back;
