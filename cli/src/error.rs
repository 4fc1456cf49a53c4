//! What can go wrong, what it is called, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use attestation::decision::DecisionId;
use cryptoki::error::{Error, RvError};
use policy_client::ClientError;

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Exit status 0.
    Well,
    /// Exit status 1: a check failed, as said on standard output.
    WithFailures,
    /// Exit status 3: the policy server or a rule said no.
    Denied,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => Self::SUCCESS,
            Ended::WithFailures => Self::from(1),
            Ended::Denied => Self::from(3),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{tokens} tokens match the attestation key's URI {uri}")]
    AmbiguousToken { uri: String, tokens: usize },
    #[error("{keys} private keys in the token match the attestation key's URI {uri}")]
    AmbiguousKey { uri: String, keys: usize },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Configuration(#[from] configuration::ConfigurationError),
    #[error("nothing could be tried as the user {name}: {why}")]
    BecomeUser { name: String, why: String },
    #[error("{path:?} exists already", path = path.display())]
    Exists { path: PathBuf },
    #[error("the evidence could not be made: {0}")]
    Evidence(#[from] attestation::evidence::EvidenceError),
    #[error("{path:?}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    NoRandomness(#[from] attestation::attester_key::NoRandomness),
    #[error("{what}: {why}")]
    KeyForm { what: &'static str, why: String },
    #[error("the attestation key {uri} is not safe: {why}")]
    KeyUnsafe { uri: String, why: &'static str },
    #[error("the attestation key's URI {uri:?} cannot be used: {why}")]
    KeyUri { uri: String, why: String },
    #[error("{path:?} is no manifest: {why}", path = path.display())]
    Manifest { path: PathBuf, why: String },
    #[error(transparent)]
    Measurement(#[from] measurement::MeasurementError),
    #[error("the PKCS#11 module {path:?} cannot be used: {why}", path = path.display())]
    Module { path: PathBuf, why: String },
    #[error("the policy server has allowed no evidence lately")]
    NoAllowed,
    #[error("it takes root {what}")]
    NeedsRoot { what: &'static str },
    #[error("no attestation key {uri} in the token")]
    NoAttestationKey { uri: String },
    #[error("no {what} is known")]
    NoConnection { what: &'static str },
    #[error("decision {0} has no measurement that could be approved")]
    NoMeasurement(DecisionId),
    #[error("no PIN was given for the token {token}")]
    NoPin { token: String },
    #[error("no refusal {what} is on record")]
    NoRefusal { what: &'static str },
    #[error("no token matches the attestation key's URI {uri}")]
    NoToken { uri: String },
    #[error("{question} needs a terminal to ask on")]
    NotATerminal { question: &'static str },
    #[error("not confirmed; nothing was changed")]
    NotConfirmed,
    #[error("this host has no user or group {name:?}")]
    NoSuchAccount { name: String },
    #[error("no enrolment has the fingerprint {0}")]
    NoSuchEnrolment(String),
    #[error("writing to standard output: {0}")]
    Output(io::Error),
    #[error("the measurement of decision {0} does not have the digest that the server states")]
    OtherDigest(DecisionId),
    #[error("{path:?} {why}", path = path.display())]
    Permissions { path: PathBuf, why: &'static str },
    #[error("the PIN file {path:?} {why}", path = path.display())]
    Pin { path: PathBuf, why: &'static str },
    #[error("the profile {path:?} cannot be used: {why}", path = path.display())]
    Profile { path: PathBuf, why: String },
    #[error("{doing}: {source}")]
    Token { doing: &'static str, source: Error },
    #[error("the trust token cannot be read: {0}")]
    TrustToken(String),
    #[error("{0}")]
    Usage(String),
}

impl CliError {
    /// What the operator can do next.
    pub fn advice(&self) -> String {
        match self {
            Self::AmbiguousToken { .. } => "add `serial=` to [attestation] key, so that one token matches".into(),
            Self::AmbiguousKey { .. } => "add `id=` to [attestation] key, so that one key matches".into(),
            Self::BecomeUser { .. } => "nothing is proved; correct what it names and try again".into(),
            Self::Client(error) => client_advice(error),
            Self::Configuration(_) => {
                "correct the file, or write a new one with `trustshim init`; `trustshim doctor` checks it".into()
            }
            Self::Exists { .. } => "move it away, or name another file with --output".into(),
            Self::Evidence(_) | Self::Measurement(_) | Self::NoRandomness(_) => {
                "nothing was sent; a measurement that fails in part is never used".into()
            }
            Self::File { .. } => "check that the file is there and that this user may use it".into(),
            Self::KeyForm { .. } => "the token speaks a form that this version does not know".into(),
            Self::KeyUnsafe { .. } => {
                "name another key in [attestation] key and run `trustshim enroll`: it generates a safe one".into()
            }
            Self::KeyUri { .. } => {
                "write it as RFC 7512 has it, such as pkcs11:token=trustshim;object=attestation".into()
            }
            Self::Manifest { .. } => {
                "take a file that `trustshim measure --output` or `trustshim component export` wrote".into()
            }
            Self::Module { .. } => "name the vendor's PKCS#11 library itself, for this machine's architecture".into(),
            Self::NoAllowed => {
                "let the application attest, then look at `trustshim decisions --allowed`".into()
            }
            Self::NeedsRoot { .. } => "run the command as root, for example with sudo".into(),
            Self::NoAttestationKey { .. } => "run `trustshim enroll`, which generates it".into(),
            Self::NoConnection { what } => format!(
                "give it with {}, or in the profile file (see `trustshim --help`)",
                match *what {
                    "policy server" => "--server or TRUSTSHIM_SERVER",
                    "CA file" => "--ca or TRUSTSHIM_CA",
                    _ => "--admin-token-file or TRUSTSHIM_ADMIN_TOKEN",
                }
            ),
            Self::NoMeasurement(_) => {
                "approve a refusal that the server decided from evidence; `trustshim decisions` lists them".into()
            }
            Self::NoRefusal { .. } => "run the application once, then look at `trustshim decisions`".into(),
            Self::NoToken { .. } => {
                "check that the token is present and that token= or serial= is right: `pkcs11-tool --module FILE -L`"
                    .into()
            }
            Self::NoPin { .. } => "name its file in [attestation] pin_file, or type it when asked on a terminal".into(),
            Self::NotATerminal { .. } => "in a script, say --yes after checking by yourself".into(),
            Self::NotConfirmed => "run the command again when you are sure".into(),
            Self::NoSuchAccount { .. } => "`getent passwd` and `getent group` list them".into(),
            Self::NoSuchEnrolment(_) => {
                "`trustshim hsm list` shows what is enrolled; `trustshim enroll` on the host enrols".into()
            }
            Self::Output(_) => "check where the output goes".into(),
            Self::OtherDigest(_) => "approve nothing; have the policy server and its database looked at".into(),
            Self::Permissions { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Pin { .. } => "it holds the PIN and at most one line end; chmod 600, or 640 with a group of its own".into(),
            Self::Profile { .. } => "it is TOML with `server`, `ca`, `admin_token` or `admin_token_file`".into(),
            Self::Token { source: Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange, _), .. } => {
                "correct the PIN in pin_file before the next try: a token locks itself after a few wrong ones".into()
            }
            Self::Token { source: Error::Pkcs11(RvError::PinLocked, _), .. } => {
                "the token has locked itself; its security officer sets a new PIN".into()
            }
            Self::Token { .. } => "`trustshim doctor` tells which part of the token does not answer".into(),
            Self::TrustToken(_) => "give the compact form: three parts with dots between them".into(),
            Self::Usage(_) => "see --help".into(),
        }
    }

    /// 2 where the command line is to blame, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotATerminal { .. } | Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::from(1),
        }
    }
}

fn client_advice(error: &ClientError) -> String {
    match error {
        ClientError::BadAddress { .. } => "write it as https://HOST:PORT".into(),
        ClientError::BadCa { .. } => "take ca.pem from the policy server's directory".into(),
        ClientError::BadCertificate { .. } => {
            "check the host name, this machine's clock, and that ca.pem is this server's; \
             if all are right, somebody else may be answering"
                .into()
        }
        ClientError::BadCredential => "take the credential as `policy-server init` wrote it to admin-token".into(),
        ClientError::BadRequest { .. } => "this is a defect; please report it".into(),
        ClientError::Garbage { .. } => "check that a policy server of this version listens there".into(),
        ClientError::Refused(problem) => match problem.status {
            401 => "check the credential: --admin-token-file or TRUSTSHIM_ADMIN_TOKEN".into(),
            403 if problem.decision.is_none() => "this credential's role does not allow it; ask an approver".into(),
            403 => "`trustshim explain` with the decision's id says what differs".into(),
            404 => "check the name; `trustshim decisions`, `hsm list`, `component list`, `set list` and `grant list` \
                    show what there is"
                .into(),
            409 => "look at the present state first, then decide again".into(),
            503 if problem.kind.ends_with(":too-many-pending") => {
                "have an operator approve what is pending: `trustshim hsm list`".into()
            }
            503 => "try again in a moment; if it stays so, see who holds the policy server's database".into(),
            507 => "make room on the policy server's disk; nothing of the request was kept".into(),
            500.. => "look at the policy server's log".into(),
            _ => "correct what it names and try again".into(),
        },
        ClientError::TimedOut { .. } | ClientError::Unreachable { .. } => {
            "check that the policy server runs and that this host may reach it".into()
        }
        ClientError::TooLarge { .. } => "ask for less, for example with --limit".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_help_text() {
        let code = |code: ExitCode| format!("{code:?}");
        assert_eq!(code(CliError::NotATerminal { question: "x" }.exit_code()), code(ExitCode::from(2)));
        assert_eq!(code(CliError::NotConfirmed.exit_code()), code(ExitCode::from(1)));
        assert_eq!(code(Ended::Denied.into()), code(ExitCode::from(3)));
        assert_eq!(code(Ended::WithFailures.into()), code(ExitCode::from(1)));
    }
}
