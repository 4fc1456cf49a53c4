//! The vendor's PKCS#11 module, loaded into the operator's tool.

use std::path::{Path, PathBuf};

use configuration::Configuration;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use crate::error::CliError;

/// An initialised module.
pub struct Module {
    pub(super) context: Pkcs11,
}

impl Module {
    /// Loads and initialises the module of the configuration.
    pub fn open(configuration: &Configuration) -> Result<Self, CliError> {
        let path = &configuration.real_module.path;
        if !configuration.real_module.init_args.is_empty() {
            return Err(CliError::Module {
                path: path.clone(),
                why:
                    "[real_module] init_args are passed by the shim only; enrol with a module that needs none"
                        .into(),
            });
        }
        Self::load(path)
    }

    fn load(path: &Path) -> Result<Self, CliError> {
        let refuse = |why: String| CliError::Module { path: path.to_owned(), why };
        if !path.is_absolute() {
            return Err(refuse("its path must be absolute".into()));
        }
        let context = Pkcs11::new(path).map_err(|error| refuse(error.to_string()))?;
        context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { context })
    }

    /// What the module calls itself: manufacturer, description and version.
    pub fn describe(&self) -> Result<String, CliError> {
        let info = self
            .context
            .get_library_info()
            .map_err(|source| CliError::Token { doing: "asking the module for its name", source })?;
        let (library, cryptoki) = (info.library_version(), info.cryptoki_version());
        Ok(format!(
            "{} {} {}.{} (PKCS#11 {}.{:02})",
            info.manufacturer_id(),
            info.library_description(),
            library.major(),
            library.minor(),
            cryptoki.major(),
            cryptoki.minor(),
        ))
    }
}

/// Loads, asks and finalises: whether the file is a PKCS#11 module at all.
pub fn check(path: &Path) -> Result<String, CliError> {
    let module = Module::load(path)?;
    let name = module.describe()?;
    let refuse = |error: cryptoki::error::Error| CliError::Module {
        path: PathBuf::from(path),
        why: error.to_string(),
    };
    module.context.finalize().map_err(refuse)?;
    Ok(name)
}
