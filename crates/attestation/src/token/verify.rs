//! Verification of trust tokens: the gate's side. A token counts for one attester key, HSM, host, mode, boot, challenge
//! and measurement, and until one point of the boot clock, which neither the wall clock nor a new look extends.

use super::{
    Anchors, EAR_PROFILE, ISSUER, MAX_LIFETIME_S, MAX_TOKEN, Mode, TOKEN_TYP, Tier, TokenClaims, TokenError,
    TokenSubmods, TrustshimClaims,
};
use crate::digest::{Digest, escape};
use crate::grant::{Grant, Operation, Rate};
use crate::jws::Unverified;
use crate::key_uri::KeyUri;
use crate::strict_json;

/// What the token must have been issued for, from the gate's own knowledge.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// Thumbprint of the attestation key.
    pub hsm: &'a str,
    /// This host.
    pub host: &'a str,
    /// The mode that this gate runs in.
    pub mode: Mode,
    /// The current boot.
    pub boot_id: &'a str,
    /// The measurement digest of the process that the token is for.
    pub measurement: Digest,
    /// How it came here.
    pub presented: Presented<'a>,
}

/// How a token came to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// As the policy server's answer to this attester's own evidence.
    Answer {
        /// Thumbprint of this attester's in-memory key.
        cnf: &'a str,
        /// The challenge that was answered.
        nonce: &'a str,
    },
    /// Handed in by the application or by a file. It must have been issued for that: a token that answers some
    /// attester's evidence is bound to that attester.
    HandedIn,
}

/// A trust token that has been checked; there is no other way to one than [`verify_token`].
#[derive(Debug)]
pub struct VerifiedToken {
    claims: TrustshimClaims,
    grants: Vec<ParsedGrant>,
    jti: String,
}

/// A grant that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedGrant {
    /// Names it in records.
    pub id: String,
    /// The keys.
    pub uri: KeyUri,
    /// What may be done with them; not empty.
    pub operations: Vec<Operation>,
    /// The URI is meant to name many keys.
    pub many: bool,
    /// `CKM_` numbers, not empty; `None` is every mechanism.
    pub mechanisms: Option<Vec<u64>>,
    /// How often.
    pub rate: Option<Rate>,
    /// `CLOCK_BOOTTIME` in milliseconds from which on it counts no more; `None` is the token's own deadline.
    pub deadline_boottime_ms: Option<u64>,
}

impl ParsedGrant {
    /// Whether it has not ended by itself.
    pub fn counts_at(&self, boottime_ms: u64) -> bool {
        self.deadline_boottime_ms.is_none_or(|end_ms| boottime_ms < end_ms)
    }
}

impl VerifiedToken {
    /// The private claims.
    pub fn claims(&self) -> &TrustshimClaims {
        &self.claims
    }

    /// `CLOCK_BOOTTIME` in milliseconds from which on the token counts no more. The caller compares at each use.
    pub fn deadline_boottime_ms(&self) -> u64 {
        self.claims.deadline_boottime_ms
    }

    /// What may be done.
    pub fn grants(&self) -> &[ParsedGrant] {
        &self.grants
    }

    /// The token's name in records.
    pub fn jti(&self) -> &str {
        &self.jti
    }
}

/// Verifies a trust token at `now_boottime_ms` of `CLOCK_BOOTTIME`. The order of the checks is that of
/// docs/TRUST-TOKEN.md; the first that fails is reported.
pub fn verify_token(
    jwt: &str,
    anchors: &Anchors,
    expected: &Expected<'_>,
    now_boottime_ms: u64,
) -> Result<VerifiedToken, TokenError> {
    let message = Unverified::parse(jwt, TOKEN_TYP, MAX_TOKEN)?;
    let key = anchors.key(message.claimed_key_id()).ok_or_else(|| message.key_unknown())?;
    let payload = message.verify(key)?;
    let claims: TokenClaims = strict_json::parse(&payload, MAX_TOKEN).map_err(TokenError::Claims)?;
    check_result(&claims)?;
    check_binding(&claims, expected)?;
    check_deadline(claims.trustshim.deadline_boottime_ms, now_boottime_ms)?;
    let grants = claims.trustshim.grants.iter().map(parse_grant).collect::<Result<_, _>>()?;
    Ok(VerifiedToken { claims: claims.trustshim, grants, jti: claims.jti })
}

/// That this is an attestation result of a policy server, and a good one.
fn check_result(claims: &TokenClaims) -> Result<(), TokenError> {
    if claims.eat_profile != EAR_PROFILE {
        return Err(TokenError::other(&claims.eat_profile, |found| TokenError::OtherProfile { found }));
    }
    if claims.iss != ISSUER {
        return Err(TokenError::other(&claims.iss, |found| TokenError::OtherIssuer { found }));
    }
    // The wall clock of the host is not asked (it may be wrong); that the three agree is free to check.
    let lifetime = claims.exp.checked_sub(claims.nbf);
    if claims.nbf != claims.iat || !lifetime.is_some_and(|s| (1..=MAX_LIFETIME_S).contains(&s)) {
        return Err(TokenError::Times);
    }
    let TokenSubmods { boot, attester, component } = &claims.submods;
    // A boot that nobody measured is let through; measurer and process must have been appraised.
    let submods = [("boot", boot, true), ("attester", attester, false), ("component", component, false)];
    for (submod, appraisal, may_be_none) in submods {
        match appraisal.ear_status {
            Tier::Affirming | Tier::Warning => {}
            Tier::None if may_be_none => {}
            status @ (Tier::None | Tier::Contraindicated) => {
                return Err(TokenError::Status { submod, status });
            }
        }
    }
    Ok(())
}

/// That it was issued for this attester, HSM, host, mode, boot and process, as the answer to this challenge.
fn check_binding(claims: &TokenClaims, expected: &Expected<'_>) -> Result<(), TokenError> {
    let check = |found: &str, expected: &str, error: fn(String) -> TokenError| {
        if found == expected { Ok(()) } else { Err(TokenError::other(found, error)) }
    };
    let bound = &claims.trustshim;
    let (jkt, nonce) = (claims.cnf.as_ref().map(|cnf| cnf.jkt.as_str()), claims.eat_nonce.as_deref());
    match (expected.presented, jkt, nonce) {
        (Presented::Answer { cnf, nonce: asked }, Some(jkt), Some(nonce)) => {
            check(jkt, cnf, |found| TokenError::OtherConfirmation { found })?;
            check(nonce, asked, |_| TokenError::OtherNonce)?;
        }
        (Presented::Answer { .. }, _, _) => return Err(TokenError::Unbound),
        (Presented::HandedIn, None, None) => {}
        (Presented::HandedIn, _, _) => return Err(TokenError::Bound),
    }
    check(&bound.hsm, expected.hsm, |found| TokenError::OtherHsm { found })?;
    check(&bound.host, expected.host, |found| TokenError::OtherHost { found })?;
    if bound.mode != expected.mode {
        return Err(TokenError::OtherMode { found: bound.mode });
    }
    check(&bound.boot_id, expected.boot_id, |found| TokenError::OtherBoot { found })?;
    if bound.measurement != expected.measurement {
        return Err(TokenError::OtherMeasurement { found: bound.measurement });
    }
    Ok(())
}

fn check_deadline(deadline_ms: u64, now_ms: u64) -> Result<(), TokenError> {
    match deadline_ms.checked_sub(now_ms) {
        None | Some(0) => Err(TokenError::Expired { deadline_ms }),
        Some(left_ms) if left_ms > MAX_LIFETIME_S * 1000 => Err(TokenError::DeadlineTooFar { deadline_ms }),
        Some(_) => Ok(()),
    }
}

fn parse_grant(grant: &Grant) -> Result<ParsedGrant, TokenError> {
    let named = || escape(grant.key.as_bytes());
    let uri = KeyUri::parse(&grant.key).map_err(|error| TokenError::GrantKey { key: named(), error })?;
    if grant.operations.is_empty() {
        return Err(TokenError::GrantOperations(named()));
    }
    if grant.mechanisms.as_ref().is_some_and(Vec::is_empty) {
        return Err(TokenError::GrantMechanisms(named()));
    }
    if grant.rate.is_some_and(|rate| !rate.is_stated()) {
        return Err(TokenError::GrantRate(named()));
    }
    Ok(ParsedGrant {
        id: grant.id.clone(),
        uri,
        operations: grant.operations.clone(),
        many: grant.many,
        mechanisms: grant.mechanisms.clone(),
        rate: grant.rate,
        deadline_boottime_ms: grant.deadline_boottime_ms,
    })
}
