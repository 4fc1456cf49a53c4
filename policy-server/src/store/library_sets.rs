//! Named library sets. Each addition to a set has a number; the set's floor is the oldest addition that counts.

use std::collections::{BTreeMap, BTreeSet};

use attestation::api::{SetFile, SetRecord, SetSummary};
use attestation::digest::Digest;

use crate::appraisal::policy::{LibrarySets, PastSetFiles};

use super::meta::{self, Counter};
use super::{Connection, StoreError, loaded, parsed, stored};

type FileRow = (String, String, i64, i64, Option<i64>);

fn file(row: FileRow) -> Result<SetFile, StoreError> {
    let (path, digest, since, added_at, retired_at) = row;
    Ok(SetFile {
        path,
        sha256: parsed("set_files.digest", &digest)?,
        since: loaded("set_files.since", since)?,
        added_at: loaded("set_files.added_at", added_at)?,
        retired_at: retired_at.map(|at| loaded("set_files.retired_at", at)).transpose()?,
    })
}

/// One set with its files.
///
/// # Errors
/// [`StoreError`].
pub async fn find(connection: &mut Connection, name: &str) -> Result<Option<SetRecord>, StoreError> {
    let row: Option<(i64, i64)> = sqlx::query_as("SELECT newest, floor FROM library_sets WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    let Some((newest, floor)) = row else { return Ok(None) };
    let rows: Vec<FileRow> = sqlx::query_as(
        "SELECT path, digest, since, added_at, retired_at FROM set_files WHERE set_name = $1 \
         ORDER BY path, since, digest",
    )
    .bind(name)
    .fetch_all(connection)
    .await?;
    let files = rows.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
    let (newest, floor) = (loaded("library_sets.newest", newest)?, loaded("library_sets.floor", floor)?);
    let current = files.iter().filter(|file| counts(file, floor)).count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let summary = SetSummary {
        name: name.to_owned(),
        newest,
        floor,
        current: number(current),
        past: number(files.len() - current),
    };
    Ok(Some(SetRecord { summary, files }))
}

fn counts(file: &SetFile, floor: u64) -> bool {
    file.retired_at.is_none() && file.since >= floor
}

/// All sets by name.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<SetRecord>, StoreError> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM library_sets ORDER BY name").fetch_all(&mut *connection).await?;
    let mut sets = Vec::new();
    for name in names {
        sets.extend(find(connection, &name).await?);
    }
    Ok(sets)
}

/// What counts and what does no more, as the appraisal sees it.
///
/// # Errors
/// [`StoreError`].
pub async fn policy(connection: &mut Connection) -> Result<(LibrarySets, PastSetFiles), StoreError> {
    let mut sets = LibrarySets::default();
    let mut past_files = PastSetFiles::default();
    for set in all(connection).await? {
        let mut files = BTreeMap::<_, BTreeSet<_>>::new();
        let mut past = BTreeSet::new();
        for file in set.files {
            if counts(&file, set.summary.floor) {
                files.entry(file.path).or_default().insert(file.sha256);
            } else {
                past.insert(file.sha256);
            }
        }
        past.retain(|digest| !files.values().any(|digests| digests.contains(digest)));
        past_files.0.insert(set.summary.name.clone(), past);
        sets.0.insert(set.summary.name, files);
    }
    Ok((sets, past_files))
}

/// Makes an empty set. Whether the name was new.
///
/// # Errors
/// [`StoreError`].
pub async fn create(connection: &mut Connection, name: &str, by: &str, now: u64) -> Result<bool, StoreError> {
    let created = sqlx::query(
        "INSERT INTO library_sets (name, newest, floor, created_at, created_by) VALUES ($1, 0, 0, $2, $3) \
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(name)
    .bind(stored(now)?)
    .bind(by)
    .execute(&mut *connection)
    .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    Ok(created.rows_affected() > 0)
}

/// Adds files as one addition; those that are there already belong to it from now on. The caller has made sure that
/// there is such a set, and that none of the files is retired in it.
///
/// # Errors
/// [`StoreError`].
pub async fn add(
    connection: &mut Connection,
    name: &str,
    files: &[(String, Digest)],
    by: &str,
    now: u64,
) -> Result<(), StoreError> {
    let since: i64 =
        sqlx::query_scalar("UPDATE library_sets SET newest = newest + 1 WHERE name = $1 RETURNING newest")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
    for (path, digest) in files {
        sqlx::query(
            "INSERT INTO set_files (set_name, path, digest, since, added_at, added_by) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (set_name, path, digest) DO UPDATE SET since = excluded.since",
        )
        .bind(name)
        .bind(path)
        .bind(digest.to_string())
        .bind(since)
        .bind(stored(now)?)
        .bind(by)
        .execute(&mut *connection)
        .await?;
    }
    meta::raise(connection, Counter::PolicyRevision).await?;
    Ok(())
}

/// Sets the oldest addition that counts.
///
/// # Errors
/// [`StoreError`].
pub async fn set_floor(connection: &mut Connection, name: &str, floor: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE library_sets SET floor = $1 WHERE name = $2")
        .bind(stored(floor)?)
        .bind(name)
        .execute(&mut *connection)
        .await?;
    taken_back(connection).await
}

/// Retires a digest within one set, under every path that has it. Whether the set has it.
///
/// # Errors
/// [`StoreError`].
pub async fn retire(
    connection: &mut Connection,
    name: &str,
    digest: Digest,
    by: &str,
    now: u64,
) -> Result<bool, StoreError> {
    let found = sqlx::query(
        "UPDATE set_files SET retired_at = COALESCE(retired_at, $1), retired_by = COALESCE(retired_by, $2) \
         WHERE set_name = $3 AND digest = $4",
    )
    .bind(stored(now)?)
    .bind(by)
    .bind(name)
    .bind(digest.to_string())
    .execute(&mut *connection)
    .await?;
    taken_back(connection).await?;
    Ok(found.rows_affected() > 0)
}

/// Forgets a digest of a set, under every path that has it. Whether the set had it.
///
/// # Errors
/// [`StoreError`].
pub async fn remove_file(
    connection: &mut Connection,
    name: &str,
    digest: Digest,
) -> Result<bool, StoreError> {
    let removed = sqlx::query("DELETE FROM set_files WHERE set_name = $1 AND digest = $2")
        .bind(name)
        .bind(digest.to_string())
        .execute(&mut *connection)
        .await?;
    taken_back(connection).await?;
    Ok(removed.rows_affected() > 0)
}

/// Forgets a set. The caller has made sure that nothing names it. Whether there was one.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM set_files WHERE set_name = $1").bind(name).execute(&mut *connection).await?;
    let removed =
        sqlx::query("DELETE FROM library_sets WHERE name = $1").bind(name).execute(&mut *connection).await?;
    taken_back(connection).await?;
    Ok(removed.rows_affected() > 0)
}

async fn taken_back(connection: &mut Connection) -> Result<(), StoreError> {
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    Ok(())
}
