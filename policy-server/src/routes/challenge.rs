//! `POST /v1/challenge`: a nonce for evidence or for enrolment.

use std::sync::Arc;

use attestation::api::{Challenge, ChallengeRequest};
use attestation::base64url;
use axum::Json;
use axum::extract::State;

use super::body;
use crate::challenges::LIFETIME_S;
use crate::error::ServerError;
use crate::state::Server;

/// `POST /v1/challenge`. Anybody may ask, since an enrolling key is unknown: nothing is kept of the answer.
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
    let challenges = &server.challenges;
    let nonce = challenges.give(&request.kid, &request.cnf, challenges.now())?;
    Ok(Json(Challenge { nonce, expires_in: LIFETIME_S }))
}
