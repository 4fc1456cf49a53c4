//! The appraisal: verified evidence compared with policy. Pure functions; no I/O and no clock.
//!
//! [`appraise`] is the only place that makes an [`Appraised`], and only that can be signed into a token.

pub mod approval;
pub mod differences;
pub mod forbidden;
pub mod nearest;
pub mod policy;
pub mod reason;

use attestation::api::{HsmRecord, HsmState, VersionName};
use attestation::component::Component;
use attestation::decision::Reason;
use attestation::digest::Digest;
use attestation::evidence::{EvidenceClaims, EvidenceSubmods, HsmClaims, VerifiedEvidence};
use attestation::grant::Grant;
use attestation::token::Mode;

use differences::differences;
use policy::{ApprovedVersion, Policy};
use reason::ReasonCode;

use crate::text;

/// Most reasons that a refusal carries.
const MAX_REASONS: usize = 24;
/// Latest time since boot that is believed, in milliseconds: a hundred years.
const MAX_BOOTTIME_MS: u64 = 100 * 366 * 86_400 * 1000;

/// What became of the nonce in the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// It was given to somebody, but its time is over.
    Expired,
    /// It was given to this key for this attester, and this is its first use.
    Fresh,
    /// It was never given to this key and attester, or so long ago that it is forgotten.
    Unknown,
    /// It has been used before.
    Used,
}

/// What the verifier knows by itself about the sender of evidence.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The enrolled key that signed. Host and mode are taken from here, never from evidence.
    pub hsm: &'a HsmRecord,
    /// The state of the nonce, consumed by asking.
    pub nonce: NonceState,
}

/// Evidence that was accepted, with what it earns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    at: u64,
    boot_id: String,
    boottime_ms: u64,
    cnf: String,
    epoch: u64,
    grants: Vec<Grant>,
    host: String,
    hsm: String,
    measurement: Digest,
    mode: Mode,
    name: VersionName,
    nonce: String,
}

impl Appraised {
    /// When it was appraised, in seconds since 1970.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The boot for which the result counts.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The attester's `CLOCK_BOOTTIME` at the challenge, in milliseconds.
    pub fn boottime_ms(&self) -> u64 {
        self.boottime_ms
    }

    /// Thumbprint of the attester's in-memory key.
    pub fn cnf(&self) -> &str {
        &self.cnf
    }

    /// The revocation epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the component may do; never empty.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The host of the attestation key.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Fingerprint of the attestation key.
    pub fn hsm(&self) -> &str {
        &self.hsm
    }

    /// The measurement digest.
    pub fn measurement(&self) -> Digest {
        self.measurement
    }

    /// The mode of the attestation key.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The component and version that were recognised.
    pub fn name(&self) -> &VersionName {
        &self.name
    }

    /// The challenge that was answered.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// Evidence that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why; never empty.
    pub reasons: Vec<Reason>,
    /// The version that was recognised all the same: a retired one, or one without a grant.
    pub recognised: Option<VersionName>,
}

impl Refused {
    fn because(reason: Reason) -> Self {
        Self { reasons: vec![reason], recognised: None }
    }
}

/// Compares evidence with the policy at the time `now`, in seconds since 1970.
///
/// # Errors
/// [`Refused`], with every reason of the first stage that fails: the sender, then the program, then its grants.
pub fn appraise(
    evidence: &VerifiedEvidence,
    circumstances: &Circumstances<'_>,
    policy: &Policy,
    now: u64,
) -> Result<Appraised, Refused> {
    let claims = evidence.claims();
    check_sender(evidence.key_id(), claims, circumstances)?;
    let version = recognise(policy, claims)?;
    let hsm = circumstances.hsm;
    let grants = grants(policy, &version.name.component, hsm.mode);
    if grants.is_empty() {
        let component = &version.name.component;
        let reason =
            ReasonCode::NoGrant.because(format!("{component} has no grant in {} mode", hsm.mode.name()));
        return Err(Refused { reasons: vec![reason], recognised: Some(version.name.clone()) });
    }
    Ok(Appraised {
        at: now,
        boot_id: claims.submods.boot.boot_id.clone(),
        boottime_ms: claims.boottime_ms,
        cnf: claims.cnf.jwk.thumbprint(),
        epoch: policy.epoch,
        grants,
        host: hsm.host.clone(),
        hsm: hsm.fingerprint.clone(),
        measurement: claims.submods.component.measurement_digest(),
        mode: hsm.mode,
        name: version.name.clone(),
        nonce: claims.eat_nonce.clone(),
    })
}

/// Nonce, state of the attestation key, its attributes, and the token that holds it.
fn check_sender(
    key_id: &str,
    claims: &EvidenceClaims,
    circumstances: &Circumstances<'_>,
) -> Result<(), Refused> {
    let hsm = circumstances.hsm;
    if key_id != hsm.fingerprint {
        return Err(Refused::because(ReasonCode::KeyUnknown.because("the evidence names another key")));
    }
    match hsm.state {
        HsmState::Approved => {}
        HsmState::Pending => {
            return Err(Refused::because(ReasonCode::KeyPending.because(format!(
                "the attestation key {} of {} waits for an operator's approval",
                hsm.fingerprint, hsm.host
            ))));
        }
        HsmState::Suspended => {
            return Err(Refused::because(ReasonCode::KeySuspended.because(format!(
                "the attestation key {} of {} was suspended by an operator",
                hsm.fingerprint, hsm.host
            ))));
        }
    }
    let nonce = match circumstances.nonce {
        NonceState::Fresh => None,
        NonceState::Expired => Some(ReasonCode::NonceExpired.because("the challenge is too old")),
        NonceState::Unknown => {
            Some(ReasonCode::NonceUnknown.because("the challenge was not given to this key and attester"))
        }
        NonceState::Used => Some(ReasonCode::NonceUsed.because("the challenge was answered before")),
    };
    if let Some(reason) = nonce {
        return Err(Refused::because(reason));
    }
    if let Some(problem) = out_of_range(claims) {
        return Err(Refused::because(ReasonCode::EvidenceMalformed.because(problem)));
    }
    let mut reasons: Vec<_> = unsafe_key(&claims.submods.hsm).into_iter().collect();
    let (measured, enrolled) = (&claims.submods.hsm.serial, &hsm.hsm.serial);
    if measured != enrolled {
        reasons.push(
            ReasonCode::HsmMismatch
                .because(format!("the token's serial number is {measured}; enrolled is {enrolled}")),
        );
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refused { reasons, recognised: None }) }
}

/// Claims that are copied into the token must be what they are said to be.
fn out_of_range(claims: &EvidenceClaims) -> Option<&'static str> {
    let boot_id = &claims.submods.boot.boot_id;
    let is_uuid = boot_id.len() == 36
        && boot_id.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !is_uuid {
        Some("`boot_id` is not a UUID")
    } else if claims.boottime_ms > MAX_BOOTTIME_MS {
        Some("`boottime_ms` is out of range")
    } else if !strings(claims).all(text::is_escaped) {
        Some("a path, argument or variable is not escaped")
    } else {
        None
    }
}

/// Everything in the evidence that people will be shown.
fn strings(claims: &EvidenceClaims) -> impl Iterator<Item = &str> {
    let EvidenceSubmods { hsm, boot: _, attester, component } = &claims.submods;
    let files = [&attester.shim, &attester.real_module, &attester.configuration, &component.executable];
    let lists = [&component.mappings, &component.scripts, &component.configuration];
    let files = files.into_iter().chain(lists.into_iter().flatten());
    let files = files.flat_map(|file| [Some(&file.path), file.build_id.as_ref()]).flatten();
    let names = [&hsm.label, &hsm.serial, &hsm.model, &hsm.manufacturer, &hsm.firmware];
    let names = names.into_iter().chain([&attester.version, &component.name]);
    let environment = component.environment.iter().flat_map(|(variable, value)| [variable, value]);
    let rest = component.argv.iter().chain(environment).chain(&component.principal.unit);
    files.chain(names).chain(rest).map(String::as_str)
}

/// Why the attributes of an attestation key leave room for a copy of it outside the token.
pub fn unsafe_key(hsm: &HsmClaims) -> Option<Reason> {
    let key = hsm.key;
    let faults: Vec<_> = [
        (!key.sensitive, "not sensitive"),
        (key.extractable, "extractable"),
        (!key.never_extractable, "not always non-extractable"),
        (!key.local, "not generated inside the token"),
    ]
    .into_iter()
    .filter_map(|(fault, name)| fault.then_some(name))
    .collect();
    (!faults.is_empty())
        .then(|| ReasonCode::HsmKeyUnsafe.because(format!("the attestation key is {}", faults.join(", "))))
}

/// The newest version in use that the measurement matches wholly.
fn recognise<'a>(policy: &'a Policy, claims: &EvidenceClaims) -> Result<&'a ApprovedVersion, Refused> {
    let component = &claims.submods.component;
    if let Some(reason) = forbidden(component) {
        return Err(Refused::because(reason));
    }
    let newest =
        |retired: bool| {
            policy.versions.iter().rev().find(|version| {
                version.retired == retired && differences(&version.reference, claims).is_empty()
            })
        };
    if let Some(version) = newest(false) {
        return Ok(version);
    }
    if let Some(version) = newest(true) {
        let VersionName { component, version: number } = &version.name;
        let reason = ReasonCode::VersionRetired.because(format!("{component} {number} was retired"));
        return Err(Refused { reasons: vec![reason], recognised: Some(version.name.clone()) });
    }
    Err(Refused { reasons: reasons_of_mismatch(policy, claims), recognised: None })
}

/// The reason to refuse a program that can never be a component.
pub fn forbidden(component: &Component) -> Option<Reason> {
    let path = &component.executable.path;
    let kind = forbidden::forbidden_kind(path)?;
    Some(
        ReasonCode::ComponentForbidden.because(format!("{path} is a {kind}, which runs whatever it is told")),
    )
}

fn reasons_of_mismatch(policy: &Policy, claims: &EvidenceClaims) -> Vec<Reason> {
    let mut reasons: Vec<_> = match nearest::nearest(policy, claims) {
        Some(nearest) => nearest.findings.iter().map(differences::Finding::reason).collect(),
        None => {
            let component = &claims.submods.component;
            let executable = &component.executable;
            let unknown = ReasonCode::ExecutableUnknown
                .because(format!("{} {} is not approved", executable.path, executable.sha256));
            let runtime = differences::runtime(&component.runtime, false);
            core::iter::once(unknown).chain(runtime.iter().map(differences::Finding::reason)).collect()
        }
    };
    // The state of the process comes last in the comparison but must not be cut off by a long list of files.
    if reasons.len() > MAX_REASONS {
        let mut seen = Vec::new();
        let (first, repeated): (Vec<_>, Vec<_>) = reasons.into_iter().partition(|reason| {
            let new = !seen.contains(&reason.code);
            seen.push(reason.code.clone());
            new
        });
        reasons = first.into_iter().chain(repeated).take(MAX_REASONS).collect();
    }
    reasons
}

fn grants(policy: &Policy, component: &str, mode: Mode) -> Vec<Grant> {
    policy
        .grants
        .iter()
        .filter(|grant| grant.component == component && grant.mode.is_none_or(|only| only == mode))
        .map(|grant| Grant {
            id: grant.id.clone(),
            key: grant.key.clone(),
            operations: grant.operations.clone(),
            mechanisms: None,
            rate: None,
            deadline_boottime_ms: None,
        })
        .collect()
}
