//! What can go wrong between a client and the policy server.

use std::path::PathBuf;
use std::time::Duration;

use attestation::api::Problem;

/// Why a request had no usable answer. No variant carries a credential, evidence or a token.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configured address cannot be used.
    #[error("the policy server's address {url:?} cannot be used: {why}")]
    BadAddress {
        /// As configured.
        url: String,
        #[allow(missing_docs)]
        why: &'static str,
    },
    /// The file of pinned roots cannot be used.
    #[error("the CA file {path:?} cannot be used: {why}", path = path.display())]
    BadCa {
        /// As configured.
        path: PathBuf,
        #[allow(missing_docs)]
        why: String,
    },
    /// The server's certificate was not accepted: another CA, another name, expired.
    #[error("{server} shows a certificate that is not accepted: {why}")]
    BadCertificate {
        /// Its address.
        server: String,
        #[allow(missing_docs)]
        why: String,
    },
    /// The operator's credential holds characters that cannot be sent.
    #[error("the credential is empty or holds characters other than visible ASCII")]
    BadCredential,
    /// The request could not be put into JSON.
    #[error("the request to {server} cannot be written as JSON")]
    BadRequest {
        /// Its address.
        server: String,
    },
    /// The answer is not what the API says.
    #[error("{server} gave an answer that the policy server's API does not have: {why}")]
    Garbage {
        /// Its address.
        server: String,
        #[allow(missing_docs)]
        why: String,
    },
    /// The server refused, and said why (RFC 9457).
    #[error("{}", describe(.0))]
    Refused(Box<Problem>),
    /// No complete answer within the timeout.
    #[error("{server} did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// Its address.
        server: String,
        /// The whole time allowed for one request.
        after: Duration,
    },
    /// The answer is longer than this client takes.
    #[error("{server} gave an answer of more than {limit} bytes")]
    TooLarge {
        /// Its address.
        server: String,
        /// In bytes.
        limit: u64,
    },
    /// No connection.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        #[allow(missing_docs)]
        why: String,
    },
}

fn describe(problem: &Problem) -> String {
    match &problem.detail {
        Some(detail) => format!("{} (HTTP {}): {detail}", problem.title, problem.status),
        None => format!("{} (HTTP {})", problem.title, problem.status),
    }
}

impl ClientError {
    /// Sorts what ureq reports into the cases that a caller can act on.
    pub(crate) fn from_transport(error: ureq::Error, server: &str, timeout: Duration, limit: u64) -> Self {
        let server = server.to_owned();
        match error {
            ureq::Error::Timeout(_) => Self::TimedOut { server, after: timeout },
            ureq::Error::BodyExceedsLimit(_) => Self::TooLarge { server, limit },
            ureq::Error::Rustls(error) => Self::from_tls(server, &error),
            ureq::Error::Io(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(inner) => Self::from_tls(server, inner),
                    None => Self::Unreachable { server, why: error.to_string() },
                }
            }
            ureq::Error::HostNotFound => {
                Self::Unreachable { server, why: "the host name is not known".to_owned() }
            }
            ureq::Error::ConnectionFailed => {
                Self::Unreachable { server, why: "the connection failed".to_owned() }
            }
            ureq::Error::Tls(why) => Self::BadCertificate { server, why: why.to_owned() },
            ureq::Error::Protocol(_) | ureq::Error::Http(_) => {
                Self::Garbage { server, why: "it is not HTTP".to_owned() }
            }
            ureq::Error::LargeResponseHeader(..) => {
                Self::Garbage { server, why: "its header is too long".to_owned() }
            }
            // `ureq::Error` is open-ended; whatever it adds is no answer either.
            other => Self::Unreachable { server, why: other.to_string() },
        }
    }

    fn from_tls(server: String, error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(why) => Self::BadCertificate { server, why: why.to_string() },
            rustls::Error::InvalidMessage(_) => Self::Garbage { server, why: "it is not TLS".to_owned() },
            other => Self::Unreachable { server, why: other.to_string() },
        }
    }
}
