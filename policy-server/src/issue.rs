//! Turns an [`Appraised`] into a signed trust token. Nothing else can be signed: there is no other function that
//! calls the token issuer, and no other way to make an [`Appraised`] than the appraisal.

use attestation::decision::DecisionId;
use attestation::token::{ISSUER, TokenFacts, TokenIssuer, TrustshimClaims};

use crate::appraisal::Appraised;
use crate::error::ServerError;
use crate::random;
use crate::store::tokens::IssuedToken;

/// A signed token and what is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The JWT.
    pub token: String,
    /// For the database.
    pub record: IssuedToken,
}

/// Signs the result of an appraisal, for `lifetime_s` seconds.
///
/// # Errors
/// [`ServerError::Token`] and [`ServerError::Random`].
pub fn issue(
    issuer: &TokenIssuer,
    lifetime_s: u64,
    decision: DecisionId,
    appraised: &Appraised,
) -> Result<Issued, ServerError> {
    let deadline = lifetime_s.checked_mul(1000).and_then(|ms| appraised.boottime_ms().checked_add(ms));
    let deadline_boottime_ms =
        deadline.ok_or_else(|| ServerError::Token("the attester's boot time is out of range".to_owned()))?;
    let jti = random::token_id()?;
    let facts = TokenFacts {
        issuer: ISSUER.to_owned(),
        jti: jti.clone(),
        issued_at: appraised.at(),
        lifetime_s,
        binding: appraised.binding().cloned(),
        statuses: appraised.statuses(),
        trustshim: TrustshimClaims {
            hsm: appraised.hsm().to_owned(),
            host: appraised.host().to_owned(),
            mode: appraised.mode(),
            boot_id: appraised.boot_id().to_owned(),
            deadline_boottime_ms,
            component: appraised.name().component.clone(),
            version: appraised.name().version.clone(),
            measurement: appraised.measurement(),
            grants: appraised.grants().to_vec(),
            epoch: appraised.epoch(),
        },
    };
    let token = issuer.issue(&facts).map_err(|error| ServerError::Token(error.to_string()))?;
    let record = IssuedToken {
        jti,
        decision,
        issued_at: appraised.at(),
        expires_at: appraised.at().saturating_add(lifetime_s),
        deadline_boottime_ms,
        epoch: appraised.epoch(),
    };
    Ok(Issued { token, record })
}
