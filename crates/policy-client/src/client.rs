//! The client: what attesters and operators ask of the policy server.

use std::path::PathBuf;
use std::time::Duration;

use attestation::api::{AttestRequest, AttestResponse, Challenge, ChallengeRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::address::ServerAddress;
use crate::error::ClientError;
use crate::exchange::Exchange;
use crate::trust;

/// Bytes that an answer to an attester may have.
const ATTESTER_LIMIT: u64 = 1 << 20;
/// Bytes that an answer to an operator may have: lists grow with the installation.
const OPERATOR_LIMIT: u64 = 32 << 20;

/// Where the policy server is and how to know it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://HOST[:PORT]`, with a path at most.
    pub url: String,
    /// PEM file with the only roots that count.
    pub ca_pem: PathBuf,
    /// For one whole request, connection and handshake included; looking up a host name comes on top.
    pub timeout: Duration,
}

/// A client of one policy server. Holds no connection, unless it was made to: it may be kept over a fork.
#[derive(Clone)]
pub struct Client {
    exchange: Exchange,
}

impl core::fmt::Debug for Client {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Client").field("server", &self.exchange.address.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the CA file; contacts nobody.
    ///
    /// # Errors
    /// [`ClientError::BadAddress`] and [`ClientError::BadCa`].
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self {
            exchange: Exchange {
                address: ServerAddress::parse(&settings.url)?,
                tls: trust::tls_from_ca_file(&settings.ca_pem)?,
                timeout: settings.timeout,
                shared: None,
                authorization: None,
            },
        })
    }

    /// The same with one connection for all its requests, which is closed when the last copy is dropped: for requests that
    /// follow each other at once.
    pub fn on_one_connection(&self) -> Self {
        Self { exchange: Exchange { shared: Some(self.exchange.agent(1)), ..self.exchange.clone() } }
    }

    /// The same with another timeout.
    pub fn within(&self, timeout: Duration) -> Self {
        Self { exchange: Exchange { timeout, ..self.exchange.clone() } }
    }

    /// Sends an operator's credential with every request (RFC 6750).
    ///
    /// # Errors
    /// [`ClientError::BadCredential`] for anything but visible ASCII.
    pub fn with_admin_token(mut self, token: &str) -> Result<Self, ClientError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::BadCredential);
        }
        self.exchange.authorization = Some(Zeroizing::new(format!("Bearer {token}")));
        Ok(self)
    }

    /// `POST /v1/challenge`: a nonce for the evidence.
    ///
    /// # Errors
    /// Every [`ClientError`] about connection and answer.
    pub fn challenge(&self, request: &ChallengeRequest) -> Result<Challenge, ClientError> {
        self.send("/v1/challenge", request, ATTESTER_LIMIT)
    }

    /// `POST /v1/attest`: evidence for a trust token.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the decision and its reasons where the evidence was not accepted.
    pub fn attest(&self, request: &AttestRequest) -> Result<AttestResponse, ClientError> {
        self.send("/v1/attest", request, ATTESTER_LIMIT)
    }

    /// `GET path`. Variable parts of the path go through [`crate::segment`].
    ///
    /// # Errors
    /// Every [`ClientError`] about connection and answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange.run(Method::GET, path, None, OPERATOR_LIMIT)?.json()
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// Every [`ClientError`] about connection and answer.
    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        self.send(path, body, OPERATOR_LIMIT)
    }

    /// `DELETE path`; what a successful answer says is not looked at.
    ///
    /// # Errors
    /// Every [`ClientError`] about connection and answer.
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.exchange.run(Method::DELETE, path, None, ATTESTER_LIMIT)?.success().map(drop)
    }

    /// `GET /readyz`: the server is there, shows a certificate of our CA, and can do its work. Answers with
    /// the server's own time as its `Date` header says it (RFC 9110 section 5.6.7), where it does.
    ///
    /// # Errors
    /// Every [`ClientError`] about connection and answer.
    pub fn ready(&self) -> Result<Option<String>, ClientError> {
        let answer = self.exchange.run(Method::GET, "/readyz", None, ATTESTER_LIMIT)?;
        answer.success().map(|answer| answer.date)
    }

    fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        limit: u64,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ClientError::BadRequest { server: self.exchange.address.as_str().to_owned() })?;
        self.exchange.run(Method::POST, path, Some(body), limit)?.json()
    }
}
