//! The decision itself: a pure function of trust token, demands and clock.

use std::sync::Arc;

use attestation::grant::{Operation, Rate};
use attestation::token::{ParsedGrant, VerifiedToken};
use serde::{Deserialize, Serialize};

use crate::denial::Refusal;
use crate::subject::{Named, Subject};

/// One thing that a call would do with one object or token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The operation that has to be granted.
    pub operation: Operation,
    /// On what.
    pub subject: Arc<Subject>,
    /// By which mechanism (a `CKM_` number), where the call has one.
    pub mechanism: Option<u64>,
    /// Where the subject has its name from.
    pub name: Name,
}

/// Where the subject of a demand has its name from. One that gets it by the call could get that of a key which somebody
/// else's grant names, and the gate knows the grants of one component only: it takes a grant for this very name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// It bears it.
    Borne,
    /// It is given it, and nothing bore another before.
    Given,
    /// It is given it in place of what this one is judged by.
    Changed {
        /// The object that is renamed or copied.
        from: Arc<Subject>,
    },
}

/// What a permission rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// `CLOCK_BOOTTIME` in milliseconds from which on it has to be judged anew.
    pub until_ms: u64,
    /// The rates that have to be kept: of each list one.
    pub(crate) rates: Vec<Vec<Limit>>,
}

/// A grant's rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The grant's id.
    pub grant: String,
    /// How often.
    pub rate: Rate,
}

/// Whether `token` lets all `demands` happen at `now_boottime_ms` (`CLOCK_BOOTTIME` in milliseconds). Without demands it
/// is only asked whether the token counts.
///
/// # Errors
/// The first reason against it.
pub fn authorize(
    token: &VerifiedToken,
    demands: &[Demand],
    now_boottime_ms: u64,
) -> Result<Grounds, Refusal> {
    if now_boottime_ms >= token.deadline_boottime_ms() {
        return Err(Refusal::TokenExpired);
    }
    let mut grounds = Grounds { until_ms: token.deadline_boottime_ms(), rates: Vec::new() };
    for demand in demands {
        for named in demand.subject.judged_by() {
            let granting = granting(token, demand, named, now_boottime_ms)?;
            // The next judgement falls due when the first grant of several ends: it may have been the one without a rate.
            for end_ms in granting.iter().filter_map(|grant| grant.deadline_boottime_ms) {
                grounds.until_ms = grounds.until_ms.min(end_ms);
            }
            let limits: Option<Vec<_>> = granting
                .iter()
                .map(|grant| grant.rate.map(|rate| Limit { grant: grant.id.clone(), rate }))
                .collect();
            if let Some(limits) = limits
                && !grounds.rates.contains(&limits)
            {
                grounds.rates.push(limits);
            }
        }
    }
    Ok(grounds)
}

/// The grants that cover a demand on `named`; at least one.
fn granting<'a>(
    token: &'a VerifiedToken,
    demand: &Demand,
    named: &Named,
    now_ms: u64,
) -> Result<Vec<&'a ParsedGrant>, Refusal> {
    let covers =
        |grant: &&ParsedGrant| grant.operations.contains(&demand.operation) && named.is_named_by(&grant.uri);
    let has_mechanism = |grant: &&ParsedGrant| match (&grant.mechanisms, demand.mechanism) {
        (None, _) | (Some(_), None) => true,
        (Some(list), Some(mechanism)) => list.contains(&mechanism),
    };
    let refused = || (demand.operation, named.uri());
    let covering: Vec<_> = token.grants().iter().filter(covers).collect();
    if covering.is_empty() {
        let (operation, key) = refused();
        return Err(Refusal::NotGranted {
            operation,
            key,
            component: token.claims().component.clone(),
            version: token.claims().version.clone(),
        });
    }
    let by_mechanism: Vec<_> = covering.into_iter().filter(has_mechanism).collect();
    if by_mechanism.is_empty() {
        let (operation, key) = refused();
        let mechanism = demand.mechanism.unwrap_or_default();
        return Err(Refusal::MechanismNotGranted { mechanism, operation, key });
    }
    let counting: Vec<_> = by_mechanism.into_iter().filter(|grant| grant.counts_at(now_ms)).collect();
    if counting.is_empty() {
        let (operation, key) = refused();
        return Err(Refusal::GrantExpired { operation, key });
    }
    match demand.name {
        Name::Borne => Ok(counting),
        Name::Given | Name::Changed { .. } => naming(token, demand, named, counting, now_ms),
    }
}

/// Of the grants that cover a demand on a name which an object is given, those under which it may be given; at least one.
fn naming<'a>(
    token: &VerifiedToken,
    demand: &Demand,
    named: &Named,
    covering: Vec<&'a ParsedGrant>,
    now_ms: u64,
) -> Result<Vec<&'a ParsedGrant>, Refusal> {
    let states_it = |grant: &ParsedGrant| named.is_stated_by(&grant.uri);
    let naming: Vec<_> = covering.into_iter().filter(|grant| grant.many || states_it(grant)).collect();
    let refused = || (demand.operation, named.uri());
    if naming.is_empty() {
        let (operation, key) = refused();
        return Err(Refusal::NameInPart { operation, key });
    }
    // A wide grant leads from name to name, but into no grant that does not have its operation.
    if let Name::Changed { from } = &demand.name
        && !naming.iter().any(|grant| states_it(grant))
    {
        let named_before =
            |grant: &ParsedGrant| from.judged_by().iter().all(|name| name.is_named_by(&grant.uri));
        let gained = token.grants().iter().find(|grant| {
            grant.counts_at(now_ms)
                && named.is_named_by(&grant.uri)
                && !named_before(grant)
                && !grant.operations.contains(&demand.operation)
        });
        if let Some(gained) = gained {
            let (operation, key) = refused();
            return Err(Refusal::NameOfAnotherGrant { operation, key, grant: gained.id.clone() });
        }
    }
    Ok(naming)
}
