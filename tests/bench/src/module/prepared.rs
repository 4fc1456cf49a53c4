//! Operations that are measured, with all they need.

use std::ptr;

use cryptoki_sys::*;

use super::{Keys, Module, plain};
use crate::row::Operation;

type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type OneShot =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;
type VerifySignatureInit = unsafe extern "C" fn(
    CK_SESSION_HANDLE,
    *mut CK_MECHANISM,
    CK_OBJECT_HANDLE,
    *mut CK_BYTE,
    CK_ULONG,
) -> CK_RV;
type VerifySignature = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG) -> CK_RV;
type EncryptMessage = unsafe extern "C" fn(
    CK_SESSION_HANDLE,
    CK_VOID_PTR,
    CK_ULONG,
    *mut CK_BYTE,
    CK_ULONG,
    *mut CK_BYTE,
    CK_ULONG,
    *mut CK_BYTE,
    *mut CK_ULONG,
) -> CK_RV;
type ValidationFlags =
    unsafe extern "C" fn(CK_SESSION_HANDLE, CK_SESSION_VALIDATION_FLAGS_TYPE, *mut CK_FLAGS) -> CK_RV;

#[derive(Clone, Copy)]
enum Functions {
    Info(unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_SESSION_INFO) -> CK_RV),
    Random(unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG) -> CK_RV),
    Pair(Init, OneShot),
    ValidationFlags(ValidationFlags),
    Message { init: Init, message: EncryptMessage, last: unsafe extern "C" fn(CK_SESSION_HANDLE) -> CK_RV },
    VerifySignature(VerifySignatureInit, VerifySignature),
}

impl Functions {
    /// Those of an operation; `None` where a list does not have them, or there is no such list.
    fn of(module: Module, operation: Operation) -> Option<Self> {
        let Module { list, list_3_2 } = module;
        Some(match operation {
            Operation::SessionInfo => Self::Info(list.C_GetSessionInfo?),
            Operation::Random => Self::Random(list.C_GenerateRandom?),
            Operation::Hmac | Operation::Ecdsa | Operation::Rsa => Self::Pair(list.C_SignInit?, list.C_Sign?),
            Operation::AesGcm => Self::Pair(list.C_EncryptInit?, list.C_Encrypt?),
            Operation::ValidationFlags => Self::ValidationFlags(list_3_2?.C_GetSessionValidationFlags?),
            Operation::Message => Self::Message {
                init: list_3_2?.C_MessageEncryptInit?,
                message: list_3_2?.C_EncryptMessage?,
                last: list_3_2?.C_MessageEncryptFinal?,
            },
            Operation::VerifySignature => {
                Self::VerifySignature(list_3_2?.C_VerifySignatureInit?, list_3_2?.C_VerifySignature?)
            }
        })
    }
}

/// An operation with everything it needs, on a session that no other thread uses.
pub struct Prepared {
    functions: Functions,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    mechanism: CK_MECHANISM,
    input: Vec<CK_BYTE>,
    output: Vec<CK_BYTE>,
    /// Of the mechanism, or of the message.
    parameters: Parameters,
}

/// Of AES-GCM.
struct Parameters {
    mechanism: Box<CK_GCM_PARAMS>,
    message: Box<CK_GCM_MESSAGE_PARAMS>,
    /// What the others point to.
    _iv_and_tag: (Box<[CK_BYTE; 12]>, Box<[CK_BYTE; 16]>),
}

impl Parameters {
    fn new() -> Self {
        let (mut iv, mut tag) = (Box::new([0x17; 12]), Box::new([0; 16]));
        Self {
            mechanism: Box::new(CK_GCM_PARAMS {
                pIv: iv.as_mut_ptr(),
                ulIvLen: 12,
                ulIvBits: 96,
                ulTagBits: 128,
                ..CK_GCM_PARAMS::default()
            }),
            message: Box::new(CK_GCM_MESSAGE_PARAMS {
                pIv: iv.as_mut_ptr(),
                ulIvLen: 12,
                ulIvFixedBits: 0,
                ivGenerator: CKG_NO_GENERATE,
                pTag: tag.as_mut_ptr(),
                ulTagBits: 128,
            }),
            _iv_and_tag: (iv, tag),
        }
    }
}

impl Module {
    /// An operation, ready to be carried out again and again. Where it takes message after message, it has begun.
    ///
    /// # Errors
    /// `CKR_FUNCTION_NOT_SUPPORTED` where the module's lists do not have its functions; what the module answers to its begin.
    pub fn prepare(
        self,
        operation: Operation,
        session: CK_SESSION_HANDLE,
        keys: Keys,
    ) -> Result<Prepared, CK_RV> {
        let functions = Functions::of(self, operation).ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let (mechanism, key, input) = match operation {
            Operation::SessionInfo | Operation::Random | Operation::ValidationFlags => (0, 0, 0),
            Operation::Hmac | Operation::VerifySignature => (CKM_SHA256_HMAC, keys.hmac, 32),
            Operation::Ecdsa => (CKM_ECDSA, keys.ecdsa, 32),
            Operation::Rsa => (CKM_RSA_PKCS, keys.rsa, 32),
            Operation::AesGcm | Operation::Message => (CKM_AES_GCM, keys.aes, 1024),
        };
        let mut parameters = Parameters::new();
        let mut mechanism = plain(mechanism);
        if operation == Operation::AesGcm {
            mechanism.pParameter = (&raw mut *parameters.mechanism).cast();
            mechanism.ulParameterLen = size_of::<CK_GCM_PARAMS>() as CK_ULONG;
        }
        let (input, output) = (vec![0x5a; input], vec![0; 2048]);
        let mut prepared = Prepared { functions, session, key, mechanism, input, output, parameters };
        prepared.begin()?;
        Ok(prepared)
    }
}

/// A return value as a result.
///
/// # Errors
/// Anything but `CKR_OK`.
pub const fn checked(rv: CK_RV) -> Result<(), CK_RV> {
    if rv == CKR_OK { Ok(()) } else { Err(rv) }
}

impl Prepared {
    fn begin(&mut self) -> Result<(), CK_RV> {
        match self.functions {
            Functions::Message { init, .. } => {
                // SAFETY: the mechanism has no parameter.
                checked(unsafe { init(self.session, &raw mut self.mechanism, self.key) })
            }
            _ => Ok(()),
        }
    }

    /// Ends what `Module::prepare` has begun, so that the session is free for another operation.
    ///
    /// # Errors
    /// The return value of the call.
    pub fn end(self) -> Result<(), CK_RV> {
        match self.functions {
            // SAFETY: a function of the module's own list.
            Functions::Message { last, .. } => checked(unsafe { last(self.session) }),
            _ => Ok(()),
        }
    }

    /// Carries it out; the return value of the last call made.
    #[inline]
    pub fn perform(&mut self) -> CK_RV {
        match self.functions {
            Functions::Info(function) => {
                let mut info = CK_SESSION_INFO::default();
                // SAFETY: a place for the answer.
                unsafe { function(self.session, &raw mut info) }
            }
            // SAFETY: there is room for 16 bytes.
            Functions::Random(function) => unsafe { function(self.session, self.output.as_mut_ptr(), 16) },
            Functions::Pair(init, one_shot) => {
                // SAFETY: the mechanism and what it points to live as long as `self`.
                let rv = unsafe { init(self.session, &raw mut self.mechanism, self.key) };
                if rv != CKR_OK {
                    return rv;
                }
                let mut length = self.output.len() as CK_ULONG;
                // SAFETY: both buffers have the lengths that are stated.
                unsafe {
                    one_shot(
                        self.session,
                        self.input.as_mut_ptr(),
                        self.input.len() as CK_ULONG,
                        self.output.as_mut_ptr(),
                        &raw mut length,
                    )
                }
            }
            Functions::ValidationFlags(function) => {
                let mut flags = 0;
                // SAFETY: a place for the answer.
                unsafe { function(self.session, CKS_LAST_VALIDATION_OK, &raw mut flags) }
            }
            Functions::Message { message, .. } => {
                let mut length = self.output.len() as CK_ULONG;
                // SAFETY: the parameter and what it points to live as long as `self`, there is no associated data, and both
                // buffers have the lengths that are stated.
                unsafe {
                    message(
                        self.session,
                        (&raw mut *self.parameters.message).cast(),
                        size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG,
                        ptr::null_mut(),
                        0,
                        self.input.as_mut_ptr(),
                        self.input.len() as CK_ULONG,
                        self.output.as_mut_ptr(),
                        &raw mut length,
                    )
                }
            }
            Functions::VerifySignature(init, verify) => {
                // SAFETY: the mechanism has no parameter, and as a signature there are 32 bytes.
                let rv = unsafe {
                    init(self.session, &raw mut self.mechanism, self.key, self.output.as_mut_ptr(), 32)
                };
                if rv != CKR_OK {
                    return rv;
                }
                // SAFETY: the buffer has the length that is stated.
                unsafe { verify(self.session, self.input.as_mut_ptr(), self.input.len() as CK_ULONG) }
            }
        }
    }
}
