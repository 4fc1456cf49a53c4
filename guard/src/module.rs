//! The real module in a process of the guard's.

use std::ffi::CString;

use configuration::Configuration;
use cryptoki_ffi::{ModuleError, RealModule, Turns};

use crate::error::GuardError;

/// Loads the real module and initialises it, for threads that the system's locks keep apart, and for `turns` where
/// its processes take some.
pub(crate) fn initialized(
    configuration: &Configuration,
    turns: Option<&'static dyn Turns>,
) -> Result<RealModule, GuardError> {
    let settings = &configuration.real_module;
    let module = RealModule::load(&settings.path, (initialized as *const ()).cast())?.with_turns(turns);
    let args = Some(settings.init_args.as_str()).filter(|args| !args.is_empty());
    // The configuration has none with a NUL in it.
    let reserved =
        args.map(CString::new).transpose().map_err(|_| ModuleError::BadPath(settings.path.clone()))?;
    module.initialize_for_threads(reserved.as_deref())?;
    Ok(module)
}
