//! Where the policy server is and who asks: options, then environment, then the profile file.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use policy_client::{Client, Settings};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::private_file;

/// An operator waits longer than an application.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The policy server's address, its CA and the operator's credential.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Policy server")]
pub struct Connection {
    /// Address, such as https://policy.example:8443 [env: TRUSTSHIM_SERVER]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// PEM file with the server's CA [env: TRUSTSHIM_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with the operator's credential, mode 0600 [env: TRUSTSHIM_ADMIN_TOKEN holds the credential itself]
    #[arg(long, global = true, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// The file `$XDG_CONFIG_HOME/trustshim/profile.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: Option<String>,
    ca: Option<PathBuf>,
    admin_token: Option<Zeroizing<String>>,
    admin_token_file: Option<PathBuf>,
}

/// What the environment of this process says.
#[derive(Default)]
struct Environment {
    server: Option<String>,
    ca: Option<PathBuf>,
    admin_token: Option<Zeroizing<String>>,
    profile: Option<PathBuf>,
}

/// Everything that is known about the way to the server.
struct Resolved {
    server: Option<String>,
    ca: Option<PathBuf>,
    admin_token: Option<Zeroizing<String>>,
}

impl Connection {
    /// A client with the operator's credential.
    pub fn operator(&self) -> Result<Client, CliError> {
        let (client, has_credential) = self.client()?;
        if has_credential {
            Ok(client)
        } else {
            Err(CliError::NoConnection { what: "operator's credential" })
        }
    }

    /// A client, and whether it has a credential.
    pub fn client(&self) -> Result<(Client, bool), CliError> {
        let resolved = self.resolve(Environment::of_this_process())?;
        let url = resolved.server.ok_or(CliError::NoConnection { what: "policy server" })?;
        let ca_pem = resolved.ca.ok_or(CliError::NoConnection { what: "CA file" })?;
        let client = Client::new(&Settings { url, ca_pem, timeout: TIMEOUT })?;
        match resolved.admin_token {
            Some(token) => Ok((client.with_admin_token(&token)?, true)),
            None => Ok((client, false)),
        }
    }

    fn resolve(&self, environment: Environment) -> Result<Resolved, CliError> {
        let profile = environment.profile.as_deref().map(Profile::load).transpose()?.unwrap_or_default();
        let server = self.server.clone().or(environment.server);
        // A credential of the profile is meant for the profile's server and goes to no other.
        let same_server = server.is_none() || server == profile.server;
        let admin_token = match (&self.admin_token_file, environment.admin_token) {
            (Some(file), _) => Some(private_file::credential(file)?),
            (None, Some(token)) => Some(token),
            (None, None) if !same_server => None,
            (None, None) => match &profile.admin_token_file {
                Some(file) => Some(private_file::credential(file)?),
                None => profile.admin_token,
            },
        };
        Ok(Resolved {
            server: server.or(profile.server),
            ca: self.ca.clone().or(environment.ca).or(profile.ca),
            admin_token,
        })
    }
}

impl Environment {
    fn of_this_process() -> Self {
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let directory = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            // The XDG base directory specification: relative paths are to be ignored.
            .filter(|path| path.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".config")));
        Self {
            server: text("TRUSTSHIM_SERVER"),
            ca: text("TRUSTSHIM_CA").map(PathBuf::from),
            admin_token: text("TRUSTSHIM_ADMIN_TOKEN").map(Zeroizing::new),
            profile: directory.map(|directory| directory.join("trustshim/profile.toml")),
        }
    }
}

impl Profile {
    /// A profile that does not exist says nothing.
    fn load(path: &Path) -> Result<Self, CliError> {
        let (text, mode) = match private_file::read(path) {
            Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            other => other?,
        };
        let refuse = |why: &str| CliError::Profile { path: path.to_owned(), why: why.to_owned() };
        let profile: Self = toml::from_str(&text).map_err(|error| {
            // The parser's own text quotes the file, which may hold the credential.
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            refuse(&format!("line {line} is not understood"))
        })?;
        if profile.admin_token.is_some() {
            private_file::require_private(path, mode)?;
        }
        if profile.admin_token.is_some() && profile.admin_token_file.is_some() {
            return Err(refuse("it has both admin_token and admin_token_file"));
        }
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FULL: &str = "server = 'https://profile'\nca = '/profile.pem'\nadmin_token = 'from-profile'\n";

    fn profile(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profile.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn token(resolved: &Resolved) -> Option<&str> {
        resolved.admin_token.as_ref().map(|token| token.as_str())
    }

    #[test]
    fn options_go_before_environment_and_environment_before_profile() {
        let (_directory, path) = profile(FULL, 0o600);
        let environment = || Environment {
            server: Some("https://environment".to_owned()),
            ca: None,
            admin_token: Some(Zeroizing::new("from-environment".to_owned())),
            profile: Some(path.clone()),
        };
        let options = Connection { server: Some("https://option".to_owned()), ..Connection::default() };

        let resolved = options.resolve(environment()).unwrap();
        assert_eq!(resolved.server.as_deref(), Some("https://option"));
        assert_eq!(resolved.ca.as_deref(), Some(Path::new("/profile.pem")));
        assert_eq!(token(&resolved), Some("from-environment"));

        let resolved = Connection::default().resolve(environment()).unwrap();
        assert_eq!(resolved.server.as_deref(), Some("https://environment"));
    }

    #[test]
    fn a_profiles_credential_goes_to_the_profiles_server_only() {
        let (_directory, path) = profile(FULL, 0o600);
        let environment = || Environment { profile: Some(path.clone()), ..Environment::default() };
        assert_eq!(token(&Connection::default().resolve(environment()).unwrap()), Some("from-profile"));
        let other = Connection { server: Some("https://other".to_owned()), ..Connection::default() };
        assert_eq!(token(&other.resolve(environment()).unwrap()), None);
        let same = Connection { server: Some("https://profile".to_owned()), ..Connection::default() };
        assert_eq!(token(&same.resolve(environment()).unwrap()), Some("from-profile"));
    }

    #[test]
    fn a_profile_with_a_credential_must_be_private() {
        for mode in [0o644, 0o640, 0o604] {
            let (_directory, path) = profile(FULL, mode);
            assert!(matches!(Profile::load(&path), Err(CliError::Permissions { .. })), "{mode:o}");
        }
        let (_directory, path) = profile("server = 'https://profile'\n", 0o644);
        assert!(Profile::load(&path).is_ok());
    }

    #[test]
    fn broken_profiles_are_refused_without_quoting_them() {
        for text in
            ["admin_token = secret-word", "server = 'x'\nadmin_tokn = 'secret-word'\n", "admin_token = 7"]
        {
            let (_directory, path) = profile(text, 0o600);
            let error = Profile::load(&path).err().unwrap().to_string();
            assert!(error.contains("is not understood") && !error.contains("secret"), "{error}");
        }
        let (_directory, path) = profile("admin_token = 'a'\nadmin_token_file = '/b'\n", 0o600);
        assert!(matches!(Profile::load(&path), Err(CliError::Profile { .. })));
    }

    #[test]
    fn a_missing_profile_says_nothing() {
        assert!(Profile::load(Path::new("/nonexistent/profile.toml")).unwrap().server.is_none());
    }
}
