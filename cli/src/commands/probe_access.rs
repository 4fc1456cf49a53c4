//! `trustshim probe-access`: the other process of `doctor --as-user`. Nobody types it.

use crate::access::answer_attempts;
use crate::error::{CliError, Ended};
use crate::output;

/// Used by `trustshim doctor --as-user`
#[derive(clap::Args)]
#[command(hide = true, after_help = "Example: trustshim doctor --as-user nginx starts it.")]
pub struct Args {}

pub fn run() -> Result<Ended, CliError> {
    output::print_json(&answer_attempts()?)?;
    Ok(Ended::Well)
}
