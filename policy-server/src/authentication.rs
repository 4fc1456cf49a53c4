//! Who an operator is and what their role permits: bearer credentials (RFC 6750), compared by SHA-256.

use core::marker::PhantomData;
use std::sync::Arc;

use attestation::digest::Digest;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::error::ServerError;
use crate::state::Server;
use crate::store::administrators::{self, Administrator};

/// Longest credential that is looked at, in bytes.
const MAX_CREDENTIAL: usize = 256;

/// What an operator may do; each role may do everything that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Takes rights away: suspends, retires, raises floors, removes grants. Has tokens issued for software that is
    /// approved.
    Operator,
    /// Gives rights: approves and grants.
    Approver,
}

impl Role {
    /// The name in the database and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
        }
    }
}

/// A role as a type, for the signature of a handler.
pub trait Required {
    /// The role.
    const ROLE: Role;
}

/// [`Role::Viewer`].
pub enum Viewer {}
/// [`Role::Operator`].
pub enum Operator {}
/// [`Role::Approver`].
pub enum Approver {}

impl Required for Viewer {
    const ROLE: Role = Role::Viewer;
}

impl Required for Operator {
    const ROLE: Role = Role::Operator;
}

impl Required for Approver {
    const ROLE: Role = Role::Approver;
}

/// Proof that the request carries the credential of somebody whose role is `R` or above. Only the check makes
/// one, before the request's body is read.
pub struct By<R> {
    name: String,
    role: PhantomData<R>,
}

impl<R> By<R> {
    /// The operator's name, for the record.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<R: Required> FromRequestParts<Arc<Server>> for By<R> {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, ServerError> {
        let credential = bearer(&parts.headers).ok_or(ServerError::NotAuthenticated)?;
        let presented = Digest::of(credential.as_bytes());
        let mut transaction = server.store.read().await?;
        let mut found = None;
        // All are compared, so that the time taken says nothing about which one was near.
        for administrator in administrators::all(&mut transaction).await? {
            if bool::from(presented.as_bytes().ct_eq(administrator.credential.as_bytes())) {
                found = Some(administrator);
            }
        }
        let Administrator { name, role, .. } = found.ok_or(ServerError::NotAuthenticated)?;
        if role < R::ROLE {
            return Err(ServerError::NotPermitted { name, required: R::ROLE });
        }
        Ok(Self { name, role: PhantomData })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    let fits = (1..=MAX_CREDENTIAL).contains(&credential.len());
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(credential)
}
