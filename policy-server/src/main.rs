//! The `policy-server` command: reads the command line and hands over.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use policy_server::cli::{Cli, Command, Operator};
use policy_server::error::ServerError;
use policy_server::{init, operators, serve};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Of a line that nobody reads any more it would tell standard error, and panic, whoever wrote the line.
        .log_internal_errors(false)
        .init();
    match run(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nowhere else to say so.
            let _ = writeln!(std::io::stderr(), "policy-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), ServerError> {
    match command {
        Command::Init(arguments) => init::init(&arguments.directory, arguments.listen, &arguments.dns).await,
        Command::Serve(arguments) => serve::serve(&arguments.directory, arguments.print_address).await,
        Command::Operator(Operator::Add { directory, name, role, credential }) => {
            operators::add(&directory, &name, role, &credential).await
        }
        Command::Operator(Operator::Remove { directory, name }) => operators::remove(&directory, &name).await,
        Command::Operator(Operator::List { directory, json }) => operators::list(&directory, json).await,
    }
}
