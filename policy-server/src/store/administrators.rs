//! Operators' credentials: only their SHA-256 is stored.

use attestation::digest::Digest;

use crate::authentication::Role;

use super::{Connection, StoreError, from_word, loaded, parsed, stored, to_word};

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Who.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// SHA-256 of the credential.
    pub credential: Digest,
    /// When they were added, in seconds since 1970.
    pub created_at: u64,
}

/// Adds an operator.
///
/// # Errors
/// [`StoreError`], also where the name is taken.
pub async fn add(connection: &mut Connection, administrator: &Administrator) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO administrators (name, role, credential_sha256, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(&administrator.name)
    .bind(to_word("administrators.role", &administrator.role)?)
    .bind(administrator.credential.to_string())
    .bind(stored(administrator.created_at)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the operator of that name: whether there was one.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    let removed =
        sqlx::query("DELETE FROM administrators WHERE name = $1").bind(name).execute(connection).await?;
    Ok(removed.rows_affected() > 0)
}

/// All operators.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<Administrator>, StoreError> {
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as("SELECT name, role, credential_sha256, created_at FROM administrators ORDER BY name")
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(name, role, credential, created_at)| {
            Ok(Administrator {
                name,
                role: from_word("administrators.role", &role)?,
                credential: parsed("administrators.credential_sha256", &credential)?,
                created_at: loaded("administrators.created_at", created_at)?,
            })
        })
        .collect()
}
