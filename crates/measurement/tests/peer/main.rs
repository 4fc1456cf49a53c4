//! Measures real processes from outside: each test starts this program again as a client, which connects, shows its nonce
//! and then does what it is told. Needs root, and a `/var/tmp` on a file system that accounts for changes.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod client;
mod equality;
mod files;
mod namespaces;
mod pinning;
mod privileges;
mod stage;
mod state;

#[test]
#[ignore = "the client of the other tests"]
fn the_client() {
    client::play();
}

#[test]
#[ignore = "the measurer of another test"]
fn the_measurer() {
    privileges::play();
}
