//! The attester of inline mode: challenge, measurement of this process, a signature by the HSM, the policy server's
//! answer, and the check of the trust token that it holds.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attestation::api::{AttestRequest, ChallengeRequest};
use attestation::attester_key::AttesterKey;
use attestation::component::Component;
use attestation::digest::Digest;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, EVIDENCE_PROFILE, EvidenceClaims, EvidenceSubmods,
    HsmClaims, KeyClaims, SigningInput,
};
use attestation::token::{Anchors, Expected, MAX_TOKEN, Mode, Presented, VerifiedToken, verify_token};
use configuration::Configuration;
use cryptoki_ffi::{AttestationKey, AttesterSession, ModuleError, RealModule};
use gate::{AttestationFailure, AttestationOutcome, AttestationRequest, Attester, FailureKind, Report};
use measurement::{DigestCache, Hashing, MeasurementError};
use policy_client::{Client, ClientError, Settings as ClientSettings};

use crate::exports;
use crate::instance;

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
    trust_token_file: Option<PathBuf>,
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
            trust_token_file: configuration.attestation.trust_token_file.clone(),
        })
    }

    fn client(&self) -> Result<Client, AttestationFailure> {
        let settings =
            ClientSettings { url: self.url.clone(), ca_pem: self.ca.clone(), timeout: self.timeout };
        // Challenge and evidence: a second handshake would take longer than the measurement.
        Client::new(&settings).map(|client| client.on_one_connection()).map_err(|error| refused_by(&error))
    }

    fn claims(
        &self,
        nonce: String,
        boottime_ms: u64,
        key: &AttestationKey,
        hsm: &cryptoki_ffi::TokenFacts,
        budget: &Budget,
    ) -> Result<EvidenceClaims, AttestationFailure> {
        let hashing = self.hashing(budget);
        let component = self.measure(&hashing)?;
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

    fn hashing(&self, budget: &Budget) -> Hashing<'_> {
        let hashing = Hashing::cached(&self.digests);
        budget.end.map_or(hashing, |end| hashing.until(end))
    }

    fn measure(&self, hashing: &Hashing<'_>) -> Result<Component, AttestationFailure> {
        let request = measurement::Request { name: &self.component, configuration: &self.declared };
        measurement::measure_self(&request, hashing).map_err(unmeasured)
    }

    /// The attestation key, on a session that is closed when dropped.
    fn key(&self, slot: u64) -> Result<(AttesterSession, AttestationKey), AttestationFailure> {
        let session = AttesterSession::open(self.module, slot).map_err(module_error)?;
        self.check_own(&session)?;
        if let Some(pin) = self.place.pin().map_err(|error| local("attestation-pin", error.to_string()))? {
            session.login(&pin).map_err(module_error)?;
        }
        let key =
            session.key(self.place.label(), self.place.id(), self.place.name()).map_err(module_error)?;
        Ok((session, key))
    }

    fn check_own(&self, session: &AttesterSession) -> Result<(), AttestationFailure> {
        if self.place.is_shared(session.handle()) {
            let detail = "the real module gave the attester a session that the application has, too";
            return Err(local("attestation-session", detail.to_owned()));
        }
        Ok(())
    }

    /// Challenge, measurement and signature; everything up to the request.
    fn evidence(&self, client: &Client, budget: &Budget) -> Result<Prepared, AttestationFailure> {
        let boottime_ms = now_ms()?;
        let slot = self.place.slot().map_err(module_error)?;
        let hsm = self.module.token(slot).map_err(module_error)?;
        let _at_work = self.place.at_work();
        let (session, key) = self.key(slot)?;
        let hsm_id = key.public.thumbprint();
        let away = instance::step_away();
        let challenge = client
            .within(budget.left(self.timeout)?)
            .challenge(&ChallengeRequest { kid: hsm_id.clone(), cnf: self.memory_key.thumbprint() })
            .map_err(|error| refused_by(&error))?;
        let claims = self.claims(challenge.nonce.clone(), boottime_ms, &key, &hsm, budget)?;
        drop(away);
        let measurement = claims.submods.component.measurement_digest();
        let unsigned = SigningInput::evidence(&claims, &key.public)
            .map_err(|error| local("evidence-unbuildable", error.to_string()))?;
        let digest = Digest::of(unsigned.bytes());
        budget.left(self.timeout)?;
        self.check_own(&session)?;
        let signature = session.sign(&key, unsigned.bytes(), digest.as_bytes()).map_err(module_error)?;
        Ok(Prepared { hsm_id, nonce: challenge.nonce, measurement, evidence: unsigned.finish(&signature) })
    }

    fn verify(
        &self,
        jwt: &str,
        hsm_id: &str,
        measurement: Digest,
        presented: Presented<'_>,
    ) -> Result<VerifiedToken, AttestationFailure> {
        let expected = Expected {
            hsm: hsm_id,
            host: &self.host,
            mode: Mode::Inline,
            boot_id: &self.boot_id,
            measurement,
            presented,
        };
        verify_token(jwt, &self.anchors, &expected, now_ms()?)
            .map_err(|error| local(error.code(), error.to_string()))
    }

    fn examine_within(&self, jwt: &str, budget: &Budget) -> Result<VerifiedToken, AttestationFailure> {
        let slot = self.place.slot().map_err(module_error)?;
        let _at_work = self.place.at_work();
        let (_session, key) = self.key(slot)?;
        let component = self.measure(&self.hashing(budget))?;
        let hsm_id = key.public.thumbprint();
        self.verify(jwt, &hsm_id, component.measurement_digest(), Presented::HandedIn)
    }

    /// The token in the configured file, if it is there and counts beyond `beyond_ms`.
    ///
    /// One that does not count is as good as none: then the policy server is asked.
    fn handed_in(&self, beyond_ms: u64, budget: &Budget) -> Option<VerifiedToken> {
        let file = File::open(self.trust_token_file.as_ref()?).ok()?;
        let mut jwt = String::new();
        file.take(MAX_TOKEN as u64 + 1).read_to_string(&mut jwt).ok()?;
        let token = self.examine_within(jwt.trim_end(), budget).ok()?;
        (token.deadline_boottime_ms() > beyond_ms).then_some(token)
    }
}

/// How long an attestation may go on.
struct Budget {
    end: Option<Instant>,
}

impl Budget {
    fn new(within_ms: Option<u64>) -> Self {
        Self { end: within_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))) }
    }

    /// What is left of it, at most `timeout`.
    fn left(&self, timeout: Duration) -> Result<Duration, AttestationFailure> {
        let left = self.end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()).min(timeout));
        if left.is_zero() {
            return Err(local("out-of-time", "the attestation took longer than a renewal may".to_owned()));
        }
        Ok(left)
    }
}

struct Prepared {
    hsm_id: String,
    nonce: String,
    measurement: Digest,
    evidence: String,
}

impl Attester for InlineAttester {
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome {
        let AttestationRequest { report, within_ms, beyond_ms } = request;
        let undelivered = |report: Report| (!report.is_empty()).then_some(report);
        let budget = Budget::new(within_ms);
        if let Some(token) = self.handed_in(beyond_ms, &budget) {
            return AttestationOutcome { result: Ok(token), undelivered: undelivered(report) };
        }
        let prepared = self.client().and_then(|client| {
            let prepared = self.evidence(&client, &budget)?;
            Ok((prepared, client.within(budget.left(self.timeout)?)))
        });
        let (prepared, client) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                return AttestationOutcome { result: Err(failure), undelivered: undelivered(report) };
            }
        };
        let request = AttestRequest {
            evidence: prepared.evidence.clone(),
            decisions: report.decisions.clone(),
            lost: report.lost,
        };
        let away = instance::step_away();
        let answer = client.attest(&request);
        drop(away);
        match answer {
            Ok(answer) => {
                let presented =
                    Presented::Answer { cnf: &self.memory_key.thumbprint(), nonce: &prepared.nonce };
                let result = self.verify(&answer.token, &prepared.hsm_id, prepared.measurement, presented);
                AttestationOutcome { result, undelivered: None }
            }
            Err(error) => {
                let failure = refused_by(&error);
                // A refusal means that the server read the report.
                let unread = failure.kind == FailureKind::Unavailable;
                let undelivered = undelivered(report).filter(|_| unread);
                AttestationOutcome { result: Err(failure), undelivered }
            }
        }
    }

    fn examine(&self, jwt: &str) -> Result<VerifiedToken, AttestationFailure> {
        self.examine_within(jwt, &Budget::new(None))
    }
}

fn now_ms() -> Result<u64, AttestationFailure> {
    linux_ffi::boottime_ms().map_err(|error| local("clock-unreadable", error.to_string()))
}

fn module_error(error: ModuleError) -> AttestationFailure {
    local("attestation-key", error.to_string())
}

fn unmeasured(error: MeasurementError) -> AttestationFailure {
    local("measurement-failed", error.to_string())
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
