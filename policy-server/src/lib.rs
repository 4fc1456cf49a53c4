//! The verifier: appraises evidence against the policy database, issues trust tokens and records every decision.
//!
//! A request's path through the files is `routes` → `appraisal` → `issue` → `store`.

#![forbid(unsafe_code)]

pub mod appraisal;
pub mod authentication;
pub mod challenges;
pub mod cli;
mod clock;
pub mod configuration;
pub mod error;
pub mod init;
pub mod issue;
mod new_file;
pub mod operators;
mod random;
pub mod routes;
pub mod serve;
pub mod state;
pub mod store;
mod text;
