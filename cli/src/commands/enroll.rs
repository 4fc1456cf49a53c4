//! `trustshim enroll`: an attestation key inside the token, and the proof of it for the policy server.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use attestation::api::{ChallengeRequest, EnrollRequest, HsmRecord, HsmState};
use attestation::evidence::{AUDIENCE, Confirmation, EnrollmentClaims, SigningInput};
use indicatif::ProgressBar;

use crate::error::{CliError, Ended};
use crate::hsm::{Algorithm, AttestationKey, AttestationKeyUri, AttestationToken, Module};
use crate::local_attester::{self, ConfigurationFile};
use crate::output;

/// Generates the attestation key inside the token and registers it, to be approved by its fingerprint
///
/// A key that is there already is used again. Run it once for each host and mode, as the user whose PIN file
/// the configuration names.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  trustshim enroll
  trustshim enroll --config /etc/trustshim/trustshim.toml --host web1.example
  trustshim enroll --algorithm rsa-pss --json

Then, on the operator's machine, with the fingerprint that was printed here:
  trustshim hsm approve FINGERPRINT")]
pub struct Args {
    #[command(flatten)]
    file: ConfigurationFile,
    /// Of a key that has to be generated
    #[arg(long, value_enum, default_value_t = Algorithm::P256)]
    algorithm: Algorithm,
    /// The host's name in policies [default: that of the configuration, else the host's own]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<Ended, CliError> {
    let configuration = args.file.load_for_module()?.into_configuration();
    let client = local_attester::client(&configuration)?;
    let uri = AttestationKeyUri::parse(&configuration.attestation.key)?;
    let host = match (&args.host, &configuration.attestation.host) {
        (Some(host), _) | (None, Some(host)) => host.clone(),
        (None, None) => measurement::host_name()?,
    };
    let module = Module::open(&configuration)?;
    let token = AttestationToken::find(&module, &uri)?;
    let pin = local_attester::pin(&configuration, &token.describe())?;
    let key = match AttestationKey::find(token.log_in(&pin, true)?, &uri)? {
        Ok(key) => key,
        Err(token) => {
            let spinner = spinner(args.algorithm);
            let key = AttestationKey::generate(token, &uri, args.algorithm);
            spinner.finish_and_clear();
            key?
        }
    };
    drop(pin);
    key.require_safe(&uri)?;
    let fingerprint = key.public().thumbprint();
    let challenge =
        client.challenge(&ChallengeRequest { kid: fingerprint.clone(), cnf: fingerprint.clone() })?;
    let claims = EnrollmentClaims {
        aud: AUDIENCE.to_owned(),
        eat_nonce: challenge.nonce,
        cnf: Confirmation { jwk: key.public().clone() },
        host,
        mode: configuration.mode,
        hsm: key.claims(),
    };
    let input = SigningInput::enrollment(&claims, key.public())?;
    let signature = key.sign(&input)?;
    let record: HsmRecord = client.post("/v1/hsms", &EnrollRequest { proof: input.finish(&signature) })?;
    if args.json {
        output::print_json(&record)?;
    } else {
        // The fingerprint of the key in the token, not the one that the server says.
        output::print(&enrolled(&fingerprint, &record))?;
    }
    Ok(Ended::Well)
}

/// RSA keys take seconds in some tokens.
fn spinner(algorithm: Algorithm) -> ProgressBar {
    if algorithm != Algorithm::RsaPss || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message("generating the RSA key inside the token");
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn enrolled(fingerprint: &str, record: &HsmRecord) -> String {
    let head = format!(
        "Enrolled {} in mode {}.\n\nFingerprint of the attestation key:\n\n{}\n",
        output::one_line(&record.host),
        record.mode.name(),
        output::grouped(fingerprint)
    );
    match record.state {
        HsmState::Approved => format!("{head}It is approved already: nothing more to do."),
        HsmState::Suspended => format!("{head}It is suspended: ask an operator why."),
        HsmState::Pending => format!(
            "{head}It is pending. Next, on the operator's machine, after comparing the fingerprint:\n\n    \
             trustshim hsm approve {fingerprint}"
        ),
    }
}
