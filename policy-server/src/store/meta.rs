//! Counters that are never used twice, the revocation epoch, and the revision by which a cached policy is known.

use super::{Connection, StoreError, loaded};

/// A named counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Orders decisions.
    Decision,
    /// The revocation epoch: rises whenever something approved is taken back.
    Epoch,
    /// Names grants.
    Grant,
    /// Rises with every change of components, versions, library sets, retired files or grants.
    PolicyRevision,
    /// Orders versions by approval.
    Version,
}

impl Counter {
    const fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Epoch => "epoch",
            Self::Grant => "grant",
            Self::PolicyRevision => "policy-revision",
            Self::Version => "version",
        }
    }
}

/// Reads a counter.
///
/// # Errors
/// [`StoreError`].
pub async fn value(connection: &mut Connection, counter: Counter) -> Result<u64, StoreError> {
    let value: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
        .bind(counter.name())
        .fetch_one(connection)
        .await?;
    loaded("meta.value", value)
}

/// Raises a counter by one and returns its new value.
///
/// # Errors
/// [`StoreError`].
pub async fn raise(connection: &mut Connection, counter: Counter) -> Result<u64, StoreError> {
    let value: i64 = sqlx::query_scalar("UPDATE meta SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(counter.name())
        .fetch_one(connection)
        .await?;
    loaded("meta.value", value)
}

/// Identifies one state of the policy and the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    policy: u64,
    epoch: u64,
}

/// The state of the policy that this transaction sees.
///
/// # Errors
/// [`StoreError`].
pub async fn revision(connection: &mut Connection) -> Result<Revision, StoreError> {
    let (policy, epoch): (i64, i64) = sqlx::query_as(
        "SELECT policy.value, epoch.value FROM meta policy, meta epoch WHERE policy.name = $1 AND epoch.name = $2",
    )
    .bind(Counter::PolicyRevision.name())
    .bind(Counter::Epoch.name())
    .fetch_one(connection)
    .await?;
    Ok(Revision { policy: loaded("meta.value", policy)?, epoch: loaded("meta.value", epoch)? })
}
