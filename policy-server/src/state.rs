//! What every request works with: the database, the signing key and the policy as last read.

use std::sync::Arc;

use attestation::token::TokenIssuer;
use parking_lot::Mutex;

use crate::appraisal::policy::Policy;
use crate::challenges::Challenges;
use crate::configuration::Configuration;
use crate::error::ServerError;
use crate::store::{Connection, Store, StoreError, meta, versions};

/// The server.
pub struct Server {
    /// The policy database.
    pub store: Store,
    /// Signs trust tokens.
    pub issuer: TokenIssuer,
    /// The configuration file.
    pub configuration: Configuration,
    /// The nonces.
    pub challenges: Challenges,
    /// The policy with the revision at which it was read.
    policy: Mutex<Option<(meta::Revision, Arc<Policy>)>>,
}

impl Server {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`ServerError::Random`].
    pub fn new(store: Store, issuer: TokenIssuer, configuration: Configuration) -> Result<Self, ServerError> {
        let challenges = Challenges::new()?;
        Ok(Self { store, issuer, configuration, challenges, policy: Mutex::new(None) })
    }

    /// The policy as this transaction sees it; read anew only where it has changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn policy(&self, connection: &mut Connection) -> Result<Arc<Policy>, StoreError> {
        let revision = meta::revision(connection).await?;
        let known = self.policy.lock().clone();
        if let Some((at, policy)) = known
            && at == revision
        {
            return Ok(policy);
        }
        let policy = Arc::new(versions::policy(connection).await?);
        let read = Some((revision, Arc::clone(&policy)));
        *self.policy.lock() = read;
        Ok(policy)
    }
}
