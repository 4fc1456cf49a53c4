//! `trustshim grant`: which component may do what with which key.

use attestation::api::{GrantRecord, GrantRequest, GrantTerms};
use attestation::grant::Operation;
use attestation::key_uri::KeyUri;
use attestation::token::Mode;
use clap::{Subcommand, ValueEnum};
use policy_client::segment;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Adds, lists and removes grants
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim grant list
  trustshim grant add --component nginx --key 'pkcs11:token=web;object=tls;type=private' --operations sign
  trustshim grant remove G-12")]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lets a component use a key
    #[command(
        after_help = "Example: trustshim grant add --component nginx --key 'pkcs11:token=web;object=tls;type=private' \\
             --operations sign"
    )]
    Add {
        /// Must have been approved
        #[arg(long)]
        component: String,
        /// RFC 7512 URI: serial or token, type, and id or object
        #[arg(long, value_name = "URI", value_parser = key)]
        key: String,
        /// Such as sign,decrypt, or all
        #[arg(long, value_name = "LIST", value_parser = operations)]
        operations: Operations,
        /// Only where the host attests in this mode
        #[arg(long)]
        mode: Option<ModeName>,
        /// The URI may match more than one key
        #[arg(long)]
        many: bool,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Shows every grant
    #[command(after_help = "Example: trustshim grant list --json")]
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Takes a grant back
    #[command(after_help = "Example: trustshim grant remove G-12")]
    Remove {
        /// Such as G-12
        id: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Inline,
    Guarded,
}

/// A list of operations from the command line: not empty, no duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(pub Vec<Operation>);

/// Reads `sign,decrypt` or `all`.
pub fn operations(text: &str) -> Result<Operations, String> {
    if text.trim() == "all" {
        return Ok(Operations(Operation::ALL.to_vec()));
    }
    let mut operations = text
        .split(',')
        .map(|name| {
            Operation::ALL.into_iter().find(|operation| operation.name() == name.trim()).ok_or_else(|| {
                let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
                format!("{name:?} is no operation; there are {} and all", names.join(", "))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    operations.sort_unstable();
    operations.dedup();
    Ok(Operations(operations))
}

/// A key URI that can be read; whether it is narrow enough is [`terms`]'s question.
pub fn key(text: &str) -> Result<String, String> {
    KeyUri::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Refuses a URI that may name several keys, unless that is wanted.
pub fn terms(
    key: &str,
    operations: &Operations,
    many: bool,
    mode: Option<Mode>,
) -> Result<GrantTerms, CliError> {
    let names_one = KeyUri::parse(key).is_ok_and(|uri| uri.names_one_key());
    if !names_one && !many {
        return Err(CliError::Usage(format!(
            "{key} may name more than one key: add token= or serial=, type=, and object= or id=; or say --many"
        )));
    }
    Ok(GrantTerms { key: key.to_owned(), operations: operations.0.clone(), many, mode })
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    match &args.command {
        Command::Add { component, key, operations, mode, many, json } => {
            let mode = mode.map(|mode| match mode {
                ModeName::Inline => Mode::Inline,
                ModeName::Guarded => Mode::Guarded,
            });
            let request =
                GrantRequest { component: component.clone(), terms: terms(key, operations, *many, mode)? };
            let record: GrantRecord = args.connection.operator()?.post("/v1/grants", &request)?;
            if *json {
                output::print_json(&record)?;
            } else {
                output::print(&format!("Granted: {}", describe(&record)))?;
            }
        }
        Command::List { json } => {
            let records: Vec<GrantRecord> = args.connection.operator()?.get("/v1/grants")?;
            if *json { output::print_json(&records)? } else { output::print(&list(&records))? }
        }
        Command::Remove { id } => {
            args.connection.operator()?.delete(&format!("/v1/grants/{}", segment(id)))?;
            output::print(&format!(
                "Removed: {}. Tokens that carry it end within their lifetime.",
                output::one_line(id)
            ))?;
        }
    }
    Ok(Ended::Well)
}

/// One grant in one line.
pub fn describe(record: &GrantRecord) -> String {
    output::one_line(&format!(
        "{}: {} may {} with {}",
        record.id,
        record.component,
        names(&record.terms.operations),
        record.terms.key
    ))
}

/// `sign, decrypt`, or `all operations`.
pub fn names(operations: &[Operation]) -> String {
    if operations.len() == Operation::ALL.len() {
        return "all operations".to_owned();
    }
    operations.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
}

fn list(records: &[GrantRecord]) -> String {
    output::table(
        ["id", "component", "operations", "key", "keys", "mode", "granted"],
        records.iter().map(|record| {
            [
                record.id.clone(),
                record.component.clone(),
                names(&record.terms.operations),
                record.terms.key.clone(),
                if record.terms.many { "MANY" } else { "one" }.to_owned(),
                record.terms.mode.map_or("any", Mode::name).to_owned(),
                date::utc(record.granted_at),
            ]
        }),
        "Nothing is granted; `trustshim approve … --grant` or `trustshim grant add` grants.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "pkcs11:token=web;object=tls;type=private";

    #[test]
    fn operations_are_read_sorted_and_once() {
        assert_eq!(operations("sign,decrypt, sign").unwrap().0, [Operation::Decrypt, Operation::Sign]);
        assert_eq!(operations("all").unwrap().0, Operation::ALL);
        for text in ["", ",", "sign,", "Sign", "sign decrypt", "all,sign"] {
            assert!(operations(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wide_uri_needs_the_word_many() {
        let sign = Operations(vec![Operation::Sign]);
        assert!(terms(ONE, &sign, false, None).is_ok());
        assert!(matches!(terms("pkcs11:token=web", &sign, false, None), Err(CliError::Usage(_))));
        assert!(terms("pkcs11:token=web", &sign, true, None).unwrap().many);
    }

    #[test]
    fn a_grant_reads_as_a_sentence() {
        let terms = terms(ONE, &operations("sign").unwrap(), false, None).unwrap();
        let record =
            GrantRecord { id: "G-1".to_owned(), component: "nginx".to_owned(), terms, granted_at: 0 };
        assert_eq!(describe(&record), format!("G-1: nginx may sign with {ONE}"));
        assert!(list(&[record]).contains("G-1  nginx      sign        pkcs11:token=web"));
    }
}
