//! What goes wrong, with its two faces: a problem document (RFC 9457) for the caller, the detail for the log.

use std::path::PathBuf;

use attestation::api::{PROBLEM_JSON, Problem};
use attestation::decision::{DecisionId, Reason};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

use crate::appraisal::approval::ApprovalError;
use crate::appraisal::import::ImportError;
use crate::appraisal::terms::TermsError;
use crate::authentication::Role;
use crate::configuration::ConfigurationError;
use crate::store::{Failure, StoreError};

/// Everything that the server can fail with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServerError {
    /// A measurement cannot become reference values.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The decision cannot be approved as it stands.
    #[error("{0}")]
    CannotApprove(String),
    /// The system clock stands before 1970.
    #[error("the system clock stands before 1970")]
    Clock,
    /// The configuration file is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The request contradicts what is on record.
    #[error("{0}")]
    Conflict(String),
    /// Evidence was refused; the decision is on record.
    #[error("evidence was refused: {decision}")]
    EvidenceRefused { decision: DecisionId, reasons: Vec<Reason> },
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    /// A private file is open to others.
    #[error("{path} holds a secret and others may access it; run `chmod 600` on it")]
    FileNotPrivate { path: PathBuf },
    /// `init` would overwrite something.
    #[error("{path} is not empty; `init` needs a new or an empty directory")]
    DirectoryInUse { path: PathBuf },
    /// Keys or certificates could not be made or read.
    #[error("{what}: {problem}")]
    KeyMaterial { what: &'static str, problem: String },
    /// A manifest cannot become reference values.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The address could not be listened on, or the listener failed.
    #[error("{address}: {error}")]
    Listen { address: String, error: std::io::Error },
    /// The request's body is not what it must be.
    #[error("{0}")]
    Malformed(String),
    /// The path is known, the method is not.
    #[error("this resource does not answer to that method")]
    MethodNotAllowed,
    /// No credential, or one that is unknown.
    #[error("no known credential in the Authorization header")]
    NotAuthenticated,
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// The credential's role is too low.
    #[error("{name} has not the role {}", required.name())]
    NotPermitted { name: String, required: Role },
    /// No randomness.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of the server itself failed.
    #[error("a task of the server failed: {0}")]
    Task(String),
    /// A grant's terms are wrong.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The request took too long.
    #[error("the request was not complete within {0} seconds")]
    TimedOut(u64),
    /// The trust token could not be made.
    #[error("the trust token could not be made: {0}")]
    Token(String),
    /// The body is over its limit.
    #[error("the request's body is larger than this resource takes")]
    TooLarge,
    /// More challenges were answered than can be remembered.
    #[error("more challenges were answered within a minute than the server remembers")]
    TooManyAnswers,
    /// Too many keys wait for approval.
    #[error("too many attestation keys wait for approval")]
    TooManyPending,
}

impl ServerError {
    /// Status, code and title: always the same for the same kind of error.
    fn face(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Approval(_) | Self::CannotApprove(_) => {
                (StatusCode::CONFLICT, "cannot-approve", "The decision cannot be approved")
            }
            Self::Conflict(_) => {
                (StatusCode::CONFLICT, "conflict", "The request contradicts what is on record")
            }
            Self::EvidenceRefused { .. } => {
                (StatusCode::FORBIDDEN, "evidence-refused", "The evidence was refused")
            }
            Self::Import(_) => (StatusCode::CONFLICT, "cannot-import", "The manifest cannot be imported"),
            Self::Malformed(_) | Self::Terms(_) => {
                (StatusCode::BAD_REQUEST, "malformed", "The request is malformed")
            }
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here")
            }
            Self::NotAuthenticated => {
                (StatusCode::UNAUTHORIZED, "not-authenticated", "A known credential is required")
            }
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "There is no such resource"),
            Self::NotPermitted { .. } => {
                (StatusCode::FORBIDDEN, "not-permitted", "The credential's role does not permit this")
            }
            Self::Store(error) if error.failure() == Failure::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "The database is in use or the server busy; try again",
            ),
            Self::Store(error) if error.failure() == Failure::Full => (
                StatusCode::INSUFFICIENT_STORAGE,
                "storage-full",
                "The server's disk is full; make room where its database is",
            ),
            Self::TimedOut(_) => (StatusCode::REQUEST_TIMEOUT, "timed-out", "The request took too long"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request's body is too large"),
            Self::TooManyAnswers => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy; try again")
            }
            Self::TooManyPending => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-pending",
                "Too many attestation keys wait for approval",
            ),
            Self::Clock
            | Self::Configuration(_)
            | Self::DirectoryInUse { .. }
            | Self::File { .. }
            | Self::FileNotPrivate { .. }
            | Self::KeyMaterial { .. }
            | Self::Listen { .. }
            | Self::Random(_)
            | Self::Store(_)
            | Self::Task(_)
            | Self::Token(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed; its log says why")
            }
        }
    }

    /// What the caller may know, as a problem document.
    pub fn problem(&self) -> (StatusCode, Problem) {
        let (status, code, title) = self.face();
        let (decision, reasons) = match self {
            Self::EvidenceRefused { decision, reasons } => (Some(*decision), reasons.clone()),
            _ => (None, Vec::new()),
        };
        let detail = match self {
            Self::EvidenceRefused { decision, .. } => {
                Some(format!("`trustshim explain {decision}` shows what differs and what can be done"))
            }
            // What failed inside is the log's business alone.
            _ if status.is_server_error() && !matches!(self, Self::TooManyPending) => None,
            _ => Some(crate::text::bounded(&self.to_string(), 1000)),
        };
        let kind = format!("urn:trustshim:problem:{code}");
        let problem =
            Problem { kind, title: title.to_owned(), status: status.as_u16(), detail, decision, reasons };
        (status, problem)
    }
}

impl IntoResponse for ServerError {
    fn into_response(self) -> Response {
        let (status, problem) = self.problem();
        // It may quote the request: no line breaks, no terminal sequences.
        let error = crate::text::bounded(&self.to_string(), 1000);
        if status.is_server_error() {
            tracing::error!(%error, "request failed");
        } else if !matches!(self, Self::EvidenceRefused { .. }) {
            tracing::info!(status = status.as_u16(), %error, "request refused");
        }
        // A problem document is made of strings and numbers: it always has a JSON form.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
