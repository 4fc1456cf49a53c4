//! Tests of calls that cross over: what a layer sees and what the caller gets is what a direct call gives; what nobody sends is
//! an error; and nothing is written where the caller has no room.

mod acting;
mod answers;
mod callers;
mod layouts;
mod loopback;
mod making;
mod memory;
mod raw;
mod requests;
mod seen;
mod structures;
mod templates;
mod trial;

use super::template::{Value, value_of};
