//! Enrolled attestation keys.

use attestation::api::{HsmRecord, HsmState};
use attestation::evidence::PublicJwk;

use super::{Connection, StoreError, from_json, from_word, loaded, stored, to_json, to_word};

/// Most keys that may wait for approval at a time.
pub const MAX_PENDING: i64 = 64;
/// After this many seconds a key that nobody approved may be forgotten to make room.
const PENDING_LIFETIME_S: u64 = 24 * 3600;

/// An enrolled key with what the operators see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledKey {
    /// What the operators see.
    pub record: HsmRecord,
    /// The key itself.
    pub public_key: PublicJwk,
}

type Row = (String, String, String, String, String, String, i64, Option<i64>);

fn key(row: Row) -> Result<EnrolledKey, StoreError> {
    let (fingerprint, public_key, state, host, mode, claims, enrolled_at, approved_at) = row;
    Ok(EnrolledKey {
        record: HsmRecord {
            fingerprint,
            state: from_word("hsms.state", &state)?,
            host,
            mode: from_word("hsms.mode", &mode)?,
            hsm: from_json("hsms.claims", &claims)?,
            enrolled_at: loaded("hsms.enrolled_at", enrolled_at)?,
            approved_at: approved_at.map(|at| loaded("hsms.approved_at", at)).transpose()?,
        },
        public_key: from_json("hsms.public_key", &public_key)?,
    })
}

/// Finds a key by its fingerprint.
///
/// # Errors
/// [`StoreError`].
pub async fn find(connection: &mut Connection, fingerprint: &str) -> Result<Option<EnrolledKey>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT fingerprint, public_key, state, host, mode, claims, enrolled_at, approved_at \
         FROM hsms WHERE fingerprint = $1",
    )
    .bind(fingerprint)
    .fetch_optional(connection)
    .await?;
    row.map(key).transpose()
}

/// All keys, oldest enrolment first.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<EnrolledKey>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT fingerprint, public_key, state, host, mode, claims, enrolled_at, approved_at \
         FROM hsms ORDER BY enrolled_at, fingerprint",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(key).collect()
}

/// Whether another key may be enrolled; forgets keys that have waited for too long where there is no room.
///
/// # Errors
/// [`StoreError`].
pub async fn make_room(connection: &mut Connection, now: u64) -> Result<bool, StoreError> {
    let pending: i64 = count_pending(connection).await?;
    if pending < MAX_PENDING {
        return Ok(true);
    }
    sqlx::query("DELETE FROM hsms WHERE state = 'pending' AND enrolled_at < $1")
        .bind(stored(now.saturating_sub(PENDING_LIFETIME_S))?)
        .execute(&mut *connection)
        .await?;
    Ok(count_pending(connection).await? < MAX_PENDING)
}

async fn count_pending(connection: &mut Connection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM hsms WHERE state = 'pending'").fetch_one(connection).await?)
}

/// Adds a key.
///
/// # Errors
/// [`StoreError`], also where the fingerprint is known.
pub async fn add(connection: &mut Connection, key: &EnrolledKey) -> Result<(), StoreError> {
    let EnrolledKey { record, public_key } = key;
    sqlx::query(
        "INSERT INTO hsms (fingerprint, public_key, state, host, mode, claims, enrolled_at, lost_decisions) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
    )
    .bind(&record.fingerprint)
    .bind(to_json("hsms.public_key", public_key)?)
    .bind(to_word("hsms.state", &record.state)?)
    .bind(&record.host)
    .bind(to_word("hsms.mode", &record.mode)?)
    .bind(to_json("hsms.claims", &record.hsm)?)
    .bind(stored(record.enrolled_at)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Approves a key; one that is approved already stays as it is.
///
/// # Errors
/// [`StoreError`].
pub async fn approve(
    connection: &mut Connection,
    fingerprint: &str,
    by: &str,
    now: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE hsms SET state = $1, approved_at = $2, approved_by = $3 WHERE fingerprint = $4 AND state <> $1",
    )
    .bind(to_word("hsms.state", &HsmState::Approved)?)
    .bind(stored(now)?)
    .bind(by)
    .bind(fingerprint)
    .execute(connection)
    .await?;
    Ok(())
}

/// Suspends a key.
///
/// # Errors
/// [`StoreError`].
pub async fn suspend(connection: &mut Connection, fingerprint: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE hsms SET state = $1 WHERE fingerprint = $2")
        .bind(to_word("hsms.state", &HsmState::Suspended)?)
        .bind(fingerprint)
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds to the number of the gate's decisions that a host could not keep.
///
/// # Errors
/// [`StoreError`].
pub async fn count_lost(connection: &mut Connection, fingerprint: &str, lost: u64) -> Result<(), StoreError> {
    // Bounded, so that no host can make the sum overflow.
    sqlx::query("UPDATE hsms SET lost_decisions = lost_decisions + $1 WHERE fingerprint = $2")
        .bind(stored(lost.min(u64::from(u32::MAX)))?)
        .bind(fingerprint)
        .execute(connection)
        .await?;
    Ok(())
}
