//! Requests' bodies and queries, read so that whatever is wrong with them becomes a problem document.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ServerError;

/// A JSON body, bounded by the route's limit. Unknown and repeated members are errors.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ServerError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ServerError> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| match rejection
                .status()
            {
                StatusCode::PAYLOAD_TOO_LARGE => ServerError::TooLarge,
                _ => ServerError::Malformed(format!("the body was not received: {}", rejection.body_text())),
            })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ServerError::Malformed(format!("the body is not what it must be: {error}")))
    }
}

/// A request body without members: `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A query string. Unknown parameters are errors where `T` says so.
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServerError> {
        Query::from_request_parts(parts, state).await.map(|Query(parameters)| Self(parameters)).map_err(
            |rejection| {
                ServerError::Malformed(format!("the query is not what it must be: {}", rejection.body_text()))
            },
        )
    }
}
