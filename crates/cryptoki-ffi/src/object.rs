//! What an object is: its class, its names and how long it lasts, read from the real module.

use attestation::key_uri::{ObjectIdentity, TokenIdentity};
use cryptoki_sys::*;
use gate::{Named, ObjectKind};
use pkcs11_table::Function;

use crate::error::{ModuleError, check};
use crate::real_module::RealModule;

/// Labels and ids longer than this are refused rather than cut.
const LONGEST: usize = 512;
/// Names beyond this length make an object unusable.
const LONGEST_OF_ALL: usize = 4096;

/// What the real module says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// What it is.
    pub kind: ObjectKind,
    /// `CKA_ID`; empty where there is none.
    pub id: Vec<u8>,
    /// `CKA_LABEL`; empty where there is none.
    pub label: Vec<u8>,
    /// `CKA_TOKEN`: it outlasts the session. False where the token does not say.
    pub lasting: bool,
}

/// The names of a token, without their padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName {
    /// What grants tell it by.
    pub identity: TokenIdentity,
    /// `CK_TOKEN_INFO.firmwareVersion` as `major.minor`.
    pub firmware: String,
}

impl ObjectFacts {
    /// The object on the token `token`, as grants name it.
    pub fn named(&self, token: &TokenIdentity) -> Named {
        match self.kind.class() {
            Some(class) => Named::Object(ObjectIdentity {
                token: token.clone(),
                class,
                id: self.id.clone(),
                label: self.label.clone(),
            }),
            None => Named::Token(token.clone()),
        }
    }
}

/// What an object of this `CKA_CLASS` is; data counts as private until it is known not to be.
pub const fn kind_of(class: CK_OBJECT_CLASS) -> ObjectKind {
    match class {
        CKO_CERTIFICATE => ObjectKind::Certificate,
        CKO_DATA => ObjectKind::PrivateData,
        CKO_PRIVATE_KEY => ObjectKind::PrivateKey,
        CKO_PUBLIC_KEY => ObjectKind::PublicKey,
        CKO_SECRET_KEY => ObjectKind::SecretKey,
        _ => ObjectKind::Unknown,
    }
}

impl RealModule {
    /// Asks for the object's class and names on the application's session.
    ///
    /// # Errors
    /// The real module's own answer where there is no such object or session; `CKR_GENERAL_ERROR` where what it
    /// says cannot be relied on.
    pub fn object(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<ObjectFacts, CK_RV> {
        let mut class: CK_OBJECT_CLASS = CK_OBJECT_CLASS::MAX;
        let mut fixed = [attribute(CKA_CLASS, core::slice::from_mut(&mut class))];
        self.attributes(session, object, &mut fixed)?;
        if length(&fixed, 0) != Some(size_of::<CK_OBJECT_CLASS>()) {
            return Err(CKR_GENERAL_ERROR);
        }
        let kind = match kind_of(class) {
            ObjectKind::PrivateData if self.is_private(session, object) == Some(false) => {
                ObjectKind::PublicData
            }
            kind => kind,
        };
        Ok(ObjectFacts {
            kind,
            id: self.name(session, object, CKA_ID)?,
            label: self.name(session, object, CKA_LABEL)?,
            lasting: self.boolean(session, object, CKA_TOKEN) == Some(true),
        })
    }

    /// `CKA_SENSITIVE`: the token itself never answers with the object's value. False where it does not say.
    pub fn is_sensitive(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
        self.boolean(session, object, CKA_SENSITIVE) == Some(true)
    }

    /// `CKA_PRIVATE`; `None` where the token does not say.
    pub fn is_private(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<bool> {
        self.boolean(session, object, CKA_PRIVATE)
    }

    /// Destroys an object that a permitted call has made otherwise than it said. Where the real module will not, it stays;
    /// whoever finds it is judged by what it is.
    pub fn destroy(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
        let _turn = self.turn(Function::C_DestroyObject);
        match self.list().C_DestroyObject {
            // SAFETY: the call takes two numbers.
            Some(function) => unsafe { function(session, object) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    }

    /// Closes a session of the application's.
    pub fn close(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let _turn = self.turn(Function::C_CloseSession);
        match self.list().C_CloseSession {
            // SAFETY: the call takes a number.
            Some(function) => unsafe { function(session) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    }

    /// A label or an id; empty where the object has none, as data objects have no id.
    fn name(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut value = [0_u8; LONGEST];
        let mut wanted = [attribute(kind, &mut value)];
        match self.attributes(session, object, &mut wanted) {
            Ok(()) => {
                let length = length(&wanted, 0).ok_or(CKR_GENERAL_ERROR)?;
                Ok(value.get(..length).ok_or(CKR_GENERAL_ERROR)?.to_vec())
            }
            Err(CKR_ATTRIBUTE_TYPE_INVALID) => Ok(Vec::new()),
            Err(CKR_BUFFER_TOO_SMALL) => self.long_name(session, object, kind),
            Err(rv) => Err(rv),
        }
    }

    /// A label or an id that is longer than most are.
    fn long_name(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, CK_RV> {
        let mut asked = [CK_ATTRIBUTE { type_: kind, pValue: core::ptr::null_mut(), ulValueLen: 0 }];
        self.attributes(session, object, &mut asked)?;
        let room = length(&asked, 0).filter(|length| *length <= LONGEST_OF_ALL).ok_or(CKR_GENERAL_ERROR)?;
        let mut value = vec![0_u8; room];
        let mut wanted = [attribute(kind, &mut value)];
        self.attributes(session, object, &mut wanted)?;
        let length = length(&wanted, 0).ok_or(CKR_GENERAL_ERROR)?;
        value.truncate(length);
        Ok(value)
    }

    /// A boolean attribute; `None` where the object has none or the token does not say.
    pub(crate) fn boolean(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<bool> {
        let mut value: CK_BBOOL = 0xff;
        let mut wanted = [attribute(kind, core::slice::from_mut(&mut value))];
        self.attributes(session, object, &mut wanted).ok()?;
        match (length(&wanted, 0), value) {
            (Some(1), CK_FALSE) => Some(false),
            (Some(1), CK_TRUE) => Some(true),
            _ => None,
        }
    }

    /// An attribute of up to `LONGEST` bytes.
    pub(crate) fn bytes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<Vec<u8>> {
        let mut value = [0_u8; LONGEST];
        let mut wanted = [attribute(kind, &mut value)];
        self.attributes(session, object, &mut wanted).ok()?;
        let length = length(&wanted, 0)?;
        value.get(..length).map(<[u8]>::to_vec)
    }

    /// A number attribute such as `CKA_KEY_TYPE`.
    pub(crate) fn number(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<CK_ULONG> {
        let mut value: CK_ULONG = 0;
        let mut wanted = [attribute(kind, core::slice::from_mut(&mut value))];
        self.attributes(session, object, &mut wanted).ok()?;
        (length(&wanted, 0)? == size_of::<CK_ULONG>()).then_some(value)
    }

    fn attributes(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: &mut [CK_ATTRIBUTE],
    ) -> Result<(), CK_RV> {
        let _turn = self.turn(Function::C_GetAttributeValue);
        let function = self.list().C_GetAttributeValue.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // SAFETY: every attribute of the template points to a buffer of the length it states (`attribute`).
        match unsafe { function(session, object, template.as_mut_ptr(), template.len() as CK_ULONG) } {
            CKR_OK => Ok(()),
            rv => Err(rv),
        }
    }

    /// The names of the token in `slot`.
    ///
    /// # Errors
    /// The real module's own answer.
    pub fn token(&self, slot: CK_SLOT_ID) -> Result<TokenName, ModuleError> {
        let _turn = self.turn(Function::C_GetTokenInfo);
        let function = self
            .list()
            .C_GetTokenInfo
            .ok_or(ModuleError::Failed { function: "C_GetTokenInfo", rv: CKR_FUNCTION_NOT_SUPPORTED })?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: the argument is a place for the structure.
        check("C_GetTokenInfo", unsafe { function(slot, &raw mut info) })?;
        Ok(TokenName {
            identity: TokenIdentity {
                label: unpadded(&info.label),
                serial: unpadded(&info.serialNumber),
                model: unpadded(&info.model),
                manufacturer: unpadded(&info.manufacturerID),
            },
            firmware: format!("{}.{}", info.firmwareVersion.major, info.firmwareVersion.minor),
        })
    }

    /// The slots that hold a token.
    ///
    /// # Errors
    /// The real module's own answer.
    pub fn slots(&self, token_present: bool) -> Result<Vec<CK_SLOT_ID>, CK_RV> {
        let _turn = self.turn(Function::C_GetSlotList);
        let function = self.list().C_GetSlotList.ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        // Slots can come between the question for the number and the list itself.
        for _ in 0..4 {
            let mut count: CK_ULONG = 0;
            // SAFETY: a NULL list asks for the number of slots.
            let rv =
                unsafe { function(CK_BBOOL::from(token_present), core::ptr::null_mut(), &raw mut count) };
            if rv != CKR_OK {
                return Err(rv);
            }
            let mut slots = vec![0; (count as usize).min(4096)];
            let mut filled = slots.len() as CK_ULONG;
            // SAFETY: the list has room for as many slots as `filled` says.
            match unsafe { function(CK_BBOOL::from(token_present), slots.as_mut_ptr(), &raw mut filled) } {
                CKR_OK => {
                    slots.truncate(filled as usize);
                    return Ok(slots);
                }
                CKR_BUFFER_TOO_SMALL => {}
                rv => return Err(rv),
            }
        }
        Err(CKR_GENERAL_ERROR)
    }
}

fn attribute<T>(kind: CK_ATTRIBUTE_TYPE, buffer: &mut [T]) -> CK_ATTRIBUTE {
    CK_ATTRIBUTE {
        type_: kind,
        pValue: buffer.as_mut_ptr().cast(),
        ulValueLen: core::mem::size_of_val(buffer) as CK_ULONG,
    }
}

/// The length that the real module has written; `None` where the attribute is not to be had.
fn length(template: &[CK_ATTRIBUTE], index: usize) -> Option<usize> {
    let length = template.get(index)?.ulValueLen;
    if length == CK_UNAVAILABLE_INFORMATION {
        return None;
    }
    usize::try_from(length).ok()
}

/// Blank-padded text (PKCS#11 2.40 section 3.2), escaped where it is no printable UTF-8.
pub(crate) fn unpadded(text: &[u8]) -> String {
    let end = text.iter().rposition(|byte| *byte != b' ' && *byte != 0).map_or(0, |last| last + 1);
    attestation::digest::escape(text.get(..end).unwrap_or(text))
}
