//! The interfaces that an application is told of, which it may ask for before `C_Initialize`.

use attestation::digest::Digest;
use configuration::{Configuration, ConfigurationError, Loaded};
use cryptoki_ffi::{Interface, ModuleError, Published, RealModule};

use crate::exports;
use crate::guarded::{Guarded, Unreachable};
use crate::provider::Provider;

/// What was offered by a configuration, so that the real module is loaded once for any number of questions.
struct Offer {
    configuration: Digest,
    interfaces: Vec<&'static Interface>,
}

static OFFER: Published<Offer> = Published::new();

/// Why the real module cannot be asked.
#[derive(Debug, thiserror::Error)]
enum NoModule {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error(transparent)]
    Module(#[from] ModuleError),
    #[error(transparent)]
    Guard(#[from] Unreachable),
}

/// What is offered by the instance that is initialised, or else by the configuration.
///
/// Where the real module cannot be asked, that is PKCS#11 2.40 alone, of which every function says that the library is not
/// initialised; `C_Initialize` fails for the same reason and puts it on record.
pub(crate) fn offered(provider: Option<&Provider>) -> Vec<&'static Interface> {
    match provider {
        Some(provider) => provider.interfaces(),
        None => by_configuration().unwrap_or_else(|_| cryptoki_ffi::offered(&exports::INTERFACES, &[], &[])),
    }
}

/// What is offered in front of this module.
pub(crate) fn in_front_of(module: RealModule, configuration: &Configuration) -> Vec<&'static Interface> {
    let vendors = &configuration.real_module.vendor_interfaces;
    cryptoki_ffi::offered(&exports::INTERFACES, module.interfaces(), vendors)
}

fn by_configuration() -> Result<Vec<&'static Interface>, NoModule> {
    let configuration = match configuration::load(linux_ffi::is_secure_execution())? {
        Loaded::Inline(configuration) => configuration,
        Loaded::Guarded(client) => {
            let versions = Guarded::versions(&client)?;
            return Ok(cryptoki_ffi::offered_by_version(&exports::INTERFACES, &versions));
        }
    };
    if let Some(offer) = OFFER.get().filter(|offer| offer.configuration == configuration.digest) {
        return Ok(offer.interfaces.clone());
    }
    let module = RealModule::load(&configuration.real_module.path, exports::own_address())?;
    let interfaces = in_front_of(module, &configuration);
    OFFER.publish(Box::new(Offer { configuration: configuration.digest, interfaces: interfaces.clone() }));
    Ok(interfaces)
}
