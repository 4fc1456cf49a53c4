//! `trustshim explain`: why something was refused, and what differs from what is approved.

use attestation::api::{Change, DecisionSummary, Difference, Explanation, Outcome};
use attestation::component::Component;
use attestation::decision::DecisionId;
use policy_client::Client;

use super::decisions;
use crate::date;
use crate::error::{CliError, Ended};
use crate::output;
use crate::profile::Connection;

/// Explains a decision: reason, nearest approved version, what differs file by file, what to do
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim explain D-7F3K2QW0X4MZ
  trustshim explain --last
  trustshim explain --last --json")]
pub struct Args {
    /// Such as D-7F3K2QW0X4MZ, from the shim's log line
    #[arg(value_parser = decisions::id, required_unless_present = "last", conflicts_with = "last")]
    id: Option<DecisionId>,
    /// The newest refusal
    #[arg(long)]
    last: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let client = args.connection.operator()?;
    let id = match args.id {
        Some(id) => id,
        None => last_refusal(&client)?,
    };
    let explanation = explanation(&client, id)?;
    if args.json {
        output::print_json(&explanation)?;
    } else {
        output::print(&text(&explanation, date::now()))?;
    }
    Ok(Ended::Well)
}

/// What the server makes of a decision.
pub fn explanation(client: &Client, id: DecisionId) -> Result<Explanation, CliError> {
    Ok(client.get(&format!("/v1/decisions/{id}/explanation"))?)
}

fn last_refusal(client: &Client) -> Result<DecisionId, CliError> {
    let newest: Vec<DecisionSummary> = client.get("/v1/decisions?limit=1&outcome=denied")?;
    newest.first().map(|decision| decision.id).ok_or(CliError::NoRefusal { what: "at all" })
}

fn text(explanation: &Explanation, now: u64) -> String {
    let mut text = decisions::summary(&explanation.decision, now);
    text.push('\n');
    text.push_str(&comparison(explanation));
    if !explanation.advice.is_empty() {
        text.push_str("\nWhat to do\n");
        for advice in &explanation.advice {
            text.push_str(&format!("  - {}\n", output::one_line(advice)));
        }
    }
    text
}

fn comparison(explanation: &Explanation) -> String {
    match (&explanation.nearest, &explanation.measured) {
        (Some(nearest), _) if explanation.differences.is_empty() => {
            format!(
                "Nearest approved version: {} {}; nothing differs from it.\n",
                nearest.component, nearest.version
            )
        }
        (Some(nearest), _) => format!(
            "Nearest approved version: {} {}; what differs from it:\n\n{}",
            nearest.component,
            nearest.version,
            differences(&explanation.differences)
        ),
        (None, Some(measured)) => {
            format!("No approved version comes near. What was measured:\n\n{}", files(measured))
        }
        (None, None) if explanation.decision.outcome == Outcome::Denied => {
            "No measurement led to this decision.\n".to_owned()
        }
        (None, None) => String::new(),
    }
}

/// The differences as a table; digests are shortened.
pub fn differences(differences: &[Difference]) -> String {
    let shortened = |value: &Option<String>| output::or_dash(value.as_deref().map(output::short));
    output::table(
        ["part", "item", "change", "expected", "measured"],
        differences.iter().map(|difference| {
            [
                difference.part.clone(),
                difference.item.clone(),
                change(difference.change).to_owned(),
                shortened(&difference.expected),
                shortened(&difference.measured),
            ]
        }),
        "Nothing differs.",
    )
}

fn change(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Missing => "missing",
    }
}

/// Every measured file, as a table.
pub fn files(measured: &Component) -> String {
    let parts = [
        ("mapped", &measured.mappings),
        ("script", &measured.scripts),
        ("configuration", &measured.configuration),
    ];
    let rows = parts.into_iter().flat_map(|(part, files)| {
        files.iter().map(move |file| {
            let part =
                if part == "mapped" && file.path == measured.executable.path { "executable" } else { part };
            let part = if part == "mapped" { "library" } else { part };
            [part.to_owned(), file.path.clone(), output::short(&file.sha256.to_string()).to_owned()]
        })
    });
    output::table(["part", "path", "sha-256"], rows, "No files.")
}

#[cfg(test)]
mod tests {
    use attestation::api::{DecidedBy, VersionName};
    use attestation::digest::Digest;

    use super::*;

    fn explained(nearest: Option<VersionName>, differences: Vec<Difference>) -> Explanation {
        Explanation {
            decision: DecisionSummary {
                id: DecisionId::from_random(16),
                at: 0,
                outcome: Outcome::Denied,
                decided_by: DecidedBy::Server,
                host: None,
                hsm: None,
                component: None,
                version: None,
                executable: None,
                measurement: None,
                operation: None,
                key: None,
                reasons: Vec::new(),
                observed: false,
                operator: None,
                basis: None,
            },
            nearest,
            differences,
            measured: None,
            advice: vec!["Approve it, or roll back.".to_owned()],
        }
    }

    #[test]
    fn one_changed_file_is_named_with_both_digests_in_short() {
        let nearest = VersionName { component: "nginx".to_owned(), version: "1.0".to_owned() };
        let difference = Difference {
            part: "library".to_owned(),
            item: "/usr/lib/libc.so.6".to_owned(),
            change: Change::Changed,
            expected: Some(Digest::of(b"a").to_string()),
            measured: Some(Digest::of(b"b").to_string()),
        };
        let text = text(&explained(Some(nearest), vec![difference]), 0);
        assert!(text.contains("Nearest approved version: nginx 1.0; what differs from it:"), "{text}");
        assert!(
            text.contains("library  /usr/lib/libc.so.6  changed  ca978112ca1b  3e23e8160039\n"),
            "{text}"
        );
        assert!(text.ends_with("What to do\n  - Approve it, or roll back.\n"), "{text}");
    }

    #[test]
    fn a_decision_without_measurement_says_so() {
        assert!(text(&explained(None, Vec::new()), 0).contains("No measurement led to this decision."));
    }
}
