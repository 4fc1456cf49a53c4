//! One request and its answer. Nothing outlives it (no connection, no lock, no TLS session) unless a few requests that
//! follow each other are to share a connection.

use std::time::Duration;

use attestation::api::{PROBLEM_JSON, Problem};
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::{Method, Request, Response, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector as _, RustlsConnector, TcpConnector};
use zeroize::Zeroizing;

use crate::address::ServerAddress;
use crate::error::ClientError;
use crate::resolver::CallerResolver;

/// Where to, how long, and on whose behalf.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) address: ServerAddress,
    pub(crate) tls: TlsConfig,
    pub(crate) timeout: Duration,
    /// Keeps the connection between requests; `None` makes one for each.
    pub(crate) shared: Option<Agent>,
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<Zeroizing<String>>,
}

/// A complete answer.
pub(crate) struct Answer {
    server: String,
    status: u16,
    is_problem: bool,
    /// The `Date` header.
    pub(crate) date: Option<String>,
    body: Vec<u8>,
}

impl Exchange {
    /// Sends one request; `body` is JSON. The answer may have `limit` bytes.
    pub(crate) fn run(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        limit: u64,
    ) -> Result<Answer, ClientError> {
        let server = self.address.as_str();
        let transport = |error| ClientError::from_transport(error, server, self.timeout, limit);
        let mut request = Request::builder()
            .method(method)
            .uri(self.address.join(path))
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.as_str());
        }
        let agent = self.shared.clone().unwrap_or_else(|| self.agent(0));
        let sent = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
                let request = request.map_err(|error| transport(error.into()))?;
                agent.run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())
            }
            None => {
                let request = request.body(()).map_err(|error| transport(error.into()))?;
                agent.run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())
            }
        };
        let mut response = sent.map_err(transport)?;
        let is_problem = media_type(&response) == Some(PROBLEM_JSON);
        let status = response.status().as_u16();
        let date = text(&response, &header::DATE).map(str::to_owned);
        let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(transport)?;
        Ok(Answer { server: server.to_owned(), status, is_problem, date, body })
    }

    /// Made anew for each request, or for a few that follow each other at once: an agent's pool and TLS session cache have
    /// locks, and a connection kept open in somebody else's process may be closed behind our back and its descriptor
    /// reused.
    pub(crate) fn agent(&self, idle_connections: usize) -> Agent {
        let config = Agent::config_builder()
            .tls_config(self.tls.clone())
            .proxy(None)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(idle_connections)
            .user_agent(concat!("trustshim/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
        Agent::with_parts(config, connector, CallerResolver)
    }
}

fn text<'a, B>(response: &'a Response<B>, name: &header::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn media_type<B>(response: &Response<B>) -> Option<&str> {
    text(response, &header::CONTENT_TYPE)?.split(';').next().map(str::trim)
}

impl Answer {
    /// The value that a successful answer carries.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let answer = self.success()?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            // The parser's own message quotes the answer, which may hold a token.
            let why = format!("not the expected JSON (line {}, column {})", error.line(), error.column());
            ClientError::Garbage { server: answer.server, why }
        })
    }

    /// Turns everything but a success into an error.
    pub(crate) fn success(self) -> Result<Self, ClientError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        if self.is_problem
            && let Ok(problem) = serde_json::from_slice::<Problem>(&self.body)
        {
            return Err(ClientError::Refused(Box::new(problem)));
        }
        Err(ClientError::Garbage {
            server: self.server,
            why: format!("HTTP status {} without a problem document", self.status),
        })
    }
}
