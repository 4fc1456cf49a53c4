//! `trustshim approve`: makes what was measured the reference values of a component version.
//!
//! What is shown is what is approved: the digest is computed again from the measurement on the screen.

use attestation::api::{
    ApproveRequest, ApproveResponse, DecidedBy, DecisionRecord, DecisionSummary, Explanation,
};
use attestation::component::Component;
use attestation::decision::DecisionId;
use attestation::digest::Digest;
use policy_client::Client;

use super::approval_review;
use super::decisions;
use super::explain;
use super::grant::{self, Operations};
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
    #[arg(long, value_name = "URI", requires = "operations", value_parser = grant::key)]
    grant: Option<String>,
    /// What is granted: such as sign,decrypt, or all
    #[arg(long, value_name = "LIST", requires = "grant", value_parser = grant::operations)]
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
    /// The granted URI may match more than one key
    #[arg(long, requires = "grant")]
    many: bool,
    /// Asks nothing: for scripts that have checked by themselves
    #[arg(long)]
    yes: bool,
    /// For programs; needs --yes
    #[arg(long, requires = "yes")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let grant = match (&args.grant, &args.operations) {
        (Some(key), Some(operations)) => Some(grant::terms(key, operations, args.many, None)?),
        _ => None,
    };
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
        output::print(&intent(args))?;
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

fn intent(args: &Args) -> String {
    let mut text = format!(
        "\nWill approve  {} {}\n",
        output::one_line(&args.component),
        output::one_line(&args.version)
    );
    if let (Some(key), Some(operations)) = (&args.grant, &args.operations) {
        text.push_str(&format!(
            "Will grant    {} with {}\n",
            grant::names(&operations.0),
            output::one_line(key)
        ));
    }
    for (said, meaning) in [
        (args.any_arguments, "any arguments: whoever may start this program can have anything signed"),
        (args.any_user, "any user"),
        (args.allow_jit, "code that is generated at run time, which nobody has measured"),
        (args.many, "more than one key, as far as the URI reaches"),
    ] {
        if said {
            text.push_str(&format!("Will accept   {meaning}\n"));
        }
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
        text.push_str(&format!("\nGranted: {}", grant::describe(record)));
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
