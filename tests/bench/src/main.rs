//! Performance as ratios in one run. Started by `scripts/bench`, which makes the sandbox that it measures in.

mod attestation;
mod error;
mod guarded;
mod histogram;
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

use clap::builder::PossibleValue;
use clap::{Parser, Subcommand, ValueEnum};

use crate::error::BenchError;
use crate::guarded::Part;
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
    /// One process that becomes ready to sign, and ends; started by `measure`
    #[command(hide = true)]
    StartUp(guarded::StartUpArgs),
}

#[derive(clap::Args)]
struct Measure {
    /// Holds the sandbox, as `sandbox`, and the files of the benchmark
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Holds a sandbox of guarded mode, as `sandbox`
    #[arg(long)]
    guarded: Option<PathBuf>,
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

/// What `--only` names: a row, the attestation, or a part of guarded mode.
#[derive(Clone, Copy)]
enum Only {
    Row(Row),
    Attestation,
    Guarded(Part),
}

impl ValueEnum for Only {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Only; 21] = [
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
            Only::Guarded(Part::Row(Row::SessionInfo)),
            Only::Guarded(Part::Row(Row::Random)),
            Only::Guarded(Part::Row(Row::Hmac)),
            Only::Guarded(Part::Row(Row::Ecdsa)),
            Only::Guarded(Part::Row(Row::Rsa)),
            Only::Guarded(Part::Idle),
            Only::Guarded(Part::StartUp),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Row(row) => row.to_possible_value(),
            Self::Attestation => Some("attestation".into()),
            Self::Guarded(part) => Some(part.name().into()),
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
        Command::StartUp(arguments) => guarded::start_up(&arguments),
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
    let (mut measurements, mut attestation, mut figures) = (Vec::new(), None, None);
    if let Some(directory) = &arguments.directory {
        let installation = Installation::open(directory)?;
        let rows = match arguments.only {
            None => Row::ALL.to_vec(),
            Some(Only::Row(row)) => vec![row],
            Some(Only::Attestation | Only::Guarded(_)) => Vec::new(),
        };
        measurements = rounds::measure(&installation, Token::SoftHsm, &rows, effort)?;
        measurements.extend(rounds::measure(&installation, Token::Null, &rows, effort)?);
        attestation = match arguments.only {
            None | Some(Only::Attestation) => Some(attestation::measure(&installation, effort)?),
            Some(Only::Row(_) | Only::Guarded(_)) => None,
        };
    }
    if let Some(directory) = &arguments.guarded {
        let parts = match arguments.only {
            None => Part::ALL.to_vec(),
            Some(Only::Guarded(part)) => vec![part],
            Some(Only::Row(_) | Only::Attestation) => Vec::new(),
        };
        figures = Some(guarded::measure(directory, &parts, effort)?);
    }
    let report = Report { effort, measurements, attestation, guarded: figures };
    print!("{}", report.text());
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", report.json());
        fs::write(path, text).map_err(BenchError::io(path.display().to_string()))?;
    }
    Ok(())
}
