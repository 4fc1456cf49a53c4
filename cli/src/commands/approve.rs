//! `trustshim approve`: makes what was measured the reference values of a component version.
//!
//! What is shown is what is approved: the digest is computed again from the measurement on the screen.

use std::collections::{BTreeMap, BTreeSet};

use attestation::api::{
    ApproveRequest, ApproveResponse, DecidedBy, DecisionRecord, DecisionSummary, Explanation, GrantTerms,
};
use attestation::component::Component;
use attestation::decision::DecisionId;
use attestation::digest::Digest;
use policy_client::Client;

use super::approval_review;
use super::decisions;
use super::explain;
use super::grant_terms::{self, Limits, Operations};
use crate::confirm;
use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Refusals among which `--last` looks for one with evidence.
const RECENT: u32 = 100;

/// Approves what was measured for a refused decision, after showing it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim approve D-7F3K2QW0X4MZ --component nginx --version 1.24.0-1
  trustshim approve --last --component nginx --version 1.24.0-1 \\
      --grant 'pkcs11:token=web;object=tls;type=private' --operations sign
  trustshim approve --last --component pkcs11-tool --version 0.23 --any-arguments --yes
  trustshim approve --last --component signer --version 2 --library-set debian-12 \\
      --argument '2=--in=/var/spool/sign/*'

Component and version are created where they are new.
An approved version of that name gets the measured values in addition to those it has.")]
pub struct Args {
    /// Such as D-7F3K2QW0X4MZ; asks for confirmation
    #[arg(value_parser = decisions::id, required_unless_present = "last", conflicts_with = "last")]
    id: Option<DecisionId>,
    /// The newest refusal that came from evidence; asks for the first digits of the digest
    #[arg(long)]
    last: bool,
    /// Name of the software
    #[arg(long)]
    component: String,
    /// Its version
    #[arg(long)]
    version: String,
    /// Grants the use of this key in the same step
    #[arg(long, value_name = "URI", requires = "operations", value_parser = grant_terms::key)]
    grant: Option<String>,
    /// What is granted: such as sign,decrypt, or all
    #[arg(long, value_name = "LIST", requires = "grant", value_parser = grant_terms::operations)]
    operations: Option<Operations>,
    /// Accepts any arguments: a general tool, that signs what it is told
    #[arg(long)]
    any_arguments: bool,
    /// Accepts any user
    #[arg(long)]
    any_user: bool,
    /// Accepts code that is generated at run time
    #[arg(long)]
    allow_jit: bool,
    /// Argument N, counted from 0, may be whatever the pattern matches: * within a name, ** anything
    #[arg(long = "argument", value_name = "N=PATTERN", value_parser = positioned)]
    arguments: Vec<(usize, String)>,
    /// From argument N on there may be any number, each as the pattern says
    #[arg(long, value_name = "N=PATTERN", value_parser = positioned)]
    more_arguments: Option<(usize, String)>,
    /// Accepts this value too, for a variable that was set when measured
    #[arg(long = "environment", value_name = "NAME=VALUE", value_parser = setting)]
    environment: Vec<(String, String)>,
    /// Leaves the digests of the libraries that this set knows to the set
    #[arg(long = "library-set", value_name = "NAME")]
    library_sets: Vec<String>,
    /// Asks nothing: for scripts that have checked by themselves
    #[arg(long)]
    yes: bool,
    /// For programs; needs --yes
    #[arg(long, requires = "yes")]
    json: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    connection: Connection,
}

/// Reads `2=--in=*`.
fn positioned(text: &str) -> Result<(usize, String), String> {
    let (position, pattern) = text.split_once('=').ok_or("there is no `=`: write it as 2=PATTERN")?;
    let position = position.parse().map_err(|_| format!("{position:?} is no argument's number"))?;
    Ok((position, pattern.to_owned()))
}

/// Reads `NAME=VALUE`.
fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let grant = match (&args.grant, &args.operations) {
        (Some(key), Some(operations)) => Some(grant_terms::terms(key, operations, &args.limits)?),
        _ if args.limits.are_given() => {
            return Err(CliError::Usage("limits of a grant need --grant and --operations".to_owned()));
        }
        _ => None,
    };
    let mut environment = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, value) in &args.environment {
        environment.entry(name.clone()).or_default().insert(value.clone());
    }
    let client = args.connection.operator()?;
    let id = match args.id {
        Some(id) => id,
        None => last_measured(&client)?,
    };
    let explanation = explain::explanation(&client, id)?;
    let (measured, digest) = measurement(&explanation)?;
    let record: DecisionRecord = client.get(&format!("/v1/decisions/{id}"))?;
    if !args.json {
        let attester = record.evidence.as_ref().map(|evidence| &evidence.submods.attester);
        output::print(&approval_review::text(
            &explanation,
            measured,
            attester,
            &args.component,
            date::now(),
        ))?;
        output::print(&intent(args, grant.as_ref()))?;
    }
    if !args.yes {
        if args.last { confirm::digest(&digest)? } else { confirm::yes("Approve this?")? }
    }
    let request = ApproveRequest {
        measurement: digest,
        component: args.component.clone(),
        version: args.version.clone(),
        any_arguments: args.any_arguments,
        any_user: args.any_user,
        allow_jit: args.allow_jit,
        arguments: args.arguments.iter().cloned().collect(),
        more_arguments: args.more_arguments.clone(),
        environment,
        library_sets: args.library_sets.iter().cloned().collect(),
        grant,
    };
    let response: ApproveResponse = client.post(&format!("/v1/decisions/{id}/approve"), &request)?;
    if args.json {
        output::print_json(&response)?
    } else {
        output::print(&done(&response))?
    }
    Ok(Ended::Well)
}

/// The newest refusal that the server decided from a measurement.
fn last_measured(client: &Client) -> Result<DecisionId, CliError> {
    let recent: Vec<DecisionSummary> = client.get(&format!("/v1/decisions?limit={RECENT}&outcome=denied"))?;
    newest_measured(&recent).ok_or(CliError::NoRefusal { what: "with a measurement" })
}

fn newest_measured(recent: &[DecisionSummary]) -> Option<DecisionId> {
    recent
        .iter()
        .find(|decision| decision.decided_by == DecidedBy::Server && decision.measurement.is_some())
        .map(|decision| decision.id)
}

/// The measurement that will be shown, and its digest as computed here.
fn measurement(explanation: &Explanation) -> Result<(&Component, Digest), CliError> {
    let id = explanation.decision.id;
    let (Some(measured), Some(stated)) = (&explanation.measured, explanation.decision.measurement) else {
        return Err(CliError::NoMeasurement(id));
    };
    let digest = measured.measurement_digest();
    if digest == stated { Ok((measured, digest)) } else { Err(CliError::OtherDigest(id)) }
}

fn intent(args: &Args, grant: Option<&GrantTerms>) -> String {
    let mut text = String::new();
    let mut line =
        |name: &str, value: &str| text.push_str(&format!("{name:<13} {}\n", output::one_line(value)));
    line("\nWill approve ", &format!("{} {}", args.component, args.version));
    if let Some(terms) = grant {
        let limits = grant_terms::limits(terms);
        let limits = if limits.is_empty() { "no limits".to_owned() } else { limits.join(", ") };
        line(
            "Will grant",
            &format!("{} with {}; {limits}", grant_terms::names(&terms.operations), terms.key),
        );
    }
    for (said, meaning) in [
        (args.any_arguments, "any arguments: whoever may start this program can have anything signed"),
        (args.any_user, "any user"),
        (args.allow_jit, "code that is generated at run time, which nobody has measured"),
        (args.limits.many(), "more than one key, as far as the URI reaches"),
    ] {
        if said {
            line("Will accept", meaning);
        }
    }
    for (position, pattern) in &args.arguments {
        line("Will accept", &format!("as argument {position} whatever matches {pattern}"));
    }
    if let Some((position, pattern)) = &args.more_arguments {
        line("Will accept", &format!("from argument {position} on any number that match {pattern}"));
    }
    for (name, value) in &args.environment {
        line("Will accept", &format!("{name}={value} as well"));
    }
    for set in &args.library_sets {
        line(
            "Will accept",
            &format!("for the libraries that {set} knows, whatever that set says from now on"),
        );
    }
    text
}

fn done(response: &ApproveResponse) -> String {
    let news = match (response.new_component, response.new_version) {
        (true, _) => "new component",
        (false, true) => "new version",
        (false, false) => "values added to the version",
    };
    let mut text = output::one_line(&format!(
        "Approved: {} {} ({news}).",
        response.approved.component, response.approved.version
    ));
    if let Some(record) = &response.grant {
        text.push_str(&format!("\nGranted: {}", grant_terms::describe(record)));
    }
    text.push_str("\nThe application gets a trust token at its next attempt.");
    text
}

#[cfg(test)]
mod tests {
    use super::super::approval_review::tests::explanation;
    use super::*;

    #[test]
    fn a_measurement_with_another_digest_than_stated_is_not_approved() {
        let mut explanation = explanation(None);
        assert!(measurement(&explanation).is_ok());
        explanation.decision.measurement = Some(Digest::of(b"other"));
        assert!(matches!(measurement(&explanation), Err(CliError::OtherDigest(_))));
        explanation.measured = None;
        assert!(matches!(measurement(&explanation), Err(CliError::NoMeasurement(_))));
    }

    #[test]
    fn the_last_refusal_is_one_that_the_server_decided_from_a_measurement() {
        let with = |number: u64, by, measurement: Option<Digest>| DecisionSummary {
            id: DecisionId::from_random(number << 4),
            decided_by: by,
            measurement,
            ..explanation(None).decision
        };
        let some = Some(Digest::of(b"x"));
        let recent = [
            with(1, DecidedBy::Gate, some),
            with(2, DecidedBy::Server, None),
            with(3, DecidedBy::Server, some),
        ];
        assert_eq!(newest_measured(&recent), Some(DecisionId::from_random(3 << 4)));
        assert_eq!(newest_measured(&recent[..2]), None);
    }
}
