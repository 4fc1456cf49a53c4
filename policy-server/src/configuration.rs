//! The server's configuration file and the names of the files beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use attestation::token::{DEFAULT_LIFETIME_S, MAX_LIFETIME_S};
use serde::{Deserialize, Serialize};

/// `policy-server.toml`; unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Where to listen; port 0 takes a free one at each start.
    pub listen: SocketAddr,
    /// Lifetime of trust tokens in seconds.
    #[serde(default = "default_lifetime")]
    pub token_lifetime_s: u64,
    /// Most connections at a time; more are closed at once.
    #[serde(default = "default_connections")]
    pub max_connections: u32,
}

const fn default_lifetime() -> u64 {
    DEFAULT_LIFETIME_S
}

const fn default_connections() -> u32 {
    512
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// It is not the TOML that it must be.
    #[error("{path}: {problem}")]
    Malformed { path: PathBuf, problem: String },
    /// A value is out of its range.
    #[error("{path}: `{key}` must be {rule}")]
    OutOfRange { path: PathBuf, key: &'static str, rule: String },
}

impl Configuration {
    /// The configuration that `init` writes.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, token_lifetime_s: default_lifetime(), max_connections: default_connections() }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigurationError`], with the path and the key.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigurationError::Unreadable { path: path.to_owned(), error })?;
        let configuration: Self = toml::from_str(&text).map_err(|error| ConfigurationError::Malformed {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let out_of_range =
            |key, rule| Err(ConfigurationError::OutOfRange { path: path.to_owned(), key, rule });
        if !(1..=MAX_LIFETIME_S).contains(&configuration.token_lifetime_s) {
            return out_of_range("token_lifetime_s", format!("1 to {MAX_LIFETIME_S}"));
        }
        if !(1..=65_536).contains(&configuration.max_connections) {
            return out_of_range("max_connections", "1 to 65536".to_owned());
        }
        Ok(configuration)
    }
}

/// The files of an installation, all in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// The installation in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configuration.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("policy-server.toml")
    }

    /// The CA's certificate, which clients trust.
    pub fn ca_certificate(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The CA's key, needed only to make another TLS certificate.
    pub fn ca_key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    /// The server's TLS certificate.
    pub fn tls_certificate(&self) -> PathBuf {
        self.directory.join("tls.pem")
    }

    /// The server's TLS key.
    pub fn tls_key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    /// The key that signs trust tokens.
    pub fn token_key(&self) -> PathBuf {
        self.directory.join("token-signing.pem")
    }

    /// The public half of it, which relying parties pin.
    pub fn anchors(&self) -> PathBuf {
        self.directory.join("anchors.jwks")
    }

    /// The policy database.
    pub fn database(&self) -> PathBuf {
        self.directory.join("policy.db")
    }

    /// The first administrator's credential, for the operator to take away.
    pub fn admin_token(&self) -> PathBuf {
        self.directory.join("admin-token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Configuration, ConfigurationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-server.toml");
        std::fs::write(&path, text).unwrap();
        Configuration::load(&path)
    }

    #[test]
    fn what_init_writes_can_be_read() {
        let configuration = Configuration::new("127.0.0.1:0".parse().unwrap());
        assert_eq!(load(&toml::to_string(&configuration).unwrap()).unwrap(), configuration);
    }

    #[test]
    fn wrong_values_are_refused() {
        let with = |line: &str| load(&format!("listen = \"127.0.0.1:0\"\n{line}\n"));
        assert!(with("").is_ok());
        assert!(with("token_lifetime_s = 3600").is_ok());
        for line in ["token_lifetime_s = 0", "token_lifetime_s = 3601", "max_connections = 0", "typo = 1"] {
            assert!(with(line).is_err(), "{line}");
        }
    }
}
