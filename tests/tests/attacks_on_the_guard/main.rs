//! What DESIGN calls attacks, carried out by unprivileged users against an installation with the guard. Each has its
//! control: without the attack the same is permitted.

mod around;
mod connections;
mod frames;
mod from_inside;
mod from_outside;
mod programs;
mod signed;
mod slots;
mod stalls;
mod supervised;
