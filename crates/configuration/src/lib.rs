//! The configuration of the shim: one TOML file, read by the shim and by the operator's tool by the same rules.
//!
//! Whatever is not understood is refused, and so is a file that somebody else may write: the file says which
//! policy server and which real module to believe.

#![forbid(unsafe_code)]

mod document;
mod error;
mod file;
mod named_module;
mod settings;
mod value;

use std::ffi::{CStr, OsString};
use std::path::{Path, PathBuf};

pub use error::ConfigurationError;
pub use named_module::named_module;
pub use settings::{
    Attestation, Component, Configuration, DenyCode, Gate, Log, LogTarget, PolicyServer, RealModule, Scope,
};

/// Where the configuration is looked for unless [`VARIABLE`] says otherwise.
pub const DEFAULT_PATH: &str = "/etc/trustshim/trustshim.toml";
/// The environment variable that names another configuration file, by its absolute path.
pub const VARIABLE: &str = "TRUSTSHIM_CONFIG";
/// [`VARIABLE`], for those who may not allocate.
pub const C_VARIABLE: &CStr = c"TRUSTSHIM_CONFIG";

/// Reads the configuration of this process: from [`VARIABLE`] unless `secure`, else from [`DEFAULT_PATH`].
///
/// `secure` says that the process was started with more rights than its caller has (`AT_SECURE`).
///
/// # Errors
/// [`ConfigurationError`]; there is no configuration to fall back to.
pub fn load(secure: bool) -> Result<Configuration, ConfigurationError> {
    load_from(&path_by(variable(secure))?)
}

fn variable(secure: bool) -> Option<OsString> {
    if secure { None } else { std::env::var_os(VARIABLE) }
}

fn path_by(variable: Option<OsString>) -> Result<PathBuf, ConfigurationError> {
    match variable.map(PathBuf::from) {
        None => Ok(DEFAULT_PATH.into()),
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => Err(ConfigurationError::VariableNotAbsolute { path }),
    }
}

/// Reads the configuration in `path`; a relative path is taken from the current directory.
///
/// # Errors
/// [`ConfigurationError`].
pub fn load_from(path: &Path) -> Result<Configuration, ConfigurationError> {
    let path = std::path::absolute(path)
        .map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
    let text = file::read(&path)?;
    document::parse(&text, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_in_the_variable_is_refused() {
        for name in ["", "trustshim.toml", "./trustshim.toml"] {
            let error = path_by(Some(name.into())).unwrap_err();
            assert!(matches!(error, ConfigurationError::VariableNotAbsolute { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn the_variable_has_one_name() {
        assert_eq!(C_VARIABLE.to_str().unwrap(), VARIABLE);
    }

    #[test]
    fn the_variable_names_the_file() {
        let path = path_by(Some("/nonexistent/named.toml".into())).unwrap();
        let error = load_from(&path).unwrap_err();
        assert!(
            matches!(&error, ConfigurationError::Missing { path } if path == Path::new("/nonexistent/named.toml"))
        );
        assert_eq!(path_by(None).unwrap(), Path::new(DEFAULT_PATH));
    }
}
