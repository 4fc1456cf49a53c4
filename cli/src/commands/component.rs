//! `trustshim component`: approved software and its versions.

use attestation::api::{ComponentRecord, VersionRecord};
use attestation::reference::{ArgvRule, PrincipalRule};
use clap::Subcommand;
use policy_client::segment;
use serde_json::json;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Lists, shows and retires approved software
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim component list
  trustshim component show nginx
  trustshim component retire nginx 1.22.1-9")]
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
    /// Takes back the approval of one version: it gets no new trust token
    #[command(after_help = "Example: trustshim component retire nginx 1.22.1-9")]
    Retire {
        /// Component
        name: String,
        /// Version
        version: String,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    match &args.command {
        Command::List { json } => {
            let records: Vec<ComponentRecord> = client.get("/v1/components")?;
            if *json { output::print_json(&records)? } else { output::print(&list(&records))? }
        }
        Command::Show { name, json } => {
            let record: ComponentRecord = client.get(&format!("/v1/components/{}", segment(name)))?;
            if *json { output::print_json(&record)? } else { output::print(&show(&record))? }
        }
        Command::Retire { name, version, json } => {
            let path = format!("/v1/components/{}/versions/{}/retire", segment(name), segment(version));
            let record: ComponentRecord = client.post(&path, &json!({}))?;
            if *json {
                output::print_json(&record)?;
            } else {
                output::print(&format!(
                    "{}\nRetired: {name} {version} gets no new trust token; those that are held end within their lifetime.",
                    list(&[record])
                ))?;
            }
        }
    }
    Ok(Ended::Well)
}

fn list(records: &[ComponentRecord]) -> String {
    let rows = records.iter().flat_map(|record| {
        record.versions.iter().map(|version| {
            [
                record.name.clone(),
                version.version.clone(),
                standing(version),
                date::utc(version.approved_at),
                kind(version).to_owned(),
                version.reference.executables.keys().cloned().collect::<Vec<_>>().join(", "),
            ]
        })
    });
    output::table(
        ["component", "version", "state", "approved", "kind", "executable"],
        rows,
        "Nothing is approved; `trustshim decisions` shows what was refused.",
    )
}

fn standing(version: &VersionRecord) -> String {
    match version.retired_at {
        Some(at) => format!("retired {}", date::utc(at)),
        None => "approved".to_owned(),
    }
}

fn kind(version: &VersionRecord) -> &'static str {
    if version.general_tool { "GENERAL TOOL: signs what it is told" } else { "fixed arguments" }
}

fn show(record: &ComponentRecord) -> String {
    record.versions.iter().map(|version| show_version(&record.name, version)).collect::<Vec<_>>().join("\n")
}

fn show_version(name: &str, version: &VersionRecord) -> String {
    let reference = &version.reference;
    let principal = match &reference.principal {
        PrincipalRule::Any => "any user".to_owned(),
        PrincipalRule::Exact(principal) => format!(
            "uid {}, gid {}{}",
            principal.uid,
            principal.gid,
            principal.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default()
        ),
    };
    let argv = match &reference.argv {
        ArgvRule::Any => "any".to_owned(),
        ArgvRule::Exact(argv) => argv.join(" "),
        ArgvRule::Patterns(patterns) => patterns.each.join(" "),
    };
    let files = [
        ("executable", &reference.executables),
        ("library", &reference.libraries),
        ("script", &reference.scripts),
        ("configuration", &reference.configuration),
    ];
    let rows = files.into_iter().flat_map(|(part, files)| {
        files.iter().flat_map(move |(path, digests)| {
            digests.iter().map(move |digest| [part.to_owned(), path.clone(), digest.to_string()])
        })
    });
    let attester = [
        ("shim", &reference.attester.shim),
        ("real module", &reference.attester.real_module),
        ("shim's configuration", &reference.attester.configuration),
    ];
    let attester = attester.into_iter().flat_map(|(part, digests)| {
        digests.iter().map(move |digest| ["attester".to_owned(), part.to_owned(), digest.to_string()])
    });
    let environment: String = reference
        .environment
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
        .map(|setting| format!("Environment  {}\n", output::one_line(&setting)))
        .collect();
    format!(
        "{} {}\n\
         State        {}, approved {}\n\
         Kind         {}\n\
         User         {}\n\
         Arguments    {}\n\
         {environment}\
         Run-time code generation  {}\n\n{}",
        output::one_line(name),
        output::one_line(&version.version),
        standing(version),
        date::utc(version.approved_at),
        kind(version),
        output::one_line(&principal),
        output::one_line(&argv),
        if reference.allow_jit { "allowed" } else { "not allowed" },
        output::table(["part", "path", "sha-256"], rows.chain(attester), "No files."),
    )
}
