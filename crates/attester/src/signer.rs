//! From a measurement to a trust token: the challenge, a signature by the HSM, and the policy server's answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::api::{AttestRequest, ChallengeRequest};
use attestation::attester_key::AttesterKey;
use attestation::component::{Component, MeasuredFile};
use attestation::digest::Digest;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, EVIDENCE_PROFILE, EvidenceClaims, EvidenceSubmods,
    HsmClaims, KeyClaims, SigningInput,
};
use attestation::token::Mode;
use configuration::Configuration;
use cryptoki_ffi::{AttestationKey, AttesterSession, Away, RealModule, TokenFacts};
use gate::{AttestationFailure, FailureKind, Report};
use gated_module::AttestationPlace;
use measurement::{DigestCache, Hashing, MeasurementError};
use policy_client::{Client, Settings as ClientSettings};
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::error::AttesterError;
use crate::failure::{local, module_error, now_ms, refused_by, unmeasured};
use crate::issued::Issued;

/// The process that the attester is in.
#[derive(Clone, Copy)]
pub struct Surroundings {
    /// Measures the file that this code is from: the shim in inline mode, the guard in guarded mode.
    pub itself: fn(&Hashing<'_>) -> Result<MeasuredFile, MeasurementError>,
    /// Asked when the real module is left alone for a while, for as long as what it gives is kept.
    pub step_away: fn() -> Option<Away<'static>>,
}

/// Has evidence signed and appraised. It trusts its caller for what was measured.
pub struct Signer {
    mode: Mode,
    module: RealModule,
    module_path: PathBuf,
    configuration_path: PathBuf,
    configuration_digest: Digest,
    place: Arc<AttestationPlace>,
    surroundings: Surroundings,
    memory_key: AttesterKey,
    server: ClientSettings,
    boot_id: String,
    digests: DigestCache,
}

/// What came of an attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The policy server's answer, or why there is none.
    pub result: Result<Issued, AttestationFailure>,
    /// The report, where it did not reach the policy server.
    pub undelivered: Option<Report>,
}

struct Prepared {
    hsm_id: String,
    nonce: String,
    measurement: Digest,
    evidence: String,
}

impl Signer {
    /// Makes the in-memory key. The real module is that of `place`.
    ///
    /// # Errors
    /// What it needs cannot be had.
    pub fn new(
        configuration: &Configuration,
        place: Arc<AttestationPlace>,
        surroundings: Surroundings,
    ) -> Result<Self, AttesterError> {
        let server = &configuration.policy_server;
        Ok(Self {
            mode: configuration.mode,
            module: place.module(),
            module_path: configuration.real_module.path.clone(),
            configuration_path: configuration.path.clone(),
            configuration_digest: configuration.digest,
            place,
            surroundings,
            memory_key: AttesterKey::generate().map_err(AttesterError::MemoryKey)?,
            server: ClientSettings {
                url: server.url.clone(),
                ca_pem: server.ca.clone(),
                timeout: Duration::from_millis(server.timeout_ms),
            },
            boot_id: measurement::boot_id()?,
            digests: DigestCache::new(),
        })
    }

    /// Hashing that ends with the budget, and remembers from one attestation to the next.
    pub fn hashing(&self, budget: &Budget) -> Hashing<'_> {
        budget.bound(Hashing::cached(&self.digests))
    }

    /// Thumbprint of the attestation key.
    ///
    /// # Errors
    /// The key cannot be found.
    pub fn hsm_id(&self) -> Result<String, AttestationFailure> {
        let slot = self.place.slot().map_err(module_error)?;
        let _at_work = self.place.at_work();
        let (_session, key) = self.key(slot)?;
        Ok(key.public.thumbprint())
    }

    /// One attestation: of what `measure` measures once the policy server has given its challenge.
    pub fn attest(
        &self,
        report: Report,
        budget: &Budget,
        measure: impl FnOnce() -> Result<Component, AttestationFailure>,
    ) -> Outcome {
        let undelivered = |report: Report| (!report.is_empty()).then_some(report);
        let prepared = self.client().and_then(|client| {
            let prepared = self.evidence(&client, budget, measure)?;
            Ok((prepared, client.within(budget.left(self.server.timeout)?)))
        });
        let (prepared, client) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return Outcome { result: Err(failure), undelivered: undelivered(report) },
        };
        let Prepared { hsm_id, nonce, measurement, evidence } = prepared;
        let request = AttestRequest { evidence, decisions: report.decisions.clone(), lost: report.lost };
        let away = (self.surroundings.step_away)();
        let answer = client.attest(&request);
        drop(away);
        match answer {
            Ok(answer) => {
                let cnf = self.memory_key.thumbprint();
                let issued = Issued { jwt: answer.token, hsm_id, cnf, nonce, measurement };
                Outcome { result: Ok(issued), undelivered: None }
            }
            Err(error) => {
                let failure = refused_by(&error);
                // A refusal means that the server read the report.
                let unread = failure.kind == FailureKind::Unavailable;
                let undelivered = undelivered(report).filter(|_| unread);
                Outcome { result: Err(failure), undelivered }
            }
        }
    }

    fn client(&self) -> Result<Client, AttestationFailure> {
        // Challenge and evidence: a second handshake would take longer than the measurement.
        Client::new(&self.server).map(|client| client.on_one_connection()).map_err(|error| refused_by(&error))
    }

    /// Challenge, measurement and signature; everything up to the request.
    fn evidence(
        &self,
        client: &Client,
        budget: &Budget,
        measure: impl FnOnce() -> Result<Component, AttestationFailure>,
    ) -> Result<Prepared, AttestationFailure> {
        let boottime_ms = now_ms()?;
        let slot = self.place.slot().map_err(module_error)?;
        let hsm = self.module.token(slot).map_err(module_error)?;
        let _at_work = self.place.at_work();
        let (session, key) = self.key(slot)?;
        let hsm_id = key.public.thumbprint();
        let away = (self.surroundings.step_away)();
        let challenge = client
            .within(budget.left(self.server.timeout)?)
            .challenge(&ChallengeRequest { kid: hsm_id.clone(), cnf: self.memory_key.thumbprint() })
            .map_err(|error| refused_by(&error))?;
        let component = measure()?;
        let submods = EvidenceSubmods {
            hsm: hsm_claims(&hsm, &key),
            boot: BootClaims { boot_id: self.boot_id.clone() },
            attester: self.attester_claims(budget)?,
            component,
        };
        let claims = EvidenceClaims {
            eat_profile: EVIDENCE_PROFILE.to_owned(),
            aud: AUDIENCE.to_owned(),
            eat_nonce: challenge.nonce.clone(),
            iat: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            boottime_ms,
            cnf: Confirmation { jwk: self.memory_key.public_jwk() },
            submods,
        };
        drop(away);
        let measurement = claims.submods.component.measurement_digest();
        let unsigned = SigningInput::evidence(&claims, &key.public)
            .map_err(|error| local("evidence-unbuildable", error.to_string()))?;
        let digest = Digest::of(unsigned.bytes());
        budget.left(self.server.timeout)?;
        self.check_own(&session)?;
        let signature = session.sign(&key, unsigned.bytes(), digest.as_bytes()).map_err(module_error)?;
        Ok(Prepared { hsm_id, nonce: challenge.nonce, measurement, evidence: unsigned.finish(&signature) })
    }

    /// The measurer, measured.
    fn attester_claims(&self, budget: &Budget) -> Result<AttesterClaims, AttestationFailure> {
        let hashing = self.hashing(budget);
        let configuration =
            measurement::measure_file(&self.configuration_path, &hashing).map_err(unmeasured)?;
        if configuration.sha256 != self.configuration_digest {
            let reader = match self.mode {
                Mode::Inline => "the application",
                Mode::Guarded => "the guard",
            };
            let path = &self.configuration_path;
            let detail = format!("{path:?} has changed since it was read; start {reader} again");
            return Err(local("configuration-changed", detail));
        }
        Ok(AttesterClaims {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            shim: (self.surroundings.itself)(&hashing).map_err(unmeasured)?,
            real_module: measurement::measure_file(&self.module_path, &hashing).map_err(unmeasured)?,
            configuration,
        })
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
}

fn hsm_claims(hsm: &TokenFacts, key: &AttestationKey) -> HsmClaims {
    HsmClaims {
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
    }
}
