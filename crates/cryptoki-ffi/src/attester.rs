//! The attester's own calls: it finds the attestation key and has evidence signed, on a session that the
//! application never sees.

use attestation::evidence::PublicJwk;
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::error::{ModuleError, check};
use crate::object::TokenName;
use crate::real_module::RealModule;

/// How the attestation key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// `CKM_ECDSA` over a SHA-256 digest.
    EcdsaP256,
    /// `CKM_EDDSA` over the message.
    Ed25519,
    /// `CKM_SHA256_RSA_PKCS_PSS` over the message, 32 bytes of salt.
    RsaPss,
}

/// The token of the attestation key.
pub type TokenFacts = TokenName;

/// What the token says about the attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// `CKA_SENSITIVE`.
    pub sensitive: bool,
    /// `CKA_EXTRACTABLE`.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: bool,
    /// `CKA_LOCAL`.
    pub local: bool,
}

/// A session of the attester; closed when dropped.
pub struct AttesterSession {
    module: RealModule,
    handle: CK_SESSION_HANDLE,
}

/// The attestation key on the attester's session.
pub struct AttestationKey {
    object: CK_OBJECT_HANDLE,
    /// Its public half.
    pub public: PublicJwk,
    /// How it signs.
    pub kind: SignatureKind,
    /// Its attributes.
    pub facts: KeyFacts,
}

impl AttesterSession {
    /// Opens a read-only session on `slot`.
    ///
    /// # Errors
    /// The real module's answer.
    pub fn open(module: RealModule, slot: CK_SLOT_ID) -> Result<Self, ModuleError> {
        let function = module.list().C_OpenSession.ok_or_else(|| missing("C_OpenSession"))?;
        let mut handle = CK_INVALID_HANDLE;
        // SAFETY: no notification is asked for, and the last argument is a place for a handle.
        let rv = unsafe { function(slot, CKF_SERIAL_SESSION, core::ptr::null_mut(), None, &raw mut handle) };
        check("C_OpenSession", rv)?;
        Ok(Self { module, handle })
    }

    /// The session's handle.
    pub const fn handle(&self) -> u64 {
        self.handle
    }

    /// Logs the attester in with its own PIN.
    ///
    /// # Errors
    /// The real module's answer; that somebody is logged in already is none.
    pub fn login(&self, pin: &Zeroizing<Vec<u8>>) -> Result<(), ModuleError> {
        let function = self.module.list().C_Login.ok_or_else(|| missing("C_Login"))?;
        // SAFETY: the PIN has the length that is stated; C_Login does not write to it.
        match unsafe { function(self.handle, CKU_USER, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG) } {
            CKR_USER_ALREADY_LOGGED_IN => Ok(()),
            rv => check("C_Login", rv),
        }
    }

    /// Finds the one private key with this label or id (whichever is given) and its public half.
    ///
    /// # Errors
    /// There is none, more than one, or it cannot sign evidence; `name` says in errors which key is meant.
    pub fn key(
        &self,
        label: Option<&[u8]>,
        id: Option<&[u8]>,
        name: &str,
    ) -> Result<AttestationKey, ModuleError> {
        let object = self.find(CKO_PRIVATE_KEY, label, id, name)?;
        let public_object = self.find(CKO_PUBLIC_KEY, label, id, name)?;
        let facts = KeyFacts {
            sensitive: self.flag(object, CKA_SENSITIVE)?,
            extractable: self.flag(object, CKA_EXTRACTABLE)?,
            never_extractable: self.flag(object, CKA_NEVER_EXTRACTABLE)?,
            local: self.flag(object, CKA_LOCAL)?,
        };
        let (public, kind) =
            self.public(public_object).ok_or_else(|| ModuleError::KeyType(name.to_owned()))?;
        Ok(AttestationKey { object, public, kind, facts })
    }

    fn flag(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<bool, ModuleError> {
        self.module
            .boolean(self.handle, object, kind)
            .ok_or(ModuleError::Failed { function: "C_GetAttributeValue", rv: CKR_ATTRIBUTE_TYPE_INVALID })
    }

    fn public(&self, object: CK_OBJECT_HANDLE) -> Option<(PublicJwk, SignatureKind)> {
        match self.module.number(self.handle, object, CKA_KEY_TYPE)? {
            CKK_EC => {
                let point = self.module.bytes(self.handle, object, CKA_EC_POINT)?;
                // A DER OCTET STRING around the uncompressed point (PKCS#11 2.40 mechanisms, section 2.3.3).
                let point: &[u8; 65] = point.strip_prefix(&[0x04, 65]).unwrap_or(&point).try_into().ok()?;
                Some((PublicJwk::p256(point).ok()?, SignatureKind::EcdsaP256))
            }
            CKK_EC_EDWARDS => {
                let point = self.module.bytes(self.handle, object, CKA_EC_POINT)?;
                let point: &[u8; 32] = point.strip_prefix(&[0x04, 32]).unwrap_or(&point).try_into().ok()?;
                Some((PublicJwk::ed25519(point), SignatureKind::Ed25519))
            }
            CKK_RSA => {
                let modulus = self.module.bytes(self.handle, object, CKA_MODULUS)?;
                let exponent = self.module.bytes(self.handle, object, CKA_PUBLIC_EXPONENT)?;
                Some((PublicJwk::rsa(&modulus, &exponent).ok()?, SignatureKind::RsaPss))
            }
            _ => None,
        }
    }

    fn find(
        &self,
        class: CK_OBJECT_CLASS,
        label: Option<&[u8]>,
        id: Option<&[u8]>,
        name: &str,
    ) -> Result<CK_OBJECT_HANDLE, ModuleError> {
        let list = self.module.list();
        let init = list.C_FindObjectsInit.ok_or_else(|| missing("C_FindObjectsInit"))?;
        let find = list.C_FindObjects.ok_or_else(|| missing("C_FindObjects"))?;
        let last = list.C_FindObjectsFinal.ok_or_else(|| missing("C_FindObjectsFinal"))?;
        let mut class = class;
        let mut template = vec![CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
        }];
        for (type_, value) in [(CKA_LABEL, label), (CKA_ID, id)] {
            if let Some(value) = value {
                let (pointer, length) = (value.as_ptr().cast_mut().cast(), value.len() as CK_ULONG);
                template.push(CK_ATTRIBUTE { type_, pValue: pointer, ulValueLen: length });
            }
        }
        // SAFETY: every attribute states its length; searches do not write to the template.
        let rv = unsafe { init(self.handle, template.as_mut_ptr(), template.len() as CK_ULONG) };
        check("C_FindObjectsInit", rv)?;
        let mut objects = [CK_INVALID_HANDLE; 2];
        let mut count = 0;
        // SAFETY: there is room for two handles.
        let found = unsafe { find(self.handle, objects.as_mut_ptr(), 2, &raw mut count) };
        // SAFETY: the session is ours.
        let ended = unsafe { last(self.handle) };
        check("C_FindObjects", found)?;
        check("C_FindObjectsFinal", ended)?;
        match (count, objects) {
            (1, [object, _]) => Ok(object),
            (0, _) => Err(ModuleError::NoKey(name.to_owned())),
            _ => Err(ModuleError::ManyKeys(name.to_owned())),
        }
    }

    /// Signs `message`; for ECDSA, `digest` (SHA-256 of the message) is what goes to the token.
    ///
    /// # Errors
    /// The real module's answer.
    pub fn sign(
        &self,
        key: &AttestationKey,
        message: &[u8],
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, ModuleError> {
        let list = self.module.list();
        let init = list.C_SignInit.ok_or_else(|| missing("C_SignInit"))?;
        let sign = list.C_Sign.ok_or_else(|| missing("C_Sign"))?;
        let mut pss = CK_RSA_PKCS_PSS_PARAMS { hashAlg: CKM_SHA256, mgf: CKG_MGF1_SHA256, sLen: 32 };
        let (mechanism, data) = match key.kind {
            SignatureKind::EcdsaP256 => (CKM_ECDSA, digest.as_slice()),
            SignatureKind::Ed25519 => (CKM_EDDSA, message),
            SignatureKind::RsaPss => (CKM_SHA256_RSA_PKCS_PSS, message),
        };
        let mut mechanism = CK_MECHANISM { mechanism, pParameter: core::ptr::null_mut(), ulParameterLen: 0 };
        if key.kind == SignatureKind::RsaPss {
            mechanism.pParameter = (&raw mut pss).cast();
            mechanism.ulParameterLen = size_of::<CK_RSA_PKCS_PSS_PARAMS>() as CK_ULONG;
        }
        // SAFETY: the mechanism and its parameters live through the call.
        check("C_SignInit", unsafe { init(self.handle, &raw mut mechanism, key.object) })?;
        let mut signature = vec![0; 512];
        let mut length = signature.len() as CK_ULONG;
        // SAFETY: data and signature have the lengths that are stated; C_Sign does not write to its input.
        let rv = unsafe {
            sign(
                self.handle,
                data.as_ptr().cast_mut(),
                data.len() as CK_ULONG,
                signature.as_mut_ptr(),
                &raw mut length,
            )
        };
        check("C_Sign", rv)?;
        signature.truncate(length as usize);
        Ok(signature)
    }
}

impl Drop for AttesterSession {
    fn drop(&mut self) {
        if let Some(function) = self.module.list().C_CloseSession {
            // SAFETY: the session is ours. Where closing fails there is nothing left to do about it.
            unsafe { function(self.handle) };
        }
    }
}

const fn missing(function: &'static str) -> ModuleError {
    ModuleError::Failed { function, rv: CKR_FUNCTION_NOT_SUPPORTED }
}
