//! The attester of inline mode: challenge, measurement of this process, a signature by the HSM, the policy server's
//! answer, and the check of the trust token that it holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::api::{AttestRequest, ChallengeRequest};
use attestation::attester_key::AttesterKey;
use attestation::digest::Digest;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, EVIDENCE_PROFILE, EvidenceClaims, EvidenceSubmods,
    HsmClaims, KeyClaims, SigningInput,
};
use attestation::token::{Anchors, Expected, Mode, Presented, VerifiedToken, verify_token};
use configuration::Configuration;
use cryptoki_ffi::{AttestationKey, AttesterSession, RealModule};
use gate::{AttestationFailure, Attester, FailureKind, Report};
use measurement::{DigestCache, Hashing};
use policy_client::{Client, ClientError, Settings};

use crate::exports;

pub(crate) use place::AttestationPlace;

mod place;

/// The attester cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttesterError {
    /// A file that the configuration names cannot be read.
    #[error("{path:?}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// The pinned keys.
    #[error("[policy_server] anchors: {0}")]
    Anchors(#[source] attestation::token::TokenError),
    /// The attestation key's URI.
    #[error("[attestation] key: {0}")]
    Key(#[source] attestation::key_uri::KeyUriError),
    /// The URI says neither token nor serial number, or neither object nor id.
    #[error("[attestation] key: the URI must say token= or serial=, and object= or id=")]
    KeyVague,
    /// The in-memory key.
    #[error("the attester's key: {0}")]
    MemoryKey(#[source] attestation::attester_key::NoRandomness),
    /// Boot id or host name.
    #[error(transparent)]
    Host(#[from] measurement::MeasurementError),
}

/// Attests this process.
pub(crate) struct InlineAttester {
    module: RealModule,
    module_path: PathBuf,
    configuration_path: PathBuf,
    configuration_digest: Digest,
    place: Arc<AttestationPlace>,
    memory_key: AttesterKey,
    anchors: Anchors,
    url: String,
    ca: PathBuf,
    timeout: Duration,
    host: String,
    boot_id: String,
    component: String,
    declared: Vec<PathBuf>,
    digests: DigestCache,
}

impl InlineAttester {
    /// Reads the pinned anchors and makes the in-memory key.
    pub(crate) fn new(
        configuration: &Configuration,
        place: Arc<AttestationPlace>,
        module: RealModule,
    ) -> Result<Self, AttesterError> {
        let server = &configuration.policy_server;
        let jwks = std::fs::read_to_string(&server.anchors)
            .map_err(|source| AttesterError::Unreadable { path: server.anchors.clone(), source })?;
        let host = match &configuration.attestation.host {
            Some(host) => host.clone(),
            None => measurement::host_name()?,
        };
        Ok(Self {
            module,
            module_path: configuration.real_module.path.clone(),
            configuration_path: configuration.path.clone(),
            configuration_digest: configuration.digest,
            place,
            memory_key: AttesterKey::generate().map_err(AttesterError::MemoryKey)?,
            anchors: Anchors::parse(&jwks).map_err(AttesterError::Anchors)?,
            url: server.url.clone(),
            ca: server.ca.clone(),
            timeout: Duration::from_millis(server.timeout_ms),
            host,
            boot_id: measurement::boot_id()?,
            component: configuration.component.name.clone(),
            declared: configuration.component.files.clone(),
            digests: DigestCache::new(),
        })
    }

    fn client(&self, within_ms: Option<u64>) -> Result<Client, AttestationFailure> {
        let timeout =
            within_ms.map_or(self.timeout, |within| self.timeout.min(Duration::from_millis(within)));
        Client::new(&Settings { url: self.url.clone(), ca_pem: self.ca.clone(), timeout })
            .map_err(|error| refused_by(&error))
    }

    fn claims(
        &self,
        nonce: String,
        boottime_ms: u64,
        key: &AttestationKey,
        hsm: &cryptoki_ffi::TokenFacts,
    ) -> Result<EvidenceClaims, AttestationFailure> {
        let unmeasured =
            |error: measurement::MeasurementError| local("measurement-failed", error.to_string());
        let hashing = Hashing::cached(&self.digests);
        let request = measurement::Request { name: &self.component, configuration: &self.declared };
        let component = measurement::measure_self(&request, &hashing).map_err(unmeasured)?;
        let configuration =
            measurement::measure_file(&self.configuration_path, &hashing).map_err(unmeasured)?;
        if configuration.sha256 != self.configuration_digest {
            return Err(local(
                "configuration-changed",
                format!(
                    "{:?} has changed since it was read; start the application again",
                    self.configuration_path
                ),
            ));
        }
        Ok(EvidenceClaims {
            eat_profile: EVIDENCE_PROFILE.to_owned(),
            aud: AUDIENCE.to_owned(),
            eat_nonce: nonce,
            iat: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            boottime_ms,
            cnf: Confirmation { jwk: self.memory_key.public_jwk() },
            submods: EvidenceSubmods {
                hsm: HsmClaims {
                    label: hsm.identity.label.clone(),
                    serial: hsm.identity.serial.clone(),
                    model: hsm.identity.model.clone(),
                    manufacturer: hsm.identity.manufacturer.clone(),
                    firmware: hsm.firmware.clone(),
                    key: KeyClaims {
                        sensitive: key.facts.sensitive,
                        extractable: key.facts.extractable,
                        never_extractable: key.facts.never_extractable,
                        local: key.facts.local,
                    },
                },
                boot: BootClaims { boot_id: self.boot_id.clone() },
                attester: AttesterClaims {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    shim: measurement::measure_object(exports::own_address().cast(), &hashing)
                        .map_err(unmeasured)?,
                    real_module: measurement::measure_file(&self.module_path, &hashing)
                        .map_err(unmeasured)?,
                    configuration,
                },
                component,
            },
        })
    }

    /// Challenge, measurement and signature; everything up to the request.
    fn evidence(&self, client: &Client) -> Result<Prepared, AttestationFailure> {
        let boottime_ms =
            linux_ffi::boottime_ms().map_err(|error| local("clock-unreadable", error.to_string()))?;
        let module_error = |error: cryptoki_ffi::ModuleError| local("attestation-key", error.to_string());
        let slot = self.place.slot().map_err(module_error)?;
        let hsm = self.module.token(slot).map_err(module_error)?;
        let session = AttesterSession::open(self.module, slot).map_err(module_error)?;
        if let Some(pin) = self.place.pin().map_err(|error| local("attestation-pin", error.to_string()))? {
            session.login(&pin).map_err(module_error)?;
        }
        let key =
            session.key(self.place.label(), self.place.id(), self.place.name()).map_err(module_error)?;
        let hsm_id = key.public.thumbprint();
        let challenge = client
            .challenge(&ChallengeRequest { kid: hsm_id.clone(), cnf: self.memory_key.thumbprint() })
            .map_err(|error| refused_by(&error))?;
        let claims = self.claims(challenge.nonce.clone(), boottime_ms, &key, &hsm)?;
        let measurement = claims.submods.component.measurement_digest();
        let unsigned = SigningInput::evidence(&claims, &key.public)
            .map_err(|error| local("evidence-unbuildable", error.to_string()))?;
        let digest = Digest::of(unsigned.bytes());
        let signature = session.sign(&key, unsigned.bytes(), digest.as_bytes()).map_err(module_error)?;
        Ok(Prepared { hsm_id, nonce: challenge.nonce, measurement, evidence: unsigned.finish(&signature) })
    }

    fn verify(&self, jwt: &str, prepared: &Prepared) -> Result<VerifiedToken, AttestationFailure> {
        let now_ms =
            linux_ffi::boottime_ms().map_err(|error| local("clock-unreadable", error.to_string()))?;
        let expected = Expected {
            hsm: &prepared.hsm_id,
            host: &self.host,
            mode: Mode::Inline,
            boot_id: &self.boot_id,
            measurement: prepared.measurement,
            presented: Presented::Answer { cnf: &self.memory_key.thumbprint(), nonce: &prepared.nonce },
        };
        verify_token(jwt, &self.anchors, &expected, now_ms)
            .map_err(|error| local("token-invalid", error.to_string()))
    }
}

struct Prepared {
    hsm_id: String,
    nonce: String,
    measurement: Digest,
    evidence: String,
}

impl Attester for InlineAttester {
    fn attest(
        &self,
        report: Report,
        within_ms: Option<u64>,
    ) -> Result<VerifiedToken, (AttestationFailure, Option<Report>)> {
        let prepared = self.client(within_ms).and_then(|client| Ok((self.evidence(&client)?, client)));
        let (prepared, client) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return Err((failure, Some(report))),
        };
        let request = AttestRequest {
            evidence: prepared.evidence.clone(),
            decisions: report.decisions.clone(),
            lost: report.lost,
        };
        match client.attest(&request) {
            Ok(answer) => self.verify(&answer.token, &prepared).map_err(|failure| (failure, None)),
            Err(error) => {
                let failure = refused_by(&error);
                // A refusal means that the server read the report.
                let undelivered = (failure.kind == FailureKind::Unavailable).then_some(report);
                Err((failure, undelivered))
            }
        }
    }
}

/// A failure on this side: no answer of the policy server is to blame.
fn local(code: &str, detail: String) -> AttestationFailure {
    AttestationFailure { kind: FailureKind::Unavailable, code: code.to_owned(), detail, decision: None }
}

fn refused_by(error: &ClientError) -> AttestationFailure {
    match error {
        // Only an appraisal ends a token in hand: a server that is overloaded or at odds with the request has
        // judged nothing.
        ClientError::Refused(problem) if problem.decision.is_some() => AttestationFailure {
            kind: FailureKind::Refused,
            code: problem
                .reasons
                .first()
                .map_or("evidence-refused", |reason| reason.code.as_str())
                .to_owned(),
            detail: problem
                .reasons
                .first()
                .map(|reason| reason.detail.clone())
                .or_else(|| problem.detail.clone())
                .unwrap_or_else(|| problem.title.clone()),
            decision: problem.decision,
        },
        other => local("policy-server-unavailable", other.to_string()),
    }
}
