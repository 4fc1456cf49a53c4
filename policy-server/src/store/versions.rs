//! Components, their versions with reference values, and the policy as a whole.

use attestation::api::{ComponentRecord, VersionName, VersionRecord};
use attestation::reference::{ArgvRule, ReferenceValues};

use crate::appraisal::policy::{ApprovedVersion, ComponentGrant, Policy};

use super::meta::{self, Counter};
use super::{Connection, StoreError, from_json, grants, loaded, stored, to_json};

type Row = (String, String, i64, Option<i64>, String);

fn version(row: Row) -> Result<(String, VersionRecord), StoreError> {
    let (component, version, approved_at, retired_at, reference) = row;
    let reference: ReferenceValues = from_json("versions.reference", &reference)?;
    Ok((
        component,
        VersionRecord {
            version,
            approved_at: loaded("versions.approved_at", approved_at)?,
            retired_at: retired_at.map(|at| loaded("versions.retired_at", at)).transpose()?,
            general_tool: reference.argv == ArgvRule::Any,
            reference,
        },
    ))
}

/// All versions with their components' names, oldest approval first.
async fn all(connection: &mut Connection) -> Result<Vec<(String, VersionRecord)>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT component, version, approved_at, retired_at, reference FROM versions ORDER BY sequence",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(version).collect()
}

/// All components by name.
///
/// # Errors
/// [`StoreError`].
pub async fn components(connection: &mut Connection) -> Result<Vec<ComponentRecord>, StoreError> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM components ORDER BY name").fetch_all(&mut *connection).await?;
    let mut versions = all(connection).await?;
    Ok(names
        .into_iter()
        .map(|name| {
            let own = versions.extract_if(.., |(component, _)| *component == name).map(|(_, own)| own);
            ComponentRecord { versions: own.collect(), name }
        })
        .collect())
}

/// One component.
///
/// # Errors
/// [`StoreError`].
pub async fn component(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<ComponentRecord>, StoreError> {
    let known: Option<String> = sqlx::query_scalar("SELECT name FROM components WHERE name = $1")
        .bind(name)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(name) = known else { return Ok(None) };
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT component, version, approved_at, retired_at, reference FROM versions \
         WHERE component = $1 ORDER BY sequence",
    )
    .bind(&name)
    .fetch_all(connection)
    .await?;
    let versions = rows.into_iter().map(|row| version(row).map(|(_, own)| own)).collect::<Result<_, _>>()?;
    Ok(Some(ComponentRecord { name, versions }))
}

/// Creates the component where it is new, and the version or its new values. The caller has made sure that an
/// existing version is not retired.
///
/// # Errors
/// [`StoreError`].
pub async fn put(
    connection: &mut Connection,
    name: &VersionName,
    reference: &ReferenceValues,
    by: &str,
    now: u64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO components (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(&name.component)
        .bind(stored(now)?)
        .execute(&mut *connection)
        .await?;
    let sequence = meta::raise(connection, Counter::Version).await?;
    sqlx::query(
        "INSERT INTO versions (component, version, sequence, approved_at, approved_by, reference) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (component, version) DO UPDATE SET reference = excluded.reference",
    )
    .bind(&name.component)
    .bind(&name.version)
    .bind(stored(sequence)?)
    .bind(stored(now)?)
    .bind(by)
    .bind(to_json("versions.reference", reference)?)
    .execute(&mut *connection)
    .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    Ok(())
}

/// Retires a version; one that is retired already keeps its time. Whether there is such a version.
///
/// # Errors
/// [`StoreError`].
pub async fn retire(
    connection: &mut Connection,
    name: &VersionName,
    by: &str,
    now: u64,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE versions SET retired_at = $1, retired_by = $2 \
         WHERE component = $3 AND version = $4 AND retired_at IS NULL",
    )
    .bind(stored(now)?)
    .bind(by)
    .bind(&name.component)
    .bind(&name.version)
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() > 0 {
        meta::raise(connection, Counter::PolicyRevision).await?;
        meta::raise(connection, Counter::Epoch).await?;
        return Ok(true);
    }
    let known: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM versions WHERE component = $1 AND version = $2")
            .bind(&name.component)
            .bind(&name.version)
            .fetch_one(connection)
            .await?;
    Ok(known > 0)
}

/// Everything that is approved.
///
/// # Errors
/// [`StoreError`].
pub async fn policy(connection: &mut Connection) -> Result<Policy, StoreError> {
    let versions = all(connection).await?.into_iter().map(|(component, version)| ApprovedVersion {
        name: VersionName { component, version: version.version },
        retired: version.retired_at.is_some(),
        reference: version.reference,
    });
    let grants = grants::all(connection).await?.into_iter().map(|grant| ComponentGrant {
        id: grant.id,
        component: grant.component,
        key: grant.terms.key,
        operations: grant.terms.operations,
        mode: grant.terms.mode,
    });
    Ok(Policy {
        versions: versions.collect(),
        grants: grants.collect(),
        epoch: meta::value(connection, Counter::Epoch).await?,
    })
}
