//! The appraisal: verified evidence compared with policy. Pure functions; no I/O and no clock.
//!
//! [`appraise`] is the only place that makes an [`Appraised`], and only that can be signed into a token.

pub mod approval;
pub mod argument_pattern;
pub mod differences;
pub mod forbidden;
pub mod import;
pub mod nearest;
mod observing;
pub mod policy;
pub mod reason;
mod recognition;
mod sender;
pub mod terms;

use attestation::api::{HsmRecord, VersionName};
use attestation::decision::Reason;
use attestation::digest::Digest;
use attestation::evidence::VerifiedEvidence;
use attestation::grant::Grant;
use attestation::token::{Binding, Mode, Statuses, Tier};

use policy::Policy;
use reason::ReasonCode;
use recognition::recognise;
pub use sender::unsafe_key;
use sender::{check_claims, check_key, check_nonce};
use terms::{Moment, grants};

/// Most reasons that a refusal carries.
const MAX_REASONS: usize = 24;

/// What became of the nonce in the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// It was given to somebody, but its time is over.
    Expired,
    /// It was given to this key for this attester, and this is its first use.
    Fresh,
    /// It was never given to this key and attester, or before the server was started.
    Unknown,
    /// It has been used before.
    Used,
}

/// Why evidence is appraised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its attester presents it; the state of the nonce is consumed by asking.
    Presented(NonceState),
    /// An operator wants a token to be handed in, on the evidence of an earlier decision that allowed it.
    Kept {
        /// Seconds since that decision.
        age_s: u64,
    },
}

/// What the verifier knows by itself about the sender of evidence.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The enrolled key that signed. Host and mode are taken from here, never from evidence.
    pub hsm: &'a HsmRecord,
    /// Why it is appraised.
    pub occasion: Occasion,
}

/// Evidence that was accepted, with what it earns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    at: u64,
    binding: Option<Binding>,
    boot_id: String,
    boottime_ms: u64,
    epoch: u64,
    grants: Vec<Grant>,
    host: String,
    hsm: String,
    measurement: Digest,
    mode: Mode,
    name: VersionName,
    observed: Vec<Reason>,
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

    /// The host's `CLOCK_BOOTTIME` in milliseconds from which the token's lifetime counts: that of the challenge, moved
    /// on by the age of kept evidence.
    pub fn boottime_ms(&self) -> u64 {
        self.boottime_ms
    }

    /// What the token is bound to; nothing where the evidence was kept.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
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

    /// What would have refused it, were its component not observed; empty where it matches wholly.
    pub fn observed(&self) -> &[Reason] {
        &self.observed
    }

    /// The results part by part.
    pub fn statuses(&self) -> Statuses {
        let unknown = ReasonCode::AttesterUnknown.name();
        let attester_differs = self.observed.iter().any(|reason| reason.code == unknown);
        Statuses {
            // The boot is named in the evidence, not measured.
            boot: Tier::None,
            attester: if attester_differs { Tier::Warning } else { Tier::Affirming },
            component: if self.observed.is_empty() { Tier::Affirming } else { Tier::Warning },
        }
    }
}

/// Evidence that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why; never empty.
    pub reasons: Vec<Reason>,
    /// The version that was recognised all the same: one that counts no more, or one without a grant.
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
    let hsm = circumstances.hsm;
    check_key(evidence.key_id(), hsm)?;
    let (binding, age_s) = match circumstances.occasion {
        Occasion::Presented(nonce) => {
            check_nonce(nonce)?;
            let cnf = claims.cnf.jwk.thumbprint();
            (Some(Binding { nonce: claims.eat_nonce.clone(), cnf }), 0)
        }
        Occasion::Kept { age_s } => (None, age_s),
    };
    check_claims(claims, hsm)?;
    let recognised = recognise(policy, claims)?;
    let version = recognised.version;
    let boottime_ms = claims.boottime_ms.saturating_add(age_s.saturating_mul(1000));
    let grants = grants(policy, version, hsm.mode, Moment { now, boottime_ms }).map_err(|why| Refused {
        reasons: vec![ReasonCode::NoGrant.because(why)],
        recognised: Some(version.name.clone()),
    })?;
    Ok(Appraised {
        at: now,
        binding,
        boot_id: claims.submods.boot.boot_id.clone(),
        boottime_ms,
        epoch: policy.epoch,
        grants,
        host: hsm.host.clone(),
        hsm: hsm.fingerprint.clone(),
        measurement: claims.submods.component.measurement_digest(),
        mode: hsm.mode,
        name: version.name.clone(),
        observed: recognised.observed,
    })
}
