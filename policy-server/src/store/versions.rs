//! Components, their versions with reference values, and the policy as a whole.

use attestation::api::{ComponentMode, ComponentRecord, VersionName, VersionRecord};
use attestation::reference::{ArgvRule, ReferenceValues};

use crate::appraisal::policy::{ApprovedVersion, ComponentGrant, Policy, Standing};

use super::meta::{self, Counter};
use super::{
    Connection, StoreError, from_json, from_word, grants, library_sets, loaded, retired_files, stored,
    to_json, to_word,
};

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
            below_floor: false,
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

/// A component's name, mode and floor.
type ComponentRow = (String, String, Option<String>);

fn record(row: ComponentRow, mut versions: Vec<VersionRecord>) -> Result<ComponentRecord, StoreError> {
    let (name, mode, floor) = row;
    if let Some(floor) = &floor {
        let position = versions.iter().position(|version| version.version == *floor);
        // A floor that nobody knows is one that no version reaches.
        let below = position.unwrap_or(versions.len());
        versions.iter_mut().take(below).for_each(|version| version.below_floor = true);
    }
    Ok(ComponentRecord { name, mode: from_word("components.mode", &mode)?, floor, versions })
}

/// All components by name.
///
/// # Errors
/// [`StoreError`].
pub async fn components(connection: &mut Connection) -> Result<Vec<ComponentRecord>, StoreError> {
    let rows: Vec<ComponentRow> = sqlx::query_as("SELECT name, mode, floor FROM components ORDER BY name")
        .fetch_all(&mut *connection)
        .await?;
    let mut versions = all(connection).await?;
    rows.into_iter()
        .map(|row| {
            let own = versions.extract_if(.., |(component, _)| *component == row.0).map(|(_, own)| own);
            let own = own.collect();
            record(row, own)
        })
        .collect()
}

/// One component.
///
/// # Errors
/// [`StoreError`].
pub async fn component(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<ComponentRecord>, StoreError> {
    let row: Option<ComponentRow> =
        sqlx::query_as("SELECT name, mode, floor FROM components WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT component, version, approved_at, retired_at, reference FROM versions \
         WHERE component = $1 ORDER BY sequence",
    )
    .bind(name)
    .fetch_all(connection)
    .await?;
    let versions = rows.into_iter().map(|row| version(row).map(|(_, own)| own)).collect::<Result<_, _>>()?;
    record(row, versions).map(Some)
}

/// Sets what becomes of evidence that differs. The caller has made sure that there is such a component.
///
/// # Errors
/// [`StoreError`].
pub async fn set_mode(
    connection: &mut Connection,
    component: &str,
    mode: ComponentMode,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE components SET mode = $1 WHERE name = $2")
        .bind(to_word("components.mode", &mode)?)
        .bind(component)
        .execute(&mut *connection)
        .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    Ok(())
}

/// Sets or takes away the oldest version that counts. The caller has made sure that there is such a version.
///
/// # Errors
/// [`StoreError`].
pub async fn set_floor(
    connection: &mut Connection,
    component: &str,
    floor: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE components SET floor = $1 WHERE name = $2")
        .bind(floor)
        .bind(component)
        .execute(&mut *connection)
        .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    Ok(())
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
    let mut standings = std::collections::BTreeMap::new();
    let mut observed = std::collections::BTreeSet::new();
    for component in components(connection).await? {
        for version in component.versions {
            let standing = match (version.retired_at, version.below_floor) {
                (Some(_), _) => Standing::Retired,
                (None, true) => Standing::BelowFloor,
                (None, false) => Standing::Current,
            };
            standings.insert((component.name.clone(), version.version), standing);
        }
        if component.mode == ComponentMode::Observe {
            observed.insert(component.name);
        }
    }
    // In order of approval over all components, which the components by themselves do not give.
    let versions = all(connection).await?.into_iter().map(|(component, version)| {
        let name = VersionName { component, version: version.version };
        let standing = standings.get(&(name.component.clone(), name.version.clone()));
        ApprovedVersion {
            standing: standing.copied().unwrap_or(Standing::Retired),
            name,
            reference: version.reference,
        }
    });
    let versions = versions.collect();
    let grants = grants::all(connection).await?.into_iter().map(|grant| ComponentGrant {
        id: grant.id,
        component: grant.component,
        terms: grant.terms,
    });
    let (sets, past_set_files) = library_sets::policy(connection).await?;
    Ok(Policy {
        versions,
        sets,
        past_set_files,
        retired_files: retired_files::digests(connection).await?,
        observed,
        grants: grants.collect(),
        epoch: meta::value(connection, Counter::Epoch).await?,
    })
}
