//! `trustshim component`: approved software and its versions.

mod manifest;
mod show;

use std::path::PathBuf;

use attestation::api::{ComponentMode, ComponentRecord, FloorRequest, RetiredFile};
use attestation::digest::Digest;
use clap::{Subcommand, ValueEnum};
use policy_client::{Client, segment};
use serde_json::json;

pub use self::manifest::write as write_manifest;
pub use self::show::values;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Approved software: versions, their floor, the mode, manifests
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim component list
  trustshim component show nginx
  trustshim component retire nginx 1.22.1-9
  trustshim component retire --file 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  trustshim component floor nginx 1.24.0-1
  trustshim component mode nginx enforce
  trustshim component export nginx 1.24.0-1 --output nginx.json
  trustshim component import nginx.json --component nginx --version 1.24.0-1")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows every version of every component
    #[command(after_help = "Example: trustshim component list")]
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Shows the reference values of one component
    #[command(after_help = "Example: trustshim component show nginx")]
    Show {
        /// Component
        name: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Takes back the approval of one version, or of one file wherever it is approved
    #[command(after_help = "Examples:
  trustshim component retire nginx 1.22.1-9
  trustshim component retire nginx --file DIGEST   refuses a digest that nginx does not have
  trustshim component retire --file DIGEST --undo")]
    Retire(Retire),
    /// Shows the files that count nowhere any more
    #[command(after_help = "Example: trustshim component retired-files")]
    RetiredFiles {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Sets the oldest version that counts; those approved before it get no new trust token
    #[command(after_help = "Examples:
  trustshim component floor nginx 1.24.0-1
  trustshim component floor nginx --none")]
    Floor {
        /// Component
        name: String,
        /// The oldest version that counts
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        version: Option<String>,
        /// Takes the floor away
        #[arg(long)]
        none: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Sets what becomes of evidence that differs: refused, or allowed and recorded
    #[command(after_help = "Example: trustshim component mode nginx observe")]
    Mode {
        /// Component
        name: String,
        /// enforce refuses; observe allows the approved user's process at a known path, and records why it would be refused
        mode: ModeName,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Writes the reference values of one version as a manifest
    #[command(after_help = "Example: trustshim component export nginx 1.24.0-1 --output nginx.json")]
    Export {
        /// Component
        name: String,
        /// Version
        version: String,
        /// Where to; without it to standard output. Nothing is overwritten
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Makes a new version from a manifest, as `trustshim measure` or `component export` wrote it
    #[command(
        after_help = "Example: trustshim component import nginx.json --component nginx --version 1.24.0-1"
    )]
    Import(manifest::Import),
}

#[derive(clap::Args)]
struct Retire {
    /// Component
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Version
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    version: Option<String>,
    /// SHA-256 of a file: it counts in no component and no set any more
    #[arg(long, value_name = "DIGEST")]
    file: Option<Digest>,
    /// Lets the file count again
    #[arg(long, requires = "file", conflicts_with = "version")]
    undo: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Enforce,
    Observe,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    match &args.command {
        Command::List { json } => {
            let records: Vec<ComponentRecord> = client.get("/v1/components")?;
            if *json { output::print_json(&records)? } else { output::print(&show::list(&records))? }
        }
        Command::Show { name, json } => {
            let record = component(&client, name)?;
            if *json { output::print_json(&record)? } else { output::print(&show::show(&record))? }
        }
        Command::Retire(retire) => match (&retire.file, &retire.name, &retire.version) {
            (Some(file), name, _) => retire_file(&client, retire, *file, name.as_deref())?,
            (None, Some(name), Some(version)) => {
                let path = format!("/v1/components/{}/versions/{}/retire", segment(name), segment(version));
                let record: ComponentRecord = client.post(&path, &json!({}))?;
                let news = format!("Retired: {name} {version} {ENDS}");
                changed(&record, retire.json, &news)?;
            }
            (None, _, _) => {
                return Err(CliError::Usage("name a component and a version, or --file".to_owned()));
            }
        },
        Command::RetiredFiles { json } => list_retired(&client, *json)?,
        Command::Floor { name, version: Some(version), none: _, json } => {
            let request = FloorRequest { version: version.clone() };
            let record: ComponentRecord = client.post(&format!("{}/floor", path(name)), &request)?;
            changed(&record, *json, &format!("Floor: what was approved before {name} {version} {ENDS}"))?;
        }
        Command::Floor { name, version: None, none: _, json } => {
            client.delete(&format!("{}/floor", path(name)))?;
            let news = format!("No floor: every version of {name} that is not retired counts.");
            changed(&component(&client, name)?, *json, &news)?;
        }
        Command::Mode { name, mode, json } => {
            let verb = match mode {
                ModeName::Enforce => ComponentMode::Enforce,
                ModeName::Observe => ComponentMode::Observe,
            };
            let record: ComponentRecord =
                client.post(&format!("{}/{}", path(name), verb.name()), &json!({}))?;
            let news = match mode {
                ModeName::Enforce => format!("Enforced: evidence that differs from {name} is refused."),
                ModeName::Observe => format!(
                    "Observed: whatever the approved user runs under a path of {name} gets its grants; `trustshim \
                     decisions` shows what would have been refused."
                ),
            };
            changed(&record, *json, &news)?;
        }
        Command::Export { name, version, output } => {
            manifest::export(&component(&client, name)?, version, output.as_deref())?;
        }
        Command::Import(import) => manifest::import(&client, import)?,
    }
    Ok(Ended::Well)
}

const ENDS: &str = "gets no new trust token; those that are held end within their lifetime.";

fn path(name: &str) -> String {
    format!("/v1/components/{}", segment(name))
}

fn component(client: &Client, name: &str) -> Result<ComponentRecord, CliError> {
    Ok(client.get(&path(name))?)
}

fn changed(record: &ComponentRecord, json: bool, news: &str) -> Result<(), CliError> {
    if json {
        return output::print_json(record);
    }
    let record = core::slice::from_ref(record);
    output::print(&format!("{}\n{}", show::list(record), output::one_line(news)))
}

fn retire_file(client: &Client, retire: &Retire, file: Digest, name: Option<&str>) -> Result<(), CliError> {
    if let Some(name) = name
        && !has_file(&component(client, name)?, file)
    {
        return Err(CliError::Usage(format!(
            "no version of {name} has a file {file} of its own; `trustshim component show {name}` lists them"
        )));
    }
    let path = format!("/v1/retired-files/{file}");
    if retire.undo {
        client.delete(&path)?;
        return output::print(&format!("Counts again wherever it is approved: {file}"));
    }
    let files: Vec<RetiredFile> = client.post(&path, &json!({}))?;
    if retire.json {
        return output::print_json(&files);
    }
    output::print(&format!("Retired: whatever maps or reads {file} {ENDS}"))
}

fn has_file(record: &ComponentRecord, file: Digest) -> bool {
    record.versions.iter().any(|version| {
        let reference = &version.reference;
        let attester = &reference.attester;
        [&reference.executables, &reference.libraries, &reference.scripts, &reference.configuration]
            .into_iter()
            .flat_map(|files| files.values())
            .chain([&attester.shim, &attester.real_module, &attester.configuration])
            .any(|digests| digests.contains(&file))
    })
}

fn list_retired(client: &Client, json: bool) -> Result<(), CliError> {
    let files: Vec<RetiredFile> = client.get("/v1/retired-files")?;
    if json {
        return output::print_json(&files);
    }
    let rows = files
        .iter()
        .map(|file| [file.sha256.to_string(), date::utc(file.retired_at), file.retired_by.clone()]);
    output::print(&output::table(["sha-256", "retired", "by"], rows, "No file is retired."))
}
