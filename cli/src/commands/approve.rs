//! `trustshim approve`: makes what was measured the reference values of a component version.
//!
//! What is shown is what is approved: the digest is computed again from the measurement on the screen.

use attestation::api::{
    ApproveRequest, ApproveResponse, Change, DecidedBy, DecisionRecord, DecisionSummary, Difference,
    Explanation,
};
use attestation::component::Component;
use attestation::decision::DecisionId;
use attestation::digest::Digest;
use attestation::evidence::AttesterClaims;
use policy_client::Client;

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
/// Parts of a measurement that are files.
const FILE_PARTS: [&str; 4] = ["executable", "library", "script", "configuration"];

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
        output::print(&shown(&explanation, measured, attester, &args.component, date::now()))?;
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

fn shown(
    explanation: &Explanation,
    measured: &Component,
    attester: Option<&AttesterClaims>,
    component: &str,
    now: u64,
) -> String {
    let mut text = decisions::summary(&explanation.decision, now);
    let principal = &measured.principal;
    let unit = principal.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
    let line = |name: &str, value: &str| format!("{name:<12} {}\n", output::one_line(value));
    text.push_str(&line("User", &format!("uid {}, gid {}{unit}", principal.uid, principal.gid)));
    text.push_str(&line("Arguments", &format!("{:?}", measured.argv)));
    for (name, value) in &measured.environment {
        text.push_str(&line("Environment", &format!("{name}={value}")));
    }
    for oddity in oddities(measured) {
        text.push_str(&line("Attention", &oddity));
    }
    if let Some(attester) = attester {
        for (name, file) in [
            ("Measured by", &attester.shim),
            ("Real module", &attester.real_module),
            ("Its settings", &attester.configuration),
        ] {
            text.push_str(&line(name, &format!("{} {}", output::short(&file.sha256.to_string()), file.path)));
        }
    }
    text.push('\n');
    text.push_str(&news(explanation, measured, component));
    text
}

/// Every file that is new to the component, then everything else that differs. Compared with another
/// component's version every file would be new all the same.
fn news(explanation: &Explanation, measured: &Component, component: &str) -> String {
    let Some(nearest) = explanation.nearest.as_ref().filter(|nearest| nearest.component == component) else {
        return format!(
            "Files, all of them new to {}:\n\n{}",
            output::one_line(component),
            explain::files(measured)
        );
    };
    let is_new_file = |difference: &&Difference| {
        FILE_PARTS.contains(&difference.part.as_str()) && difference.change != Change::Missing
    };
    let (files, others): (Vec<Difference>, Vec<Difference>) =
        explanation.differences.iter().cloned().partition(|difference| is_new_file(&difference));
    let mut text =
        format!("Compared with {} {}:\n\n", output::one_line(component), output::one_line(&nearest.version));
    if files.is_empty() {
        text.push_str("No file is new.\n");
    } else {
        text.push_str(&explain::differences(&files));
    }
    if !others.is_empty() {
        text.push('\n');
        text.push_str(&explain::differences(&others));
    }
    text
}

/// State of the process that an approver should not overlook.
fn oddities(measured: &Component) -> Vec<String> {
    let runtime = &measured.runtime;
    let mut oddities = Vec::new();
    if runtime.traced {
        oddities.push("a debugger was attached".to_owned());
    }
    for (count, what) in [
        (u64::from(runtime.anonymous_executable), "executable mappings without a file"),
        (u64::from(runtime.deleted_executable), "executable mappings of deleted files"),
        (u64::from(runtime.memfd_executable), "executable mappings of memory files"),
        (u64::from(runtime.writable_executable), "mappings writable and executable at once"),
        (runtime.modified_text_pages, "modified pages of code"),
    ] {
        if count > 0 {
            oddities.push(format!("{count} {what}"));
        }
    }
    if !measured.principal.initial_user_namespace {
        oddities.push("runs in a user namespace of its own".to_owned());
    }
    oddities
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
    use std::collections::BTreeMap;

    use attestation::api::{Outcome, VersionName};
    use attestation::component::{MeasuredFile, Principal, Runtime};

    use super::*;

    fn component() -> Component {
        let file = |path: &str| MeasuredFile {
            path: path.to_owned(),
            sha256: Digest::of(path.as_bytes()),
            build_id: None,
        };
        Component {
            name: "auto".to_owned(),
            principal: Principal {
                uid: 33,
                gid: 33,
                unit: Some("nginx.service".to_owned()),
                initial_user_namespace: true,
                initial_pid_namespace: true,
            },
            executable: file("/usr/sbin/nginx"),
            mappings: vec![file("/usr/lib/libc.so.6"), file("/usr/sbin/nginx")],
            scripts: Vec::new(),
            configuration: vec![file("/etc/nginx/nginx.conf")],
            argv: vec!["nginx".to_owned()],
            environment: BTreeMap::from([("LD_PRELOAD".to_owned(), "/tmp/x.so".to_owned())]),
            runtime: Runtime {
                traced: false,
                no_new_privs: false,
                seccomp: 0,
                dumpable: true,
                anonymous_executable: 0,
                deleted_executable: 0,
                memfd_executable: 0,
                writable_executable: 0,
                modified_text_pages: 2,
            },
        }
    }

    fn explanation(nearest: Option<&str>) -> Explanation {
        let measured = component();
        Explanation {
            decision: DecisionSummary {
                id: DecisionId::from_random(16),
                at: 0,
                outcome: Outcome::Denied,
                decided_by: DecidedBy::Server,
                host: Some("web1".to_owned()),
                hsm: None,
                component: None,
                version: None,
                executable: None,
                measurement: Some(measured.measurement_digest()),
                operation: None,
                key: None,
                reasons: Vec::new(),
            },
            nearest: nearest
                .map(|component| VersionName { component: component.to_owned(), version: "1".to_owned() }),
            differences: vec![Difference {
                part: "library".to_owned(),
                item: "/usr/lib/libc.so.6".to_owned(),
                change: Change::Changed,
                expected: Some(Digest::of(b"old").to_string()),
                measured: Some(Digest::of(b"/usr/lib/libc.so.6").to_string()),
            }],
            measured: Some(measured),
            advice: Vec::new(),
        }
    }

    #[test]
    fn digest_host_user_and_every_new_file_are_shown() {
        let explanation = explanation(None);
        let text = shown(&explanation, &component(), None, "nginx", 0);
        for part in [
            component().measurement_digest().to_string().as_str(),
            "Host         web1",
            "uid 33, gid 33, nginx.service",
            "LD_PRELOAD=/tmp/x.so",
            "2 modified pages of code",
            "executable     /usr/sbin/nginx",
            "library        /usr/lib/libc.so.6",
            "configuration  /etc/nginx/nginx.conf",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn against_the_same_component_only_what_differs_is_new() {
        let explanation = explanation(Some("nginx"));
        let text = shown(&explanation, &component(), None, "nginx", 0);
        assert!(text.contains("Compared with nginx 1:") && text.contains("/usr/lib/libc.so.6"), "{text}");
        assert!(!text.contains("/etc/nginx/nginx.conf"), "{text}");
    }

    #[test]
    fn against_another_component_every_file_is_new() {
        let explanation = explanation(Some("apache"));
        let text = shown(&explanation, &component(), None, "nginx", 0);
        assert!(
            text.contains("all of them new to nginx") && text.contains("/etc/nginx/nginx.conf"),
            "{text}"
        );
    }

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
