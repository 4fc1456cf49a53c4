//! Trust tokens that were issued: by id, without the token itself.

use attestation::api::TokenRecord;
use attestation::decision::DecisionId;

use super::{Connection, StoreError, loaded, parsed, stored};

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

#[derive(sqlx::FromRow)]
struct Row {
    jti: String,
    decision: String,
    issued_at: i64,
    expires_at: i64,
    host: Option<String>,
    component: Option<String>,
    version: Option<String>,
    operator: Option<String>,
}

/// The newest `limit` tokens, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(connection: &mut Connection, limit: u32) -> Result<Vec<TokenRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT t.jti, t.decision, t.issued_at, t.expires_at, d.host, d.component, d.version, d.operator \
         FROM tokens t JOIN decisions d ON d.id = t.decision ORDER BY t.issued_at DESC, d.sequence DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TokenRecord {
                jti: row.jti,
                decision: parsed("tokens.decision", &row.decision)?,
                issued_at: loaded("tokens.issued_at", row.issued_at)?,
                expires_at: loaded("tokens.expires_at", row.expires_at)?,
                host: row.host,
                component: row.component,
                version: row.version,
                operator: row.operator,
            })
        })
        .collect()
}
