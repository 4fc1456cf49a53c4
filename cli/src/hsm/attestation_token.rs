//! The token that holds the attestation key: found by the key's URI, opened, logged in.

use attestation::evidence::{HsmClaims, KeyClaims};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;

use super::key_uri::AttestationKeyUri;
use super::module::Module;
use super::pin::Pin;
use crate::error::CliError;

/// A token that is present, before anybody logged in.
pub struct AttestationToken<'a> {
    module: &'a Module,
    slot: Slot,
    identity: Identity,
}

/// The words by which a token is known.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    label: String,
    serial: String,
    model: String,
    manufacturer: String,
    firmware: String,
}

impl Identity {
    pub(super) fn claims(&self, key: KeyClaims) -> HsmClaims {
        HsmClaims {
            label: self.label.clone(),
            serial: self.serial.clone(),
            model: self.model.clone(),
            manufacturer: self.manufacturer.clone(),
            firmware: self.firmware.clone(),
            key,
        }
    }
}

impl<'a> AttestationToken<'a> {
    /// Exactly one token must match.
    pub fn find(module: &'a Module, uri: &AttestationKeyUri) -> Result<Self, CliError> {
        let failed = |source| CliError::Token { doing: "looking for the token", source };
        let mut found = Vec::new();
        for slot in module.context.get_slots_with_initialized_token().map_err(failed)? {
            let info = module.context.get_token_info(slot).map_err(failed)?;
            let identity = Identity {
                label: info.label().to_owned(),
                serial: info.serial_number().to_owned(),
                model: info.model().to_owned(),
                manufacturer: info.manufacturer_id().to_owned(),
                firmware: format!("{}.{}", info.firmware_version().major(), info.firmware_version().minor()),
            };
            if uri.is_token(&identity.label, &identity.serial, &identity.model, &identity.manufacturer) {
                found.push(Self { module, slot, identity });
            }
        }
        let tokens = found.len();
        match (found.pop(), tokens) {
            (Some(token), 1) => Ok(token),
            (None, _) => Err(CliError::NoToken { uri: uri.as_str().to_owned() }),
            (Some(_), tokens) => Err(CliError::AmbiguousToken { uri: uri.as_str().to_owned(), tokens }),
        }
    }

    /// Label and serial number, for people.
    pub fn describe(&self) -> String {
        format!("{:?}, serial {}", self.identity.label, self.identity.serial)
    }

    /// Opens a session and logs in as the token's user.
    pub fn log_in(self, pin: &Pin, writable: bool) -> Result<OpenToken, CliError> {
        let failed = |doing| move |source| CliError::Token { doing, source };
        let context = &self.module.context;
        let mechanisms =
            context.get_mechanism_list(self.slot).map_err(failed("asking for the mechanisms"))?;
        let session =
            if writable { context.open_rw_session(self.slot) } else { context.open_ro_session(self.slot) }
                .map_err(failed("opening a session"))?;
        session.login_with_raw(UserType::User, pin.expose()).map_err(failed("logging in with the PIN"))?;
        Ok(OpenToken { session, mechanisms, identity: self.identity })
    }
}

/// A token with a session that is logged in. The session closes, and with it the login ends, on drop.
pub struct OpenToken {
    pub(super) session: Session,
    pub(super) mechanisms: Vec<MechanismType>,
    pub(super) identity: Identity,
}
