//! Digests that count nowhere any more.

use std::collections::BTreeSet;

use attestation::api::RetiredFile;
use attestation::digest::Digest;

use super::meta::{self, Counter};
use super::{Connection, StoreError, loaded, parsed, stored};

/// All of them, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<RetiredFile>, StoreError> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT digest, retired_at, retired_by FROM retired_files ORDER BY retired_at DESC, digest",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(digest, retired_at, retired_by)| {
            Ok(RetiredFile {
                sha256: parsed("retired_files.digest", &digest)?,
                retired_at: loaded("retired_files.retired_at", retired_at)?,
                retired_by,
            })
        })
        .collect()
}

/// The digests alone.
///
/// # Errors
/// [`StoreError`].
pub async fn digests(connection: &mut Connection) -> Result<BTreeSet<Digest>, StoreError> {
    Ok(all(connection).await?.into_iter().map(|file| file.sha256).collect())
}

/// Retires a digest; one that is retired already keeps its time.
///
/// # Errors
/// [`StoreError`].
pub async fn add(connection: &mut Connection, digest: Digest, by: &str, now: u64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO retired_files (digest, retired_at, retired_by) VALUES ($1, $2, $3) \
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(digest.to_string())
    .bind(stored(now)?)
    .bind(by)
    .execute(&mut *connection)
    .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    Ok(())
}

/// Lets a digest count again. Whether it was retired.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(connection: &mut Connection, digest: Digest) -> Result<bool, StoreError> {
    let removed = sqlx::query("DELETE FROM retired_files WHERE digest = $1")
        .bind(digest.to_string())
        .execute(&mut *connection)
        .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    Ok(removed.rows_affected() > 0)
}
