//! `trustshim-guard`: owns the real token, measures the processes that ask for it from outside, and gates their calls.
//!
//! One program in four roles, each a process of its own with no more rights than it needs: the monitor starts the others.

#![forbid(unsafe_code)]

mod accounts;
mod attesting;
mod channel;
mod confinement;
mod error;
mod frames;
mod large;
mod measuring;
mod messages;
mod module;
mod monitor;
mod turns;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::error::GuardError;

const AFTER_HELP: &str = "\
The guard is started by systemd (trustshim-guard.socket), or by hand as root:
  trustshim-guard run --config /etc/trustshim/guard.toml

Applications reach it through libtrustshim.so with `mode = \"guarded\"` in their configuration.
What it says goes to standard error; RUST_LOG=debug says more. Refusals go where [log] in the
configuration says.

SIGTERM ends it, and with it all that it has started.

Exit status:
  0  `check` found nothing wrong
  1  could not start, or the configuration is in error; standard error says why";

/// Lets attested processes alone use the keys of an HSM, and measures them from outside.
#[derive(Parser)]
#[command(name = "trustshim-guard", version, after_help = AFTER_HELP, max_term_width = 110)]
struct CommandLine {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the guard.
    Run(Settings),
    /// Reads the configuration, says what is wrong with it, and ends.
    Check(Settings),
    /// Started by the guard: signs evidence with the attestation key.
    #[command(hide = true)]
    Attester(Settings),
    /// Started by the guard: measures processes.
    #[command(hide = true)]
    Measurer(Settings),
    /// Started by the guard: serves one process.
    #[command(hide = true)]
    Worker(Settings),
}

#[derive(Args)]
struct Settings {
    /// The guard's configuration.
    #[arg(long, value_name = "FILE", default_value = configuration::DEFAULT_GUARD_PATH)]
    config: PathBuf,
}

fn main() -> ExitCode {
    // Roles are started by way of /proc, which would name them after its link.
    let _ = rustix::thread::set_name(c"trustshim-guard");
    let command_line = CommandLine::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Of a line that nobody reads any more it would tell standard error, and panic, whoever wrote the line.
        .log_internal_errors(false)
        .init();
    match run(command_line.role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to say so.
            let _ = writeln!(std::io::stderr(), "trustshim-guard: {}", error);
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<(), GuardError> {
    match role {
        Role::Run(settings) => monitor::run(&settings.config),
        Role::Check(settings) => {
            configuration::load_guard(&settings.config).map(drop).map_err(GuardError::from)
        }
        Role::Attester(settings) => attesting::run(&settings.config),
        Role::Measurer(settings) => measuring::run(&settings.config),
        Role::Worker(settings) => worker::run(&settings.config),
    }
}
