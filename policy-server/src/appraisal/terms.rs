//! The terms of grants: what may be granted at all, and which grants count for one appraisal.

use std::collections::BTreeSet;

use attestation::api::GrantTerms;
use attestation::grant::{Grant, Operation, Rate};
use attestation::key_uri::KeyUri;
use attestation::token::Mode;

use super::policy::{ApprovedVersion, Policy};

/// Longest key URI in a grant, in bytes.
const MAX_KEY_URI: usize = 1024;
/// Most mechanisms in a grant.
const MAX_MECHANISMS: usize = 64;
/// Latest moment that a grant may end at: the end of the year 9999.
const MAX_EXPIRY: u64 = 253_402_300_799;

/// Why the terms of a grant are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// It would never count.
    #[error("the grant would end before it begins; give a moment in the future, up to the year 9999")]
    Expired,
    /// Not an RFC 7512 URI.
    #[error("`{key}` is not a key's PKCS#11 URI: {problem}")]
    NotAKeyUri {
        /// What was given.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The URI may match several keys.
    #[error(
        "`{key}` may match more than one key; name serial or token, type, and id or object, or grant it with --many"
    )]
    NotOneKey {
        /// What was given.
        key: String,
    },
    /// Keys could be given names that another component's grants name.
    #[error(
        "`{key}` leaves id, label or type open, and who may {operation} could make a key of any such name, also one that \
         another grant names; state id, object and type (`object=` where there is no label), or grant it with --many"
    )]
    NameInPart {
        /// What was given.
        key: String,
        /// The first operation that gives names.
        operation: Operation,
    },
    /// Nothing is granted.
    #[error("a grant needs at least one operation")]
    NoOperations,
    /// The rate permits nothing, or says nothing.
    #[error("a rate states operations per second or altogether, and at least one of them")]
    RateOfNothing,
    /// Too many mechanisms.
    #[error("a grant names at most {MAX_MECHANISMS} mechanisms; leave them out to grant every one")]
    TooManyMechanisms,
}

/// Checks a grant's terms; operations and mechanisms come back sorted, each once.
///
/// # Errors
/// [`TermsError`].
pub fn check_terms(terms: &GrantTerms, now: u64) -> Result<GrantTerms, TermsError> {
    let key = || crate::text::bounded(&terms.key, 200);
    if terms.key.len() > MAX_KEY_URI {
        let problem = format!("it is longer than {MAX_KEY_URI} bytes");
        return Err(TermsError::NotAKeyUri { key: key(), problem });
    }
    let uri = KeyUri::parse(&terms.key)
        .map_err(|error| TermsError::NotAKeyUri { key: key(), problem: error.to_string() })?;
    if !terms.many && !is_narrow(&uri, &terms.operations) {
        return Err(TermsError::NotOneKey { key: key() });
    }
    let naming = terms.operations.iter().find(|operation| operation.can_name());
    if let Some(operation) = naming.filter(|_| !terms.many && !uri.states_whole_name()) {
        return Err(TermsError::NameInPart { key: key(), operation: *operation });
    }
    if terms.operations.is_empty() {
        return Err(TermsError::NoOperations);
    }
    let of_nothing = |rate: Rate| !rate.is_stated() || rate.per_second == Some(0) || rate.total == Some(0);
    if terms.rate.is_some_and(of_nothing) {
        return Err(TermsError::RateOfNothing);
    }
    if terms.expires_at.is_some_and(|at| !(now.saturating_add(1)..=MAX_EXPIRY).contains(&at)) {
        return Err(TermsError::Expired);
    }
    let mechanisms: Vec<u64> =
        terms.mechanisms.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if mechanisms.len() > MAX_MECHANISMS {
        return Err(TermsError::TooManyMechanisms);
    }
    let operations = terms.operations.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    Ok(GrantTerms { operations, mechanisms, ..terms.clone() })
}

/// Whether the URI is meant for one key, or for one token as a whole where only that is administered.
fn is_narrow(uri: &KeyUri, operations: &[Operation]) -> bool {
    let stated = |value: Option<&[u8]>| value.is_some_and(|value| !value.is_empty());
    let one_token = uri.names_no_object() && (stated(uri.token()) || stated(uri.serial()));
    let administers = operations.iter().all(|operation| *operation == Operation::Administer);
    uri.names_one_key() || one_token && administers
}

/// The moment of an appraisal by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970.
    pub now: u64,
    /// The host's `CLOCK_BOOTTIME` in milliseconds at that moment, or somewhat before it.
    pub boottime_ms: u64,
}

/// The grants that count for `version` in `mode`, or one sentence on why none does.
pub fn grants(
    policy: &Policy,
    version: &ApprovedVersion,
    mode: Mode,
    moment: Moment,
) -> Result<Vec<Grant>, String> {
    let component = &version.name.component;
    let mut counting = Vec::new();
    let mut others = Vec::new();
    for grant in policy.grants.iter().filter(|grant| grant.component == *component) {
        match standing(policy, &grant.terms, version, mode, moment.now) {
            Ok(()) => counting.push(Grant {
                id: grant.id.clone(),
                key: grant.terms.key.clone(),
                operations: grant.terms.operations.clone(),
                many: grant.terms.many,
                mechanisms: Some(grant.terms.mechanisms.clone()).filter(|list| !list.is_empty()),
                rate: grant.terms.rate,
                deadline_boottime_ms: grant.terms.expires_at.map(|at| deadline(at, moment)),
            }),
            Err(why) => others.push(format!("{} {why}", grant.id)),
        }
    }
    match (counting.is_empty(), others.is_empty()) {
        (false, _) => Ok(counting),
        (true, true) => Err(format!("nothing is granted to {component}")),
        (true, false) => Err(format!("no grant of {component} counts here: {}", others.join("; "))),
    }
}

fn standing(
    policy: &Policy,
    terms: &GrantTerms,
    version: &ApprovedVersion,
    mode: Mode,
    now: u64,
) -> Result<(), String> {
    if let Some(only) = terms.mode.filter(|only| *only != mode) {
        return Err(format!("is for {} mode only", only.name()));
    }
    if terms.expires_at.is_some_and(|at| at <= now) {
        return Err("has expired".to_owned());
    }
    if let Some(min) = &terms.min_version {
        let position = |version: &str, component: &str| {
            let is_it =
                |known: &ApprovedVersion| known.name.version == version && known.name.component == component;
            policy.versions.iter().position(is_it)
        };
        let component = &version.name.component;
        let (least, own) = (position(min, component), position(&version.name.version, component));
        // A minimum that nobody knows is no minimum that anything reaches.
        if least.is_none() || own < least {
            return Err(format!("is for version {min} or later"));
        }
    }
    Ok(())
}

/// The end of a grant by the host's boot clock.
fn deadline(expires_at: u64, moment: Moment) -> u64 {
    expires_at.saturating_sub(moment.now).saturating_mul(1000).saturating_add(moment.boottime_ms)
}
