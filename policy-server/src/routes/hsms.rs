//! `/v1/hsms`: enrolment of attestation keys, their approval and suspension.

use std::sync::Arc;

use attestation::api::{EnrollRequest, HsmRecord, HsmState};
use attestation::evidence::{HsmClaims, VerifiedEnrollment, verify_enrollment};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::{self, Nothing};
use crate::appraisal::{NonceState, unsafe_key};
use crate::authentication::{Approver, By, Operator, Viewer};
use crate::clock;
use crate::error::ServerError;
use crate::state::Server;
use crate::store::hsms::EnrolledKey;
use crate::store::meta::{self, Counter};
use crate::store::{commit, hsms};
use crate::text;

/// Longest field of a token's description, in bytes; PKCS#11 has at most 32, escaped at most four times that.
const MAX_TOKEN_FIELD: usize = 128;

/// `GET /v1/hsms`.
pub async fn list(
    State(server): State<Arc<Server>>,
    _: By<Viewer>,
) -> Result<Json<Vec<HsmRecord>>, ServerError> {
    let mut transaction = server.store.read().await?;
    Ok(Json(hsms::all(&mut transaction).await?.into_iter().map(|key| key.record).collect()))
}

/// `POST /v1/hsms`: enrols a key that proves possession. It counts for nothing until an operator approves its
/// fingerprint. A key that is enrolled already is answered with its record.
pub async fn enroll(
    State(server): State<Arc<Server>>,
    body::Json(request): body::Json<EnrollRequest>,
) -> Result<(StatusCode, Json<HsmRecord>), ServerError> {
    let enrollment = verify_enrollment(&request.proof)
        .map_err(|error| ServerError::Malformed(format!("the proof of possession is refused: {error}")))?;
    let now = clock::now()?;
    let key = enrolled_key(&enrollment, now)?;
    let fingerprint = &key.record.fingerprint;
    let (nonce, challenges) = (&enrollment.claims().eat_nonce, &server.challenges);
    let state = challenges.consume(nonce, fingerprint, fingerprint, challenges.now())?;
    if state != NonceState::Fresh {
        return Err(ServerError::Conflict(
            "the challenge in the proof is unknown, used or too old; ask for a new one".to_owned(),
        ));
    }
    let mut transaction = server.store.write().await?;
    let answer = match hsms::find(&mut transaction, fingerprint).await? {
        Some(known) => {
            let (old, new) = (&known.record, &key.record);
            if (&old.host, old.mode, &old.hsm) != (&new.host, new.mode, &new.hsm) {
                return Err(ServerError::Conflict(format!(
                    "this key is enrolled for host {} in {} mode on token {}; make another key",
                    old.host,
                    old.mode.name(),
                    old.hsm.serial
                )));
            }
            (StatusCode::OK, Json(known.record))
        }
        None => {
            if !hsms::make_room(&mut transaction, now).await? {
                return Err(ServerError::TooManyPending);
            }
            hsms::add(&mut transaction, &key).await?;
            tracing::info!(%fingerprint, host = %key.record.host, "attestation key enrolled, pending");
            (StatusCode::CREATED, Json(key.record))
        }
    };
    commit(transaction).await?;
    Ok(answer)
}

fn enrolled_key(enrollment: &VerifiedEnrollment, now: u64) -> Result<EnrolledKey, ServerError> {
    let claims = enrollment.claims();
    if !text::is_host_name(&claims.host) {
        return Err(ServerError::Malformed("`host` is not a host name".to_owned()));
    }
    let HsmClaims { label, serial, model, manufacturer, firmware, key: _ } = &claims.hsm;
    for field in [label, serial, model, manufacturer, firmware] {
        if field.len() > MAX_TOKEN_FIELD || text::bounded(field, MAX_TOKEN_FIELD) != *field {
            return Err(ServerError::Malformed("a field of `hsm` is too long or not printable".to_owned()));
        }
    }
    if let Some(reason) = unsafe_key(&claims.hsm) {
        return Err(ServerError::Conflict(reason.detail));
    }
    Ok(EnrolledKey {
        record: HsmRecord {
            fingerprint: claims.cnf.jwk.thumbprint(),
            state: HsmState::Pending,
            host: claims.host.clone(),
            mode: claims.mode,
            hsm: claims.hsm.clone(),
            enrolled_at: now,
            approved_at: None,
        },
        public_key: claims.cnf.jwk.clone(),
    })
}

/// `POST /v1/hsms/{fingerprint}/approve`.
pub async fn approve(
    State(server): State<Arc<Server>>,
    Path(fingerprint): Path<String>,
    by: By<Approver>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<HsmRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    hsms::approve(&mut transaction, &fingerprint, by.name(), clock::now()?).await?;
    let key = hsms::find(&mut transaction, &fingerprint).await?.ok_or_else(|| unknown(&fingerprint))?;
    commit(transaction).await?;
    tracing::info!(%fingerprint, host = %key.record.host, by = by.name(), "attestation key approved");
    Ok(Json(key.record))
}

/// `POST /v1/hsms/{fingerprint}/suspend`.
pub async fn suspend(
    State(server): State<Arc<Server>>,
    Path(fingerprint): Path<String>,
    by: By<Operator>,
    body::Json(Nothing {}): body::Json<Nothing>,
) -> Result<Json<HsmRecord>, ServerError> {
    let mut transaction = server.store.write().await?;
    hsms::suspend(&mut transaction, &fingerprint).await?;
    let key = hsms::find(&mut transaction, &fingerprint).await?.ok_or_else(|| unknown(&fingerprint))?;
    meta::raise(&mut transaction, Counter::Epoch).await?;
    commit(transaction).await?;
    tracing::info!(%fingerprint, host = %key.record.host, by = by.name(), "attestation key suspended");
    Ok(Json(key.record))
}

fn unknown(fingerprint: &str) -> ServerError {
    ServerError::NotFound(format!("attestation key with fingerprint {}", text::bounded(fingerprint, 64)))
}
