//! `trustshim decisions`: what was allowed and refused.

use attestation::api::{DecidedBy, DecisionRecord, DecisionSummary, Outcome};
use attestation::decision::DecisionId;
use clap::Subcommand;

use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Lists decisions, newest first, and shows one with its evidence
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  trustshim decisions
  trustshim decisions list --denied --limit 50
  trustshim decisions show D-7F3K2QW0X4MZ --json"
)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    list: List,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args, Clone)]
struct List {
    /// At most so many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Refusals only
    #[arg(long, conflicts_with = "allowed")]
    denied: bool,
    /// Permissions only
    #[arg(long)]
    allowed: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the newest decisions; the same as `trustshim decisions`
    #[command(after_help = "Example: trustshim decisions list --denied --limit 50")]
    List(List),
    /// Shows one decision and the evidence that led to it
    #[command(after_help = "Example: trustshim decisions show D-7F3K2QW0X4MZ")]
    Show {
        /// Such as D-7F3K2QW0X4MZ
        #[arg(value_parser = id)]
        id: DecisionId,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Decision ids are read out over the telephone: lower case is taken too.
pub fn id(text: &str) -> Result<DecisionId, String> {
    text.trim()
        .to_ascii_uppercase()
        .parse()
        .map_err(|error: attestation::decision::NotADecisionId| error.to_string())
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    match &args.command {
        Some(Command::Show { id, json }) => {
            let record: DecisionRecord = client.get(&format!("/v1/decisions/{id}"))?;
            if *json { output::print_json(&record)? } else { output::print(&show(&record)?)? }
        }
        Some(Command::List(list)) => print_list(list, &client)?,
        None => print_list(&args.list, &client)?,
    }
    Ok(Ended::Well)
}

fn print_list(list: &List, client: &policy_client::Client) -> Result<(), CliError> {
    let outcome = match (list.denied, list.allowed) {
        (true, _) => "&outcome=denied",
        (_, true) => "&outcome=allowed",
        _ => "",
    };
    let decisions: Vec<DecisionSummary> =
        client.get(&format!("/v1/decisions?limit={}{outcome}", list.limit))?;
    if list.json { output::print_json(&decisions) } else { output::print(&table(&decisions)) }
}

fn table(decisions: &[DecisionSummary]) -> String {
    output::table(
        ["id", "at", "outcome", "host", "component", "executable or key", "reasons"],
        decisions.iter().map(|decision| {
            [
                decision.id.to_string(),
                date::utc(decision.at),
                outcome(decision).to_owned(),
                output::or_dash(decision.host.as_ref()),
                component(decision),
                output::or_dash(decision.executable.as_ref().or(decision.key.as_ref())),
                codes(decision),
            ]
        }),
        "No decision is on record.",
    )
}

fn codes(decision: &DecisionSummary) -> String {
    let mut codes: Vec<&str> = decision.reasons.iter().map(|reason| reason.code.as_str()).collect();
    codes.dedup();
    if codes.is_empty() { "-".to_owned() } else { codes.join(", ") }
}

fn component(decision: &DecisionSummary) -> String {
    match (&decision.component, &decision.version) {
        (Some(component), Some(version)) => format!("{component} {version}"),
        (Some(component), None) => component.clone(),
        _ => "-".to_owned(),
    }
}

fn outcome(decision: &DecisionSummary) -> &'static str {
    match (decision.outcome, decision.observed) {
        (Outcome::Allowed, false) => "allowed",
        (Outcome::Allowed, true) => "allowed, OBSERVED",
        (Outcome::Denied, _) => "DENIED",
    }
}

/// The head of `decisions show` and `explain`.
pub fn summary(decision: &DecisionSummary, now: u64) -> String {
    let by = match decision.decided_by {
        DecidedBy::Gate => "the gate on the host".to_owned(),
        DecidedBy::Operator => format!("the operator {}", output::or_dash(decision.operator.as_ref())),
        DecidedBy::Server => "the policy server".to_owned(),
    };
    let mut text = format!(
        "Decision     {}: {} by {}, {} ({})\n",
        decision.id,
        outcome(decision),
        output::one_line(&by),
        date::utc(decision.at),
        date::relative(decision.at, now),
    );
    let recognised = (component(decision) != "-").then(|| component(decision));
    let measurement = decision.measurement.map(|digest| digest.to_string());
    let basis = decision.basis.map(|id| id.to_string());
    for (name, value) in [
        ("Host", &decision.host),
        ("Attested by", &decision.hsm),
        ("Component", &recognised),
        ("Executable", &decision.executable),
        ("Measurement", &measurement),
        ("Rests on", &basis),
        ("Operation", &decision.operation),
        ("Key", &decision.key),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name:<12} {}\n", output::one_line(value)));
        }
    }
    for (number, reason) in decision.reasons.iter().enumerate() {
        let name = match (number, decision.observed) {
            (0, false) => "Reasons",
            (0, true) => "Observed",
            _ => "",
        };
        text.push_str(&format!(
            "{name:<12} {}: {}\n",
            output::one_line(&reason.code),
            output::one_line(&reason.detail)
        ));
    }
    text
}

fn show(record: &DecisionRecord) -> Result<String, CliError> {
    let head = summary(&record.summary, date::now());
    Ok(match &record.evidence {
        None => format!("{head}\nNo evidence could be verified for this decision."),
        Some(evidence) => {
            let evidence =
                serde_json::to_string_pretty(evidence).map_err(|error| CliError::Output(error.into()))?;
            format!("{head}\nEvidence\n{evidence}")
        }
    })
}

#[cfg(test)]
mod tests {
    use attestation::decision::Reason;
    use attestation::digest::Digest;

    use super::*;

    pub fn denied() -> DecisionSummary {
        let reason = |code: &str, detail: &str| Reason { code: code.to_owned(), detail: detail.to_owned() };
        DecisionSummary {
            id: DecisionId::from_random(16),
            at: 0,
            outcome: Outcome::Denied,
            decided_by: DecidedBy::Server,
            host: Some("web1".to_owned()),
            hsm: None,
            component: None,
            version: None,
            executable: Some("/usr/bin/a\u{1b}[2J\nb".to_owned()),
            measurement: Some(Digest::of(b"abc")),
            operation: None,
            key: None,
            reasons: vec![reason("library-unknown", "/a.so"), reason("library-unknown", "/b.so")],
            observed: false,
            operator: None,
            basis: None,
        }
    }

    #[test]
    fn ids_are_taken_in_lower_case() {
        assert_eq!(id(" d-7f3k2qw0x4mz\n").unwrap().to_string(), "D-7F3K2QW0X4MZ");
        assert!(id("7F3K2Q").is_err());
    }

    #[test]
    fn a_decision_is_one_line_of_the_list_and_names_each_reason_once() {
        let text = table(&[denied()]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.ends_with("library-unknown\n") && text.matches("library-unknown").count() == 1,
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_summary_names_every_reason_with_its_detail() {
        let text = summary(&denied(), 60);
        assert!(
            text.starts_with("Decision     D-000000000001: DENIED by the policy server, 1970-01-01"),
            "{text}"
        );
        assert!(
            text.contains("Reasons      library-unknown: /a.so\n             library-unknown: /b.so\n"),
            "{text}"
        );
        assert!(text.contains(&format!("Measurement  {}\n", Digest::of(b"abc"))), "{text}");
    }
}
