//! Operators' credentials: only their SHA-256 is stored.

use attestation::digest::Digest;

use crate::authentication::Role;

use super::{Connection, StoreError, from_word, parsed, stored, to_word};

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Who.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// SHA-256 of the credential.
    pub credential: Digest,
}

/// Adds an operator.
///
/// # Errors
/// [`StoreError`], also where the name is taken.
pub async fn add(
    connection: &mut Connection,
    administrator: &Administrator,
    now: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO administrators (name, role, credential_sha256, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(&administrator.name)
    .bind(to_word("administrators.role", &administrator.role)?)
    .bind(administrator.credential.to_string())
    .bind(stored(now)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// All operators.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut Connection) -> Result<Vec<Administrator>, StoreError> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, role, credential_sha256 FROM administrators ORDER BY name")
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(name, role, credential)| {
            Ok(Administrator {
                name,
                role: from_word("administrators.role", &role)?,
                credential: parsed("administrators.credential_sha256", &credential)?,
            })
        })
        .collect()
}
