//! `POST /v1/challenge`: a nonce for evidence or for enrolment.

use std::sync::Arc;

use attestation::api::{Challenge, ChallengeRequest, HsmState};
use attestation::base64url;
use axum::Json;
use axum::extract::State;

use super::body;
use crate::clock;
use crate::error::ServerError;
use crate::random;
use crate::state::Server;
use crate::store::{commit, hsms, nonces};

/// `POST /v1/challenge`. Anybody may ask, since an enrolling key is unknown; approved keys have their own share
/// of the nonces.
pub async fn post(
    State(server): State<Arc<Server>>,
    body::Json(request): body::Json<ChallengeRequest>,
) -> Result<Json<Challenge>, ServerError> {
    for (member, thumbprint) in [("kid", &request.kid), ("cnf", &request.cnf)] {
        if base64url::decode(thumbprint).is_none_or(|bytes| bytes.len() != 32) {
            return Err(ServerError::Malformed(format!(
                "`{member}` is not a thumbprint: 32 bytes in base64url"
            )));
        }
    }
    let now = clock::now()?;
    let nonce = random::secret()?;
    let mut transaction = server.store.write().await?;
    let approved = hsms::find(&mut transaction, &request.kid)
        .await?
        .is_some_and(|key| key.record.state == HsmState::Approved);
    nonces::add(&mut transaction, &nonce, &request.kid, &request.cnf, approved, now).await?;
    commit(transaction).await?;
    Ok(Json(Challenge { nonce: nonce.to_string(), expires_in: nonces::LIFETIME_S }))
}
