//! `trustshim set`: named library sets, which several components take digests from.

use std::path::PathBuf;

use attestation::api::{AddFilesRequest, CreateSetRequest, SetFloorRequest, SetRecord, SetSummary};
use attestation::decision::DecisionId;
use attestation::digest::Digest;
use clap::Subcommand;
use measurement::{Hashing, measure_file};
use policy_client::{Client, segment};
use serde_json::json;

use super::decisions;
use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Library sets: digests by path that several components share
///
/// A component that names a set may map the libraries that it lists itself, with whatever content the set knows
/// for them: an update of a library is added to the set once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim set create debian-12
  trustshim set add debian-12 /lib/x86_64-linux-gnu/libc.so.6 /lib/x86_64-linux-gnu/libcrypto.so.3
  trustshim set add debian-12 --decision D-7F3K2QW0X4MZ
  trustshim set show debian-12
  trustshim set floor debian-12 4
  trustshim approve --last --component signer --version 2 --library-set debian-12")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows every set
    #[command(after_help = "Example: trustshim set list")]
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Shows the files of one set, each with the addition that brought it
    #[command(after_help = "Example: trustshim set show debian-12")]
    Show {
        /// Set
        name: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Makes an empty set
    #[command(after_help = "Example: trustshim set create debian-12")]
    Create {
        /// Set
        name: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Adds files of this machine, or the libraries that were measured for a decision
    #[command(after_help = "Examples:
  trustshim set add debian-12 /lib/x86_64-linux-gnu/libc.so.6
  trustshim set add debian-12 --decision D-7F3K2QW0X4MZ")]
    Add {
        /// Set
        name: String,
        /// Files, under the path at which they are mapped
        #[arg(required_unless_present = "decision", conflicts_with = "decision")]
        files: Vec<PathBuf>,
        /// The libraries of this decision's evidence, as `trustshim explain` shows them
        #[arg(long, value_name = "ID", value_parser = decisions::id)]
        decision: Option<DecisionId>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Sets the oldest addition that counts
    #[command(after_help = "Examples:
  trustshim set floor debian-12 4
  trustshim set floor debian-12 --none")]
    Floor {
        /// Set
        name: String,
        /// The number of an addition
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        addition: Option<u64>,
        /// Takes the floor away
        #[arg(long)]
        none: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Takes back one digest in this set; `component retire --file` does so everywhere
    #[command(after_help = "Example: trustshim set retire debian-12 DIGEST")]
    Retire {
        /// Set
        name: String,
        /// SHA-256 of the file
        digest: Digest,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Removes one digest as if it had never been added, or a set that no version names
    #[command(after_help = "Examples:
  trustshim set remove debian-12 DIGEST
  trustshim set remove debian-11")]
    Remove {
        /// Set
        name: String,
        /// SHA-256 of the file
        digest: Option<Digest>,
    },
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    match &args.command {
        Command::List { json } => {
            let sets: Vec<SetSummary> = client.get("/v1/sets")?;
            if *json { output::print_json(&sets)? } else { output::print(&list(&sets))? }
        }
        Command::Show { name, json } => {
            let record = set(&client, name)?;
            if *json { output::print_json(&record)? } else { output::print(&show(&record))? }
        }
        Command::Create { name, json } => {
            let record: SetRecord = client.post("/v1/sets", &CreateSetRequest { name: name.clone() })?;
            changed(&record, *json)?;
        }
        Command::Add { name, files, decision, json } => {
            let request = match decision {
                Some(id) => AddFilesRequest::Decision(*id),
                None => AddFilesRequest::Files(measured(files)?),
            };
            let record: SetRecord = client.post(&format!("{}/files", path(name)), &request)?;
            changed(&record, *json)?;
        }
        Command::Floor { name, addition: Some(since), none: _, json } => {
            let request = SetFloorRequest { since: *since };
            let record: SetRecord = client.post(&format!("{}/floor", path(name)), &request)?;
            changed(&record, *json)?;
        }
        Command::Floor { name, addition: None, none: _, json } => {
            client.delete(&format!("{}/floor", path(name)))?;
            changed(&set(&client, name)?, *json)?;
        }
        Command::Retire { name, digest, json } => {
            let path = format!("{}/files/{digest}/retire", path(name));
            let record: SetRecord = client.post(&path, &json!({}))?;
            changed(&record, *json)?;
        }
        Command::Remove { name, digest: Some(digest) } => {
            client.delete(&format!("{}/files/{digest}", path(name)))?;
            output::print(&output::one_line(&format!("Removed from {name}: {digest}")))?;
        }
        Command::Remove { name, digest: None } => {
            client.delete(&path(name))?;
            output::print(&output::one_line(&format!("Removed: {name}")))?;
        }
    }
    Ok(Ended::Well)
}

fn path(name: &str) -> String {
    format!("/v1/sets/{}", segment(name))
}

fn set(client: &Client, name: &str) -> Result<SetRecord, CliError> {
    Ok(client.get(&path(name))?)
}

/// Path and digest as a process that maps the file would be measured: without symbolic links.
fn measured(files: &[PathBuf]) -> Result<Vec<(String, Digest)>, CliError> {
    files
        .iter()
        .map(|file| {
            let real = file.canonicalize().map_err(|source| CliError::File { path: file.clone(), source })?;
            let measured = measure_file(&real, &Hashing::afresh())?;
            Ok((measured.path, measured.sha256))
        })
        .collect()
}

fn changed(record: &SetRecord, json: bool) -> Result<(), CliError> {
    if json {
        output::print_json(record)
    } else {
        output::print(&list(core::slice::from_ref(&record.summary)))
    }
}

fn list(sets: &[SetSummary]) -> String {
    output::table(
        ["set", "additions", "floor", "files that count", "past files"],
        sets.iter().map(|set| {
            [
                set.name.clone(),
                set.newest.to_string(),
                if set.floor == 0 { "-".to_owned() } else { set.floor.to_string() },
                set.current.to_string(),
                set.past.to_string(),
            ]
        }),
        "There is no library set; `trustshim set create` makes one.",
    )
}

fn show(record: &SetRecord) -> String {
    let floor = record.summary.floor;
    let rows = record.files.iter().map(|file| {
        let state = match file.retired_at {
            Some(at) => format!("retired {}", date::utc(at)),
            None if file.since < floor => "below the floor".to_owned(),
            None => "counts".to_owned(),
        };
        [file.since.to_string(), state, file.path.clone(), file.sha256.to_string()]
    });
    let rows = output::table(["addition", "state", "path", "sha-256"], rows, "The set is empty.");
    format!("{}\n{rows}", list(core::slice::from_ref(&record.summary)))
}

#[cfg(test)]
mod tests {
    use attestation::api::SetFile;

    use super::*;

    #[test]
    fn files_are_named_as_the_kernel_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("libx.so.1");
        std::fs::write(&real, "x").unwrap();
        let link = directory.path().join("libx.so");
        std::os::unix::fs::symlink("libx.so.1", &link).unwrap();
        let measured = measured(&[link]).unwrap();
        assert_eq!(measured, [(real.to_str().unwrap().to_owned(), Digest::of(b"x"))]);
    }

    #[test]
    fn what_counts_and_what_does_not_is_told_apart() {
        let file = |since, retired_at| SetFile {
            path: "/lib/a".to_owned(),
            sha256: Digest::of(b"a"),
            since,
            added_at: 0,
            retired_at,
        };
        let summary = SetSummary { name: "s".to_owned(), newest: 2, floor: 2, current: 1, past: 2 };
        let text = show(&SetRecord { summary, files: vec![file(1, None), file(2, None), file(2, Some(0))] });
        for part in ["1         below the floor", "2         counts", "2         retired 1970-01-01"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
