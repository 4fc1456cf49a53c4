//! `trustshim doctor`: every link of the installation on this host, one line each.

mod guarded;
mod reach;
mod report;
mod separation;

use std::fs;
use std::path::{Path, PathBuf};

use attestation::api::{HsmRecord, HsmState};
use attestation::token::Anchors;
use configuration::{Configuration, ConfigurationError, Installation, Loaded};
use policy_client::Client;

use self::report::Report;
use super::hsm;
use super::status::{clock_ahead, key_ids};
use crate::access::User;
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
/// leaves one refusal on record. With --as-user (guarded mode, as root) nothing of that is looked at, but what that user
/// can open: it is tried as that user, and must be refused.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim doctor
  trustshim doctor --config ./trustshim.toml --json
  trustshim doctor --config /etc/trustshim/guard.toml
  trustshim doctor --config /etc/trustshim/guard.toml --as-user nginx --process $(pidof -s nginx) \\
      --path /dev/vendor-hsm

Exit status 0: every check is ok. 1: at least one failed; with --as-user, that something could be opened.")]
pub struct Args {
    #[command(flatten)]
    file: ConfigurationFile,
    /// Try whether this user, whom applications run as, reaches the real token around the guard
    #[arg(long, value_name = "USER")]
    as_user: Option<String>,
    /// A group that the service has besides those of its user, such as one of SupplementaryGroups=
    #[arg(long, value_name = "GROUP", requires = "as_user")]
    group: Vec<String>,
    /// A process of the service, whose memory is tried too
    #[arg(long, value_name = "PID", requires = "as_user", value_parser = clap::value_parser!(u32).range(1..))]
    process: Option<u32>,
    /// Whatever else leads to the token: a device, the vendor's client key; a directory with all that is in it
    #[arg(long, value_name = "PATH", requires = "as_user")]
    path: Vec<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let report = match &args.as_user {
        Some(name) => examine_reach(args, name)?,
        None => examine(args),
    };
    if args.json {
        output::print_json(report.checks())?
    } else {
        output::print(&report.text())?
    }
    Ok(report.ended())
}

fn examine_reach(args: &Args, name: &str) -> Result<Report, CliError> {
    let Installation::Guarded(guard) = args.file.load_installation()? else {
        return Err(CliError::Usage(
            "--as-user is for guarded mode: in inline mode an application's user has the token itself"
                .to_owned(),
        ));
    };
    let user = User::find(name, &args.group)?;
    let mut report = Report::default();
    reach::examine(
        &mut report,
        &guard,
        &reach::Subject { user: &user, paths: &args.path, process: args.process },
    )?;
    Ok(report)
}

fn examine(args: &Args) -> Report {
    let mut report = Report::default();
    let installation = match args.file.load_for_module() {
        Err(CliError::Configuration(ConfigurationError::OfApplication { path })) => {
            application(&mut report, &path);
            return report;
        }
        other => other,
    };
    let installation = report.step("configuration", installation, |installation| {
        let path = installation.configuration().path.display();
        format!("{path} is readable, and only its owner may write it")
    });
    let Some(installation) = installation else {
        report.skip("everything else", "it follows from the configuration");
        return report;
    };
    links(&mut report, installation.configuration(), &args.connection);
    if let Installation::Guarded(guard) = &installation {
        guarded::examine(&mut report, guard);
    }
    report
}

/// The file of applications in guarded mode.
fn application(report: &mut Report, path: &Path) {
    let client = configuration::load_from(path).map_err(CliError::from);
    let client = report.step("configuration", client, |_| {
        format!("{} is for applications whose calls the guard answers", path.display())
    });
    if let Some(Loaded::Guarded(client)) = client {
        guarded::examine_client(report, &client);
    }
}

/// From the real module to the policy server.
fn links(report: &mut Report, configuration: &Configuration, connection: &Connection) {
    let module = report.step("real module", Module::open(configuration), |module| {
        module.describe().unwrap_or_else(|error| error.to_string())
    });
    let key = module.as_ref().and_then(|module| attestation_key(report, configuration, module));
    if module.is_none() {
        report.skip("attestation key", "the real module did not load");
    }
    let client = report.step("server address", local_attester::client(configuration), |_| {
        format!(
            "{} with the CA in {}",
            configuration.policy_server.url,
            configuration.policy_server.ca.display()
        )
    });
    let Some(client) = client else {
        report.skip("policy server", "address or CA cannot be used");
        return;
    };
    if server(report, &client) {
        anchors(report, configuration, &client);
        match &key {
            Some(key) => enrolment(report, configuration, key, &client, connection),
            None => report.skip("enrolment", "there is no attestation key to ask about"),
        }
    } else {
        report.skip("anchors, enrolment", "the policy server does not answer");
    }
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
