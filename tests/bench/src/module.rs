//! A PKCS#11 module as a C application uses it: loaded by its path, called through `C_GetFunctionList`.
//! The only file of the benchmark with unsafe code.

use std::ffi::c_void;
use std::path::Path;
use std::ptr;

use cryptoki_sys::*;
use libloading::Library;

use crate::row::Operation;

/// The module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It does not load.
    #[error("{0}")]
    NotLoaded(#[from] libloading::Error),
    /// A call did not succeed, or its function is not in the list.
    #[error("{function} answers {rv:#x}")]
    Call {
        /// Which.
        function: &'static str,
        /// `CK_RV`.
        rv: CK_RV,
    },
    /// No token or key of that label.
    #[error("there is no {0}")]
    Missing(String),
}

/// A loaded module; it stays loaded.
#[derive(Clone, Copy)]
pub struct Module {
    list: &'static CK_FUNCTION_LIST,
}

/// The keys of the token `sandbox`.
#[derive(Clone, Copy)]
pub struct Keys {
    hmac: CK_OBJECT_HANDLE,
    ecdsa: CK_OBJECT_HANDLE,
    rsa: CK_OBJECT_HANDLE,
    aes: CK_OBJECT_HANDLE,
}

fn check(function: &'static str, rv: CK_RV) -> Result<(), ModuleError> {
    if rv == CKR_OK { Ok(()) } else { Err(ModuleError::Call { function, rv }) }
}

/// Calls a function of the list.
macro_rules! call {
    ($module:expr, $name:ident($($argument:expr),*)) => {{
        let function = $module
            .list
            .$name
            .ok_or(ModuleError::Call { function: stringify!($name), rv: CKR_FUNCTION_NOT_SUPPORTED })?;
        // SAFETY: a function of the module's own list; pointers among the arguments are to local variables that
        // have the lengths that are stated.
        check(stringify!($name), unsafe { function($($argument),*) })
    }};
}

impl Module {
    /// Loads and initialises the module, for several threads.
    pub fn load(path: &Path) -> Result<Self, ModuleError> {
        // SAFETY: whoever runs the benchmark names a PKCS#11 module, whose initialisers are harmless.
        let library = unsafe { Library::new(path) }?;
        let mut list = ptr::null_mut();
        // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4).
        let rv = unsafe {
            let function: libloading::Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
                library.get(b"C_GetFunctionList\0")?;
            function(&raw mut list)
        };
        check("C_GetFunctionList", rv)?;
        core::mem::forget(library);
        // SAFETY: the module's own answer, and the module is never unloaded.
        let list =
            unsafe { list.as_ref() }.ok_or_else(|| ModuleError::Missing("function list".to_owned()))?;
        let module = Self { list };
        let mut args = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..CK_C_INITIALIZE_ARGS::default() };
        call!(module, C_Initialize((&raw mut args).cast()))?;
        Ok(module)
    }

    /// The slot of the token with this label.
    pub fn slot(self, label: &str) -> Result<CK_SLOT_ID, ModuleError> {
        let mut slots = [0; 16];
        let mut count = slots.len() as CK_ULONG;
        call!(self, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &raw mut count))?;
        for slot in slots.into_iter().take(count as usize) {
            let mut info = CK_TOKEN_INFO::default();
            call!(self, C_GetTokenInfo(slot, &raw mut info))?;
            if info.label.trim_ascii_end() == label.as_bytes() {
                return Ok(slot);
            }
        }
        Err(ModuleError::Missing(format!("token {label}")))
    }

    /// Reads one attribute, whatever it says.
    pub fn read(
        self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<(), ModuleError> {
        let mut value = [0_u8; 512];
        let mut template = CK_ATTRIBUTE {
            type_: kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        call!(self, C_GetAttributeValue(session, object, &raw mut template, 1))
    }

    /// Opens a session.
    pub fn open(self, slot: CK_SLOT_ID) -> Result<CK_SESSION_HANDLE, ModuleError> {
        let mut session = CK_INVALID_HANDLE;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        call!(self, C_OpenSession(slot, flags, ptr::null_mut(), None, &raw mut session))?;
        Ok(session)
    }

    /// Closes a session.
    pub fn close(self, session: CK_SESSION_HANDLE) -> Result<(), ModuleError> {
        call!(self, C_CloseSession(session))
    }

    /// Logs the user in.
    pub fn login(self, session: CK_SESSION_HANDLE, pin: &[u8]) -> Result<(), ModuleError> {
        call!(self, C_Login(session, CKU_USER, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG))
    }

    /// The first object of this class and label.
    pub fn find(
        self,
        session: CK_SESSION_HANDLE,
        class: CK_OBJECT_CLASS,
        label: &str,
    ) -> Result<CK_OBJECT_HANDLE, ModuleError> {
        let mut class = class;
        let mut template = [
            CK_ATTRIBUTE {
                type_: CKA_CLASS,
                pValue: (&raw mut class).cast(),
                ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
            },
            CK_ATTRIBUTE {
                type_: CKA_LABEL,
                pValue: label.as_ptr().cast_mut().cast(),
                ulValueLen: label.len() as CK_ULONG,
            },
        ];
        call!(self, C_FindObjectsInit(session, template.as_mut_ptr(), template.len() as CK_ULONG))?;
        let mut object = CK_INVALID_HANDLE;
        let mut count = 0;
        call!(self, C_FindObjects(session, &raw mut object, 1, &raw mut count))?;
        call!(self, C_FindObjectsFinal(session))?;
        if count == 1 { Ok(object) } else { Err(ModuleError::Missing(format!("key {label}"))) }
    }

    /// The keys that are measured with.
    pub fn keys(self, session: CK_SESSION_HANDLE) -> Result<Keys, ModuleError> {
        Ok(Keys {
            hmac: self.find(session, CKO_SECRET_KEY, "demo-hmac")?,
            ecdsa: self.find(session, CKO_PRIVATE_KEY, "demo-ec")?,
            rsa: self.find(session, CKO_PRIVATE_KEY, "demo-rsa")?,
            aes: self.find(session, CKO_SECRET_KEY, "demo-aes")?,
        })
    }

    /// Signs a digest with a P-256 key.
    pub fn sign_digest(self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<(), ModuleError> {
        let mut mechanism = plain(CKM_ECDSA);
        let (mut digest, mut signature) = ([0x5a; 32], [0; 64]);
        let mut length = signature.len() as CK_ULONG;
        call!(self, C_SignInit(session, &raw mut mechanism, key))?;
        call!(self, C_Sign(session, digest.as_mut_ptr(), 32, signature.as_mut_ptr(), &raw mut length))
    }

    /// An operation, ready to be carried out again and again on a session that no other thread uses.
    pub fn prepare(self, operation: Operation, session: CK_SESSION_HANDLE, keys: Keys) -> Option<Prepared> {
        let list = self.list;
        let sign = |mechanism, key| {
            let functions = Functions::Pair(list.C_SignInit?, list.C_Sign?);
            Some((functions, plain(mechanism), key, 32))
        };
        let (functions, mechanism, key, input) = match operation {
            Operation::SessionInfo => (Functions::Info(list.C_GetSessionInfo?), plain(0), 0, 0),
            Operation::Random => (Functions::Random(list.C_GenerateRandom?), plain(0), 0, 0),
            Operation::Hmac => sign(CKM_SHA256_HMAC, keys.hmac)?,
            Operation::Ecdsa => sign(CKM_ECDSA, keys.ecdsa)?,
            Operation::Rsa => sign(CKM_RSA_PKCS, keys.rsa)?,
            Operation::AesGcm => {
                (Functions::Pair(list.C_EncryptInit?, list.C_Encrypt?), plain(CKM_AES_GCM), keys.aes, 1024)
            }
        };
        let mut iv = Box::new([0x17; 12]);
        let mut gcm = Box::new(CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: 96,
            ulTagBits: 128,
            ..CK_GCM_PARAMS::default()
        });
        let mechanism = match operation {
            Operation::AesGcm => CK_MECHANISM {
                pParameter: (&raw mut *gcm).cast::<c_void>(),
                ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
                ..mechanism
            },
            _ => mechanism,
        };
        let (input, output) = (vec![0x5a; input], vec![0; 2048]);
        Some(Prepared { functions, session, key, mechanism, input, output, _parameters: (gcm, iv) })
    }
}

fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}

type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type OneShot =
    unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

#[derive(Clone, Copy)]
enum Functions {
    Info(unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_SESSION_INFO) -> CK_RV),
    Random(unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG) -> CK_RV),
    Pair(Init, OneShot),
}

/// An operation with everything it needs.
pub struct Prepared {
    functions: Functions,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    mechanism: CK_MECHANISM,
    input: Vec<CK_BYTE>,
    output: Vec<CK_BYTE>,
    /// What `mechanism` points to, and what that points to.
    _parameters: (Box<CK_GCM_PARAMS>, Box<[CK_BYTE; 12]>),
}

impl Prepared {
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
        }
    }
}
