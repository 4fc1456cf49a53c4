//! The configuration of the shim and of the guard: one TOML file each, read by them and by the operator's tool by the same
//! rules.
//!
//! Whatever is not understood is refused, and so is a file that somebody else may write: the file says which
//! policy server and which real module to believe.

#![forbid(unsafe_code)]

mod document;
mod error;
mod file;
mod guard;
mod named_module;
mod settings;
mod value;

use std::ffi::{CStr, OsString};
use std::path::{Path, PathBuf};

pub use error::ConfigurationError;
pub use guard::{Account, Client, Declared, Guard, GuardLimits, Installation, Login, Need, Transport};
pub use named_module::named_module;
pub use settings::{
    Attestation, Component, Configuration, DenyCode, Gate, Loaded, Log, LogTarget, PolicyServer, RealModule,
    Scope,
};

/// Where the configuration is looked for unless [`VARIABLE`] says otherwise.
pub const DEFAULT_PATH: &str = "/etc/trustshim/trustshim.toml";
/// Where the guard's configuration is, unless it is told otherwise.
pub const DEFAULT_GUARD_PATH: &str = "/etc/trustshim/guard.toml";
/// The environment variable that names another configuration file, by its absolute path.
pub const VARIABLE: &str = "TRUSTSHIM_CONFIG";
/// [`VARIABLE`], for those who may not allocate.
pub const C_VARIABLE: &CStr = c"TRUSTSHIM_CONFIG";

/// Reads the configuration of this application: from [`VARIABLE`] unless `secure`, else from [`DEFAULT_PATH`].
///
/// `secure` says that the process was started with more rights than its caller has (`AT_SECURE`).
///
/// # Errors
/// [`ConfigurationError`]; there is no configuration to fall back to.
pub fn load(secure: bool) -> Result<Loaded, ConfigurationError> {
    load_from(&path_by(variable(secure))?)
}

/// Reads an application's configuration in `path`; a relative path is taken from the current directory.
///
/// # Errors
/// [`ConfigurationError`].
pub fn load_from(path: &Path) -> Result<Loaded, ConfigurationError> {
    read(path, document::parse)
}

/// Reads the guard's configuration in `path`; a relative path is taken from the current directory.
///
/// # Errors
/// [`ConfigurationError`].
pub fn load_guard(path: &Path) -> Result<Guard, ConfigurationError> {
    read(path, document::parse_guard)
}

/// Reads the configuration of what gates on this host, in the given file or else where an application of this process'
/// environment finds it: that of applications in inline mode, or the guard's.
///
/// # Errors
/// [`ConfigurationError`], among others where the file is that of applications in guarded mode.
pub fn load_installation(path: Option<&Path>) -> Result<Installation, ConfigurationError> {
    match path {
        Some(path) => read(path, document::parse_installation),
        None => read(&path_by(variable(false))?, document::parse_installation),
    }
}

fn read<T>(
    path: &Path,
    parse: impl FnOnce(&str, PathBuf) -> Result<T, ConfigurationError>,
) -> Result<T, ConfigurationError> {
    let path = std::path::absolute(path)
        .map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
    let text = file::read(&path)?;
    parse(&text, path)
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
