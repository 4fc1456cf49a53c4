//! Grants: which component may do what with which key.

use attestation::api::{GrantRecord, GrantTerms};

use super::meta::{self, Counter};
use super::{Connection, StoreError, from_json, from_word, loaded, stored, to_json, to_word};

/// The columns of [`Row`].
macro_rules! columns {
    () => {
        "id, component, key_uri, operations, many, mode, mechanisms, rate, expires_at, min_version, granted_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    component: String,
    key_uri: String,
    operations: String,
    many: i64,
    mode: Option<String>,
    mechanisms: Option<String>,
    rate: Option<String>,
    expires_at: Option<i64>,
    min_version: Option<String>,
    granted_at: i64,
}

impl Row {
    fn record(self) -> Result<GrantRecord, StoreError> {
        let mechanisms = self.mechanisms.map(|list| from_json("grants.mechanisms", &list)).transpose()?;
        Ok(GrantRecord {
            id: format!("G-{}", self.id),
            component: self.component,
            terms: GrantTerms {
                key: self.key_uri,
                operations: from_json("grants.operations", &self.operations)?,
                many: self.many != 0,
                mode: self.mode.map(|mode| from_word("grants.mode", &mode)).transpose()?,
                mechanisms: mechanisms.unwrap_or_default(),
                rate: self.rate.map(|rate| from_json("grants.rate", &rate)).transpose()?,
                expires_at: self.expires_at.map(|at| loaded("grants.expires_at", at)).transpose()?,
                min_version: self.min_version,
            },
            granted_at: loaded("grants.granted_at", self.granted_at)?,
        })
    }
}

/// All grants, oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<GrantRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(concat!("SELECT ", columns!(), " FROM grants ORDER BY id"))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(Row::record).collect()
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
    let mechanisms = Some(&terms.mechanisms).filter(|list| !list.is_empty());
    sqlx::query(
        "INSERT INTO grants (id, component, key_uri, operations, many, mode, mechanisms, rate, expires_at, \
         min_version, granted_at, granted_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(stored(id)?)
    .bind(component)
    .bind(&terms.key)
    .bind(to_json("grants.operations", &terms.operations)?)
    .bind(i64::from(terms.many))
    .bind(terms.mode.map(|mode| to_word("grants.mode", &mode)).transpose()?)
    .bind(mechanisms.map(|list| to_json("grants.mechanisms", list)).transpose()?)
    .bind(terms.rate.map(|rate| to_json("grants.rate", &rate)).transpose()?)
    .bind(terms.expires_at.map(stored).transpose()?)
    .bind(&terms.min_version)
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
    let row: Option<Row> = sqlx::query_as(concat!("DELETE FROM grants WHERE id = $1 RETURNING ", columns!()))
        .bind(number)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    meta::raise(connection, Counter::PolicyRevision).await?;
    meta::raise(connection, Counter::Epoch).await?;
    row.record().map(Some)
}
