//! Trust tokens that were issued: by id, without the token itself.

use attestation::decision::DecisionId;

use super::{Connection, StoreError, stored};

/// One issued token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// Its id.
    pub jti: String,
    /// The decision that led to it.
    pub decision: DecisionId,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970.
    pub expires_at: u64,
    /// The attester's `CLOCK_BOOTTIME` in milliseconds.
    pub deadline_boottime_ms: u64,
    /// The revocation epoch at issue.
    pub epoch: u64,
}

/// Records a token.
///
/// # Errors
/// [`StoreError`].
pub async fn add(connection: &mut Connection, token: &IssuedToken) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (jti, decision, issued_at, expires_at, deadline_boottime_ms, epoch) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&token.jti)
    .bind(token.decision.to_string())
    .bind(stored(token.issued_at)?)
    .bind(stored(token.expires_at)?)
    .bind(stored(token.deadline_boottime_ms)?)
    .bind(stored(token.epoch)?)
    .execute(connection)
    .await?;
    Ok(())
}
