//! `trustshim grant`: which component may do what with which key.

use attestation::api::{GrantRecord, GrantRequest};
use clap::Subcommand;
use policy_client::segment;

use super::grant_terms::{Limits, Operations, describe, key, limits, names, operations, terms};
use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Adds, lists and removes grants
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim grant list
  trustshim grant add --component nginx --key 'pkcs11:token=web;object=tls;type=private' --operations sign
  trustshim grant add --component backup --key 'pkcs11:token=web;object=archive;type=secret-key' \\
      --operations encrypt --mechanism 0x1087 --per-second 5 --expires 30d
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
        /// For programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: Limits,
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

pub fn run(args: &Args) -> Result<Ended, CliError> {
    match &args.command {
        Command::Add { component, key, operations, limits, json } => {
            let request =
                GrantRequest { component: component.clone(), terms: terms(key, operations, limits)? };
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

fn list(records: &[GrantRecord]) -> String {
    output::table(
        ["id", "component", "operations", "key", "keys", "limits", "granted"],
        records.iter().map(|record| {
            [
                record.id.clone(),
                record.component.clone(),
                names(&record.terms.operations),
                record.terms.key.clone(),
                if record.terms.many { "MANY" } else { "one" }.to_owned(),
                output::or_dash(Some(limits(&record.terms).join(", ")).filter(|text| !text.is_empty())),
                date::utc(record.granted_at),
            ]
        }),
        "Nothing is granted; `trustshim approve … --grant` or `trustshim grant add` grants.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::grant_terms::tests::ONE;
    use super::*;

    #[test]
    fn every_grant_is_a_line_with_its_limits() {
        let terms = terms(ONE, &operations("sign").unwrap(), &Limits::default()).unwrap();
        let limited = attestation::api::GrantTerms { expires_at: Some(0), many: true, ..terms.clone() };
        let record = |id: &str, terms| GrantRecord {
            id: id.to_owned(),
            component: "nginx".to_owned(),
            terms,
            granted_at: 0,
        };
        let text = list(&[record("G-1", terms), record("G-2", limited)]);
        assert!(text.contains("G-1  nginx      sign        pkcs11:token=web"), "{text}");
        assert!(text.contains("one   -  ") && text.contains("MANY  until 1970-01-01"), "{text}");
    }
}
