//! Where the attestation key lives, and what the application must therefore not see.

use std::sync::Arc;

use attestation::key_uri::KeyUri;
use configuration::Attestation;
use cryptoki_ffi::{ModuleError, ObjectFacts, RealModule};
use gate::{ObjectKind, Sessions};
use locks::{Mutex, RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

use crate::error::PlaceError;
use crate::pin_file::PinFile;
use crate::seen::{Look, Seen};

/// Token and names of the attestation key.
pub struct AttestationPlace {
    module: RealModule,
    uri: KeyUri,
    name: String,
    /// The attester's own PIN: then the token is its own too, and the slot is hidden.
    pin_file: Option<PinFile>,
    /// Where the attester has found it.
    slot: RwLock<Option<u64>>,
    seen: Seen,
    /// Held to look at a token. An application that asks for its slots with several threads, though it has promised one
    /// (PKCS#11 2.40 section 5.4, `C_Initialize`), gets away with it by itself; that we look meanwhile must not change that.
    looking: Mutex<()>,
    /// Read for as long as the attester has a session.
    at_work: RwLock<()>,
    /// The application's.
    sessions: Arc<Sessions>,
}

impl AttestationPlace {
    /// As the configuration says it, in `module`.
    ///
    /// # Errors
    /// The key's URI does not say enough.
    pub fn new(settings: &Attestation, module: RealModule) -> Result<Self, PlaceError> {
        let uri = KeyUri::parse(&settings.key).map_err(PlaceError::Key)?;
        if (uri.token().is_none() && uri.serial().is_none()) || (uri.object().is_none() && uri.id().is_none())
        {
            return Err(PlaceError::KeyVague);
        }
        let slot = RwLock::new(None);
        let (name, pin_file) = (settings.key.clone(), settings.pin_file.clone().map(PinFile::new));
        let (looking, at_work) = (Mutex::new(()), RwLock::new(()));
        let sessions = Arc::new(Sessions::default());
        let seen = Seen::default();
        Ok(Self { module, uri, name, pin_file, slot, seen, looking, at_work, sessions })
    }

    /// Reads the PIN from a file that was opened before.
    #[must_use]
    pub fn with_pin_file(self, pin_file: PinFile) -> Self {
        Self { pin_file: Some(pin_file), ..self }
    }

    /// The real module that it is in.
    pub const fn module(&self) -> RealModule {
        self.module
    }

    /// The sessions that the application has there, in this process.
    pub(crate) const fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// To be held for as long as the attester has a session, and while the application gets one: between the real module
    /// and the list of the application's sessions it belongs to nobody, and could be ended and be the attester's then.
    pub fn at_work(&self) -> RwLockReadGuard<'_, ()> {
        self.at_work.read()
    }

    /// Whether a handle that the attester has is one of the application's sessions. The real module ends sessions by itself
    /// where a token is removed, and may give their handles out anew: nothing may be signed on what two can use.
    pub fn is_shared(&self, session: u64) -> bool {
        self.sessions.get(session).is_some()
    }

    /// Does what would end the attester's sessions, if it has none. Some modules give the handle of a session that was
    /// ended out anew: the attester would go on, and sign, on a session of the application's.
    pub(crate) fn while_at_rest<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _at_rest = self.at_work.try_write()?;
        Some(work())
    }

    /// `CKA_LABEL` of the key, where the URI says it.
    pub fn label(&self) -> Option<&[u8]> {
        self.uri.object()
    }

    /// `CKA_ID` of the key, where the URI says it.
    pub fn id(&self) -> Option<&[u8]> {
        self.uri.id()
    }

    /// The URI, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The PIN, read anew so that it stays in memory only while it is needed.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn pin(&self) -> Result<Option<Zeroizing<Vec<u8>>>, PlaceError> {
        let Some(file) = &self.pin_file else { return Ok(None) };
        let unreadable = |source| PlaceError::Unreadable { path: file.path().to_owned(), source };
        file.read().map(Some).map_err(unreadable)
    }

    /// The slot of the one token that the URI names.
    ///
    /// # Errors
    /// There is none, more than one, or the real module does not say.
    pub fn slot(&self) -> Result<u64, ModuleError> {
        if let Some(slot) = *self.slot.read()
            && self.is_place(slot)
        {
            return Ok(slot);
        }
        let slots =
            self.module.slots(true).map_err(|rv| ModuleError::Failed { function: "C_GetSlotList", rv })?;
        let mut matching = slots.into_iter().filter(|slot| self.is_place(*slot));
        let Some(slot) = matching.next() else {
            return Err(ModuleError::NoToken(self.name.clone()));
        };
        if matching.next().is_some() {
            return Err(ModuleError::ManyTokens(self.name.clone()));
        }
        *self.slot.write() = Some(slot);
        Ok(slot)
    }

    fn is_place(&self, slot: u64) -> bool {
        self.look(slot) == Look::Own
    }

    /// Whether the token in this slot is the one that the URI names.
    fn look(&self, slot: u64) -> Look {
        let _alone = self.looking.lock();
        let is_named = self.module.token(slot).map(|token| {
            let token = token.identity;
            self.uri.token().is_none_or(|label| label == token.label.as_bytes())
                && self.uri.serial().is_none_or(|serial| serial == token.serial.as_bytes())
        });
        let look = Look::of(&is_named);
        self.seen.note(slot, look);
        look
    }

    /// Whether the application must not know of this slot.
    pub(crate) fn hides_slot(&self, slot: u64) -> bool {
        self.pin_file.is_some() && self.seen.hides(slot, self.look(slot))
    }

    /// Whether the application must not begin anything with the token in this slot: it is the attester's, or cannot be told from
    /// it at the moment.
    pub(crate) fn bars_slot(&self, slot: u64) -> bool {
        self.pin_file.is_some() && self.seen.bars(slot, self.look(slot))
    }

    /// Whether this object is the attestation key or its public half.
    ///
    /// Judged by name, wherever it is seen: some modules let a session of one token use handles of another.
    pub(crate) fn is_attestation_key(&self, facts: &ObjectFacts) -> bool {
        matches!(facts.kind, ObjectKind::PrivateKey | ObjectKind::PublicKey)
            && self.label().is_none_or(|label| label == facts.label)
            && self.id().is_none_or(|id| id == facts.id)
    }
}
