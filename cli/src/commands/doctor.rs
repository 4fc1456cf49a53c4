//! `trustshim doctor`: every link of the installation on this host, one line each.

use std::fs;

use attestation::api::{HsmRecord, HsmState};
use attestation::token::Anchors;
use configuration::Configuration;
use policy_client::Client;
use serde::Serialize;

use super::hsm;
use super::status::{clock_ahead, key_ids};
use crate::date;
use crate::error::{CliError, Ended};
use crate::hsm::{AttestationKey, AttestationKeyUri, AttestationToken, Module, Pin};
use crate::local_attester::{self, ConfigurationFile, Verdict};
use crate::output;
use crate::profile::Connection;

/// Seconds that clocks may differ: TLS certificates and people tolerate that much.
const CLOCK_TOLERANCE: u64 = 60;

/// Checks this host's installation, link by link, and advises where one fails
///
/// Where no operator's credential is given, the enrolment is checked by sending evidence of this program, which
/// leaves one refusal on record.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim doctor
  trustshim doctor --config ./trustshim.toml --json

Exit status 0: every check is ok. 1: at least one failed.")]
pub struct Args {
    #[command(flatten)]
    file: ConfigurationFile,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How one check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Fail,
    /// Could not be looked at, because of another line or of the configuration.
    Skipped,
}

/// One line.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// The lines so far.
#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Ok, detail: detail.into(), advice: None });
    }

    fn fail(&mut self, name: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Check {
            name,
            outcome: Outcome::Fail,
            detail: detail.into(),
            advice: Some(advice.into()),
        });
    }

    fn skip(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Skipped, detail: detail.into(), advice: None });
    }

    /// Records how a step went, and gives what it made.
    fn step<T>(
        &mut self,
        name: &'static str,
        result: Result<T, CliError>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(made) => {
                self.ok(name, detail(&made));
                Some(made)
            }
            Err(error) => {
                self.fail(name, error.to_string(), error.advice());
                None
            }
        }
    }

    fn ended(&self) -> Ended {
        let failed = self.0.iter().any(|check| check.outcome == Outcome::Fail);
        if failed { Ended::WithFailures } else { Ended::Well }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let word = match check.outcome {
                Outcome::Ok => "ok  ",
                Outcome::Fail => "FAIL",
                Outcome::Skipped => "skip",
            };
            text.push_str(&format!("{word}  {:<18} {}\n", check.name, output::one_line(&check.detail)));
            if let Some(advice) = &check.advice {
                text.push_str(&format!("      {:<18} -> {}\n", "", output::one_line(advice)));
            }
        }
        text
    }
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let report = examine(args);
    if args.json {
        output::print_json(&report.0)?
    } else {
        output::print(&report.text())?
    }
    Ok(report.ended())
}

fn examine(args: &Args) -> Report {
    let mut report = Report::default();
    let configuration = report.step("configuration", args.file.load(), |configuration| {
        format!("{} is readable, and only its owner may write it", configuration.path.display())
    });
    let Some(configuration) = configuration else {
        report.skip("everything else", "it follows from the configuration");
        return report;
    };
    let module = report.step("real module", Module::open(&configuration), |module| {
        module.describe().unwrap_or_else(|error| error.to_string())
    });
    let key = module.as_ref().and_then(|module| attestation_key(&mut report, &configuration, module));
    if module.is_none() {
        report.skip("attestation key", "the real module did not load");
    }
    let client = report.step("server address", local_attester::client(&configuration), |_| {
        format!(
            "{} with the CA in {}",
            configuration.policy_server.url,
            configuration.policy_server.ca.display()
        )
    });
    let Some(client) = client else {
        report.skip("policy server", "address or CA cannot be used");
        return report;
    };
    if server(&mut report, &client) {
        anchors(&mut report, &configuration, &client);
        match &key {
            Some(key) => enrolment(&mut report, &configuration, key, &client, &args.connection),
            None => report.skip("enrolment", "there is no attestation key to ask about"),
        }
    } else {
        report.skip("anchors, enrolment", "the policy server does not answer");
    }
    report
}

/// Token, PIN file, key and its attributes.
fn attestation_key(
    report: &mut Report,
    configuration: &Configuration,
    module: &Module,
) -> Option<AttestationKey> {
    let uri = report.step("key URI", AttestationKeyUri::parse(&configuration.attestation.key), |uri| {
        uri.as_str().to_owned()
    })?;
    let token = report.step("token", AttestationToken::find(module, &uri), AttestationToken::describe)?;
    let Some(file) = &configuration.attestation.pin_file else {
        report.skip(
            "attestation key",
            "no pin_file: the application's login is used, which this program has not",
        );
        return None;
    };
    let pin = report.step("PIN file", Pin::from_file(file), |_| {
        format!("{} is readable, and not by everybody", file.display())
    })?;
    let open = report.step("login", token.log_in(&pin, false), |_| "the token takes the PIN".to_owned())?;
    let key = AttestationKey::find(open, &uri)
        .and_then(|key| key.map_err(|_| CliError::NoAttestationKey { uri: uri.as_str().to_owned() }))
        .and_then(|key| key.require_safe(&uri).map(|()| key));
    report.step("attestation key", key, |key| {
        format!(
            "fingerprint {}; sensitive, never extractable, generated in the token",
            key.public().thumbprint()
        )
    })
}

/// Whether it answers, and its clock.
fn server(report: &mut Report, client: &Client) -> bool {
    let date = match client.ready() {
        Ok(date) => date,
        Err(error) => {
            let error = CliError::from(error);
            report.fail("policy server", error.to_string(), error.advice());
            return false;
        }
    };
    report.ok("policy server", "reachable, and its certificate is of our CA");
    match date.and_then(|date| clock_ahead(&date, date::now())) {
        Some(ahead) if ahead.unsigned_abs() <= CLOCK_TOLERANCE => {
            report.ok("clock", format!("differs from the server's by {} s", ahead.abs()));
        }
        Some(ahead) => report.fail(
            "clock",
            format!("differs from the server's by {} s", ahead.abs()),
            "synchronise both clocks (chrony, systemd-timesyncd)",
        ),
        None => report.skip("clock", "the server does not tell its time"),
    }
    true
}

/// Every key that the server signs with must be pinned here.
fn anchors(report: &mut Report, configuration: &Configuration, client: &Client) {
    let path = &configuration.policy_server.anchors;
    let pinned = fs::read_to_string(path)
        .map_err(|source| CliError::File { path: path.clone(), source })
        .and_then(|text| {
            Anchors::parse(&text).map_err(|error| CliError::TrustToken(error.to_string()))?;
            serde_json::from_str::<serde_json::Value>(&text)
                .map_err(|error| CliError::TrustToken(error.to_string()))
        });
    let pinned = match pinned {
        Ok(pinned) => pinned,
        Err(error) => {
            report.fail(
                "anchors",
                format!("{}: {error}", path.display()),
                "copy anchors.jwks from the policy server's directory",
            );
            return;
        }
    };
    match client.get::<serde_json::Value>("/v1/keys") {
        Err(error) => report.fail("anchors", error.to_string(), CliError::from(error).advice()),
        Ok(served) => match unpinned(&served, &pinned) {
            Ok(count) => report.ok("anchors", format!("all {count} keys of the server are pinned")),
            Err(kid) => report.fail(
                "anchors",
                format!("the server's key {kid} is not in {}", path.display()),
                "copy anchors.jwks from the policy server's directory by a way that you trust",
            ),
        },
    }
}

/// The number of served keys, or the id of the first one that is not pinned with the same value.
fn unpinned(served: &serde_json::Value, pinned: &serde_json::Value) -> Result<usize, String> {
    let value = |set: &serde_json::Value, kid: &str| {
        let keys = set.get("keys")?.as_array()?;
        let key = keys.iter().find(|key| key.get("kid").and_then(serde_json::Value::as_str) == Some(kid))?;
        key.get("x").cloned()
    };
    let kids = key_ids(served);
    if kids.is_empty() {
        return Err("(it shows none)".to_owned());
    }
    for kid in &kids {
        let ours = value(pinned, kid);
        if ours.is_none() || ours != value(served, kid) {
            return Err(kid.clone());
        }
    }
    Ok(kids.len())
}

fn enrolment(
    report: &mut Report,
    configuration: &Configuration,
    key: &AttestationKey,
    client: &Client,
    connection: &Connection,
) {
    let fingerprint = key.public().thumbprint();
    let state = match connection.operator() {
        Ok(operator) => state_by_list(&operator, &fingerprint),
        // Whoever has no credential can still see what becomes of evidence.
        Err(CliError::NoConnection { .. }) => state_by_evidence(configuration, key, client),
        Err(error) => Err(error),
    };
    match state {
        Ok(Some(HsmState::Approved)) => report.ok("enrolment", "approved"),
        Ok(Some(state)) => report.fail(
            "enrolment",
            hsm::state(state),
            format!("compare the fingerprint, then: trustshim hsm approve {fingerprint}"),
        ),
        Ok(None) => report.fail("enrolment", "the server does not know this key", "run `trustshim enroll`"),
        Err(error) => report.fail("enrolment", error.to_string(), error.advice()),
    }
}

fn state_by_list(operator: &Client, fingerprint: &str) -> Result<Option<HsmState>, CliError> {
    let records: Vec<HsmRecord> = operator.get("/v1/hsms")?;
    Ok(records.into_iter().find(|record| record.fingerprint == fingerprint).map(|record| record.state))
}

fn state_by_evidence(
    configuration: &Configuration,
    key: &AttestationKey,
    client: &Client,
) -> Result<Option<HsmState>, CliError> {
    Ok(match local_attester::attest(configuration, key, client)? {
        Verdict::Allowed(_) => Some(HsmState::Approved),
        Verdict::Denied(problem) => {
            let codes: Vec<&str> = problem.reasons.iter().map(|reason| reason.code.as_str()).collect();
            state_by_reasons(&codes)
        }
    })
}

/// The enrolment is looked at before the measurement: any other reason means that it is approved.
fn state_by_reasons(codes: &[&str]) -> Option<HsmState> {
    if codes.contains(&"key-unknown") {
        None
    } else if codes.contains(&"key-pending") {
        Some(HsmState::Pending)
    } else if codes.contains(&"key-suspended") {
        Some(HsmState::Suspended)
    } else {
        Some(HsmState::Approved)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_failure_makes_the_whole_fail_and_carries_advice() {
        let mut report = Report::default();
        report.ok("a", "fine");
        report.skip("b", "because of a");
        assert_eq!(report.ended(), Ended::Well);
        report.fail("c", "broken\u{1b}[1m\nok    d", "mend it");
        assert_eq!(report.ended(), Ended::WithFailures);
        let text = report.text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("FAIL  c ") && text.ends_with("-> mend it\n"), "{text}");
    }

    #[test]
    fn a_served_key_must_be_pinned_with_the_same_value() {
        let set = |x: &str| json!({ "keys": [{ "kid": "k", "x": x }] });
        let two = json!({ "keys": [{ "kid": "k", "x": "1" }, { "kid": "old", "x": "0" }] });
        assert_eq!(unpinned(&set("1"), &two), Ok(1));
        assert_eq!(unpinned(&set("2"), &two), Err("k".to_owned()));
        assert_eq!(unpinned(&two, &set("1")), Err("old".to_owned()));
        assert!(unpinned(&json!({ "keys": [] }), &two).is_err());
        assert!(unpinned(&json!([]), &two).is_err());
    }

    #[test]
    fn reasons_tell_the_state_of_the_enrolment() {
        assert_eq!(state_by_reasons(&["key-unknown"]), None);
        assert_eq!(state_by_reasons(&["key-pending"]), Some(HsmState::Pending));
        assert_eq!(state_by_reasons(&["key-suspended"]), Some(HsmState::Suspended));
        assert_eq!(state_by_reasons(&["executable-unknown"]), Some(HsmState::Approved));
    }
}
