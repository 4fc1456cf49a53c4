//! One file per command: its options, what it does, what it shows.

mod approval_review;
pub mod approve;
pub mod attest;
pub mod component;
pub mod decisions;
pub mod doctor;
pub mod enroll;
pub mod explain;
pub mod grant;
mod grant_terms;
pub mod hsm;
pub mod init;
pub mod measure;
pub mod probe_access;
pub mod set;
pub mod status;
pub mod token;
