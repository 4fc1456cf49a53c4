//! Grants: which component may do what with which key.

use attestation::api::{GrantRecord, GrantTerms};

use super::meta::{self, Counter};
use super::{Connection, StoreError, from_json, from_word, loaded, stored, to_json, to_word};

type Row = (i64, String, String, String, i64, Option<String>, i64);

fn record(row: Row) -> Result<GrantRecord, StoreError> {
    let (id, component, key, operations, many, mode, granted_at) = row;
    Ok(GrantRecord {
        id: format!("G-{id}"),
        component,
        terms: GrantTerms {
            key,
            operations: from_json("grants.operations", &operations)?,
            many: many != 0,
            mode: mode.map(|mode| from_word("grants.mode", &mode)).transpose()?,
        },
        granted_at: loaded("grants.granted_at", granted_at)?,
    })
}

/// All grants, oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<GrantRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, component, key_uri, operations, many, mode, granted_at FROM grants ORDER BY id",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(record).collect()
}

/// Adds a grant; an equal one that exists is returned instead. The terms must have been checked.
///
/// # Errors
/// [`StoreError`], also where there is no such component.
pub async fn add(
    connection: &mut Connection,
    component: &str,
    terms: &GrantTerms,
    by: &str,
    now: u64,
) -> Result<GrantRecord, StoreError> {
    let known = all(connection).await?;
    if let Some(equal) = known.into_iter().find(|grant| grant.component == component && &grant.terms == terms)
    {
        return Ok(equal);
    }
    let id = meta::raise(connection, Counter::Grant).await?;
    sqlx::query(
        "INSERT INTO grants (id, component, key_uri, operations, many, mode, granted_at, granted_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(stored(id)?)
    .bind(component)
    .bind(&terms.key)
    .bind(to_json("grants.operations", &terms.operations)?)
    .bind(i64::from(terms.many))
    .bind(terms.mode.map(|mode| to_word("grants.mode", &mode)).transpose()?)
    .bind(stored(now)?)
    .bind(by)
    .execute(&mut *connection)
    .await?;
    meta::raise(connection, Counter::PolicyRevision).await?;
    let (component, terms) = (component.to_owned(), terms.clone());
    Ok(GrantRecord { id: format!("G-{id}"), component, terms, granted_at: now })
}

/// Removes a grant by its id and returns it.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(connection: &mut Connection, id: &str) -> Result<Option<GrantRecord>, StoreError> {
    let Some(number) = id.strip_prefix("G-").and_then(|number| number.parse::<i64>().ok()) else {
        return Ok(None);
    };
    let row: Option<Row> = sqlx::query_as(
        "DELETE FROM grants WHERE id = $1 \
         RETURNING id, component, key_uri, operations, many, mode, granted_at",
    )
    .bind(number)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    record(row).map(Some)
}
