//! Whether the server lives, and whether it can do its work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::error::ServerError;
use crate::state::Server;
use crate::store::meta::{self, Counter};

/// `GET /healthz`.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /readyz`: the database answers.
pub async fn ready(State(server): State<Arc<Server>>) -> Result<Json<Value>, ServerError> {
    let mut transaction = server.store.read().await?;
    meta::value(&mut transaction, Counter::Epoch).await?;
    Ok(Json(json!({"status": "ready"})))
}
