//! What is checked of evidence before its program is looked at: the key that signed, the nonce, and the ranges of claims.

use attestation::api::{HsmRecord, HsmState};
use attestation::decision::Reason;
use attestation::evidence::{EvidenceClaims, EvidenceSubmods, HsmClaims};

use super::reason::ReasonCode;
use super::{NonceState, Refused};
use crate::text;

/// Latest time since boot that is believed, in milliseconds: a hundred years.
const MAX_BOOTTIME_MS: u64 = 100 * 366 * 86_400 * 1000;

/// That the evidence is by this key, and that the key counts.
pub(super) fn check_key(key_id: &str, hsm: &HsmRecord) -> Result<(), Refused> {
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
    Ok(())
}

/// That the evidence answers a challenge, in time and for the first time.
pub(super) fn check_nonce(nonce: NonceState) -> Result<(), Refused> {
    let reason = match nonce {
        NonceState::Fresh => None,
        NonceState::Expired => Some(ReasonCode::NonceExpired.because("the challenge is too old")),
        NonceState::Unknown => {
            let detail = "the challenge was not given to this key and attester since the server was started";
            Some(ReasonCode::NonceUnknown.because(detail))
        }
        NonceState::Used => Some(ReasonCode::NonceUsed.because("the challenge was answered before")),
    };
    reason.map_or(Ok(()), |reason| Err(Refused::because(reason)))
}

/// That the claims are in range, the attestation key's attributes good, and the token the enrolled one.
pub(super) fn check_claims(claims: &EvidenceClaims, hsm: &HsmRecord) -> Result<(), Refused> {
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
