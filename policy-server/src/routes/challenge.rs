//! `POST /v1/challenge`: a nonce for evidence or for enrolment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use attestation::api::{Challenge, ChallengeRequest};
use attestation::base64url;
use axum::Json;
use axum::extract::State;

use super::body;
use crate::clock;
use crate::error::ServerError;
use crate::random;
use crate::state::Server;
use crate::store::{commit, nonces};

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
    if server.challenges.fetch_add(1, Ordering::Relaxed) % nonces::TIDY_EVERY == 0 {
        let mut transaction = server.store.write().await?;
        nonces::tidy(&mut transaction, now).await?;
        commit(transaction).await?;
    }
    let mut statement = server.store.write_once().await?;
    nonces::add(&mut statement, &nonce, &request.kid, &request.cnf, now).await?;
    Ok(Json(Challenge { nonce: nonce.to_string(), expires_in: nonces::LIFETIME_S }))
}
