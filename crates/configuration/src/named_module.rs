//! Which file the configuration names as the real module, also where it is good for nothing else.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::ConfigurationError;
use crate::{document, file, path_by, value, variable};

/// What is looked at; anything else may be there.
#[derive(Deserialize)]
struct Document {
    real_module: RealModuleTable,
}

#[derive(Deserialize)]
struct RealModuleTable {
    path: PathBuf,
}

/// The real module's path in the configuration of this process.
///
/// This is for recognising the module, so that an application does not get hold of it: [`load`](crate::load) decides
/// whether it may be used. That is why the rest of the file may be in error, and the file be anybody's.
///
/// # Errors
/// [`ConfigurationError`] where the file does not say which module it is.
pub fn named_module(secure: bool) -> Result<PathBuf, ConfigurationError> {
    named_in(&path_by(variable(secure))?)
}

fn named_in(path: &Path) -> Result<PathBuf, ConfigurationError> {
    let text = file::read_of_anybody(path)?;
    let document: Document =
        toml::from_str(&text).map_err(|error| document::syntax(&error, &text, path.to_owned()))?;
    if !value::is_absolute_path(&document.real_module.path) {
        return Err(ConfigurationError::Value {
            path: path.to_owned(),
            key: "real_module.path",
            rule: "must be an absolute path",
        });
    }
    Ok(document.real_module.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn named(text: &str) -> Result<PathBuf, ConfigurationError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trustshim.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        named_in(&path)
    }

    #[test]
    fn the_module_is_known_from_a_file_that_is_refused_otherwise() {
        for text in [
            "[real_module]\npath = \"/lib/module.so\"",
            "scoop = 1\n[real_module]\npath = \"/lib/module.so\"\nmore = [1]\n[policy_server]\nurl = 7",
        ] {
            assert_eq!(named(text).unwrap(), Path::new("/lib/module.so"), "{text}");
        }
    }

    #[test]
    fn a_file_that_names_none_says_why() {
        for (text, word) in [
            ("", "real_module"),
            ("[real_module]\npath = \"module.so\"", "absolute"),
            ("[real_module]\npath = 7", "line 2"),
            ("[real_module", "line 1"),
        ] {
            let message = named(text).unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
