//! This host as an attester: the configuration of shim or guard, and evidence about this very process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use attestation::api::{AttestRequest, AttestResponse, ChallengeRequest, Problem};
use attestation::attester_key::AttesterKey;
use attestation::component::MeasuredFile;
use attestation::digest::escape;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, EVIDENCE_PROFILE, EvidenceClaims, EvidenceSubmods,
    SigningInput,
};
use clap::Args;
use configuration::{Configuration, Installation};
use measurement::{Hashing, Request, measure_file, measure_self};
use policy_client::{Client, ClientError, Settings};
use rustix::time::{ClockId, clock_gettime};

use crate::date;
use crate::error::CliError;
use crate::hsm::{AttestationKey, Pin};

/// The last part of the type of a problem document that answers refused evidence.
const EVIDENCE_REFUSED: &str = "evidence-refused";

/// Which configuration: of the shim, or of the guard.
#[derive(Args, Debug)]
pub struct ConfigurationFile {
    /// The configuration of the shim, or of the guard [env: TRUSTSHIM_CONFIG] [default: /etc/trustshim/trustshim.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigurationFile {
    /// Reads it by the rules by which shim or guard read it.
    pub fn load_installation(&self) -> Result<Installation, CliError> {
        // Not made to be installed setuid: it reads its environment, and files that options name.
        Ok(configuration::load_installation(self.config.as_deref())?)
    }

    /// As [`load_installation`](Self::load_installation), for a command that goes on to load the real module.
    ///
    /// Modules find their tokens by variables. In guarded mode those of the attester count, and this program starts anew
    /// with them where it has not got them.
    pub fn load_for_module(&self) -> Result<Installation, CliError> {
        let installation = self.load_installation()?;
        if let Installation::Guarded(guard) = &installation {
            start_anew_with(&guard.attester_environment)?;
        }
        Ok(installation)
    }
}

fn start_anew_with(variables: &BTreeMap<String, String>) -> Result<(), CliError> {
    if variables.iter().all(|(name, value)| env::var_os(name).as_deref() == Some(OsStr::new(value))) {
        return Ok(());
    }
    let program = "/proc/self/exe";
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let source = command.args(arguments).envs(variables).exec();
    Err(CliError::File { path: program.into(), source })
}

/// A client as the shim would make it from this configuration.
pub fn client(configuration: &Configuration) -> Result<Client, CliError> {
    let server = &configuration.policy_server;
    Ok(Client::new(&Settings {
        url: server.url.clone(),
        ca_pem: server.ca.clone(),
        timeout: Duration::from_millis(server.timeout_ms),
    })?)
}

/// The PIN from its file, or asked for where the configuration names none.
pub fn pin(configuration: &Configuration, token: &str) -> Result<Pin, CliError> {
    match &configuration.attestation.pin_file {
        Some(path) => Pin::from_file(path),
        None => Pin::from_terminal(token),
    }
}

/// What the policy server answered to evidence.
pub enum Verdict {
    Allowed(AttestResponse),
    Denied(Box<Problem>),
}

/// Measures this process, has the attestation key sign, and sends the evidence.
pub fn attest(
    configuration: &Configuration,
    key: &AttestationKey,
    client: &Client,
) -> Result<Verdict, CliError> {
    let attester_key = AttesterKey::generate()?;
    let boottime_ms = boottime_ms();
    let challenge = client.challenge(&ChallengeRequest {
        kid: key.public().thumbprint(),
        cnf: attester_key.thumbprint().to_owned(),
    })?;
    let program = env::current_exe()
        .map_err(|source| CliError::File { path: PathBuf::from("/proc/self/exe"), source })?;
    let claims = EvidenceClaims {
        eat_profile: EVIDENCE_PROFILE.to_owned(),
        aud: AUDIENCE.to_owned(),
        eat_nonce: challenge.nonce,
        iat: date::now(),
        boottime_ms,
        cnf: Confirmation { jwk: attester_key.public_jwk() },
        submods: EvidenceSubmods {
            hsm: key.claims(),
            boot: BootClaims { boot_id: measurement::boot_id()? },
            attester: AttesterClaims {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                // This program measures and sends here, as the shim does elsewhere.
                shim: measure_file(&program, &Hashing::afresh())?,
                real_module: measure_file(&configuration.real_module.path, &Hashing::afresh())?,
                configuration: MeasuredFile {
                    path: escape(configuration.path.as_os_str().as_bytes()),
                    // Of the bytes that this process has read and goes by.
                    sha256: configuration.digest,
                    build_id: None,
                },
            },
            component: measure_self(
                &Request {
                    name: &configuration.component.name,
                    configuration: &configuration.component.files,
                },
                &Hashing::afresh(),
            )?,
        },
    };
    let input = SigningInput::evidence(&claims, key.public())?;
    let signature = key.sign(&input)?;
    let request = AttestRequest { evidence: input.finish(&signature), decisions: Vec::new(), lost: 0 };
    match client.attest(&request) {
        Ok(response) => Ok(Verdict::Allowed(response)),
        Err(ClientError::Refused(problem)) if problem.kind.rsplit(':').next() == Some(EVIDENCE_REFUSED) => {
            Ok(Verdict::Denied(problem))
        }
        Err(error) => Err(error.into()),
    }
}

/// Milliseconds since boot, suspended time included.
pub fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanoseconds / 1_000_000
}
