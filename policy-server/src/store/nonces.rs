//! Nonces: bound to an attestation key and an attester's key, used once, forgotten soon, bounded in number.

use attestation::api::HsmState;

use crate::appraisal::NonceState;

use super::{Connection, StoreError, loaded, stored, to_word};

/// How long a nonce counts, in seconds.
pub const LIFETIME_S: u64 = 60;
/// How long after its end a nonce is remembered, so that a late answer is told why it fails.
const MEMORY_S: u64 = 240;
/// Most nonces of one approved key, and of all strangers together, and [`TIDY_EVERY`] more until somebody tidies up. Beyond
/// it the oldest give way, so that a flood shortens lifetimes instead of shutting everybody out.
const MAX_PER_SHARE: i64 = 2048;
/// The share of all keys that are not approved.
const STRANGERS: &str = "";

/// Remembers a nonce for `kid` and `cnf`, in the share of `kid` where that is an approved key. One statement: an attester
/// waits for it.
///
/// # Errors
/// [`StoreError`].
pub async fn add(
    connection: &mut Connection,
    nonce: &str,
    kid: &str,
    cnf: &str,
    now: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO nonces (nonce, kid, cnf, share, expires_at) VALUES ($1, $2, $3, \
         CASE WHEN EXISTS (SELECT 1 FROM hsms WHERE fingerprint = $2 AND state = $5) THEN $2 ELSE $6 END, $4)",
    )
    .bind(nonce)
    .bind(kid)
    .bind(cnf)
    .bind(stored(now.saturating_add(LIFETIME_S))?)
    .bind(to_word("hsms.state", &HsmState::Approved)?)
    .bind(STRANGERS)
    .execute(connection)
    .await?;
    Ok(())
}

/// How many nonces may be added between two calls of [`tidy`].
pub const TIDY_EVERY: u64 = 64;

/// Forgets nonces that are long over, and the oldest of every share that has too many.
///
/// # Errors
/// [`StoreError`].
pub async fn tidy(connection: &mut Connection, now: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM nonces WHERE expires_at < $1")
        .bind(stored(now.saturating_sub(MEMORY_S))?)
        .execute(&mut *connection)
        .await?;
    let full: Vec<(String, i64)> =
        sqlx::query_as("SELECT share, COUNT(*) FROM nonces GROUP BY share HAVING COUNT(*) > $1")
            .bind(MAX_PER_SHARE)
            .fetch_all(&mut *connection)
            .await?;
    for (share, held) in full {
        sqlx::query(
            "DELETE FROM nonces WHERE nonce IN \
             (SELECT nonce FROM nonces WHERE share = $1 ORDER BY expires_at LIMIT $2)",
        )
        .bind(share)
        .bind(held.saturating_sub(MAX_PER_SHARE))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Uses a nonce up, if it was given to `kid` and `cnf`, and says what state it was in.
///
/// # Errors
/// [`StoreError`].
pub async fn consume(
    connection: &mut Connection,
    nonce: &str,
    kid: &str,
    cnf: &str,
    now: u64,
) -> Result<NonceState, StoreError> {
    let expires_at: Option<i64> = sqlx::query_scalar(
        "UPDATE nonces SET used_at = $1 WHERE nonce = $2 AND kid = $3 AND cnf = $4 AND used_at IS NULL \
         RETURNING expires_at",
    )
    .bind(stored(now)?)
    .bind(nonce)
    .bind(kid)
    .bind(cnf)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(expires_at) = expires_at {
        let fresh = loaded("nonces.expires_at", expires_at)? > now;
        return Ok(if fresh { NonceState::Fresh } else { NonceState::Expired });
    }
    let used: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM nonces WHERE nonce = $1 AND kid = $2 AND cnf = $3 AND used_at IS NOT NULL",
    )
    .bind(nonce)
    .bind(kid)
    .bind(cnf)
    .fetch_one(connection)
    .await?;
    Ok(if used > 0 { NonceState::Used } else { NonceState::Unknown })
}
