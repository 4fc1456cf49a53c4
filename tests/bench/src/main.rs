//! Performance as ratios in one run. Started by `scripts/bench`, which makes the sandbox that it measures in.

mod attestation;
mod error;
mod installation;
mod module;
mod protocol;
mod report;
mod rounds;
mod row;
mod series;
mod statistics;
mod timing;
mod worker;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::BenchError;
use crate::installation::Installation;
use crate::report::Report;
use crate::rounds::Effort;
use crate::row::{Row, Token};

#[derive(Parser)]
#[command(about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures in the sandbox whose `env` was sourced
    Measure(Measure),
    /// Prints what --only takes
    Names,
    /// One process with one module; started by `measure`
    #[command(hide = true)]
    Worker(worker::Args),
}

#[derive(clap::Args)]
struct Measure {
    /// Holds the sandbox, as `sandbox`, and the files of the benchmark
    #[arg(long)]
    directory: PathBuf,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Writes the figures there too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures this alone
    #[arg(long)]
    only: Option<Only>,
}

/// What `--only` names: a row, or the attestation.
#[derive(Clone, Copy)]
enum Only {
    Row(Row),
    Attestation,
}

impl ValueEnum for Only {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Only; 14] = [
            Only::Row(Row::SessionInfo),
            Only::Row(Row::Random),
            Only::Row(Row::Hmac),
            Only::Row(Row::Ecdsa),
            Only::Row(Row::Rsa),
            Only::Row(Row::AesGcm),
            Only::Row(Row::GateUngated),
            Only::Row(Row::GateRandom),
            Only::Row(Row::GateSign),
            Only::Row(Row::GateEncrypt),
            Only::Row(Row::GateFlags),
            Only::Row(Row::GateMessage),
            Only::Row(Row::GateVerifySignature),
            Only::Attestation,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::Row(row) => row.to_possible_value(),
            Self::Attestation => Some("attestation".into()),
        }
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Measure(arguments) => measure(&arguments),
        Command::Names => {
            for name in Only::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
                println!("{}", name.get_name());
            }
            Ok(())
        }
        Command::Worker(arguments) => {
            worker::run(&arguments);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Measure) -> Result<(), BenchError> {
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let installation = Installation::open(&arguments.directory)?;
    let rows = match arguments.only {
        None => Row::ALL.to_vec(),
        Some(Only::Row(row)) => vec![row],
        Some(Only::Attestation) => Vec::new(),
    };
    let mut measurements = rounds::measure(&installation, Token::SoftHsm, &rows, effort)?;
    measurements.extend(rounds::measure(&installation, Token::Null, &rows, effort)?);
    let attestation = match arguments.only {
        None | Some(Only::Attestation) => Some(attestation::measure(&installation, effort)?),
        Some(Only::Row(_)) => None,
    };
    let report = Report { effort, measurements, attestation };
    print!("{}", report.text());
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", report.json());
        fs::write(path, text).map_err(BenchError::io(path.display().to_string()))?;
    }
    Ok(())
}
