//! A PKCS#11 module as a C application uses it: loaded by its path, called through the list of `C_GetFunctionList`, and for
//! what is newer through that of `C_GetInterface`. Here and in `prepared.rs` alone the benchmark has unsafe code.

mod prepared;

use std::path::Path;
use std::ptr;

use cryptoki_sys::*;
use libloading::{Library, Symbol};

pub use prepared::{Prepared, checked};

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
    /// Of its interface of version 3.2.
    list_3_2: Option<&'static CK_FUNCTION_LIST_3_2>,
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

type GetInterface =
    unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

/// The list of the module's interface of version 3.2, where it has one.
fn list_3_2(library: &Library) -> Option<&'static CK_FUNCTION_LIST_3_2> {
    let mut version = CK_VERSION { major: 3, minor: 2 };
    let mut interface: *mut CK_INTERFACE = ptr::null_mut();
    let name = c"PKCS 11".as_ptr().cast_mut().cast();
    // SAFETY: the symbol has this type in every module that has it (PKCS#11 3.2 section 5.4); name and version are only
    // read, and there is a place for the answer.
    let rv = unsafe {
        let function: Symbol<'_, GetInterface> = library.get(b"C_GetInterface\0").ok()?;
        function(name, &raw mut version, &raw mut interface, 0)
    };
    if rv != CKR_OK {
        return None;
    }
    // SAFETY: the module's own answer, and the module is never unloaded; lists begin with their version.
    let (list, given) = unsafe {
        let list = interface.as_ref()?.pFunctionList;
        (list, *list.cast::<CK_VERSION>().as_ref()?)
    };
    // Some modules give their default, whatever they are asked for.
    if (given.major, given.minor) != (3, 2) {
        return None;
    }
    // SAFETY: the list of an interface of this version has this layout.
    unsafe { list.cast::<CK_FUNCTION_LIST_3_2>().as_ref() }
}

impl Module {
    /// Loads and initialises the module, for several threads.
    pub fn load(path: &Path) -> Result<Self, ModuleError> {
        let module = Self::open(path)?;
        module.initialize()?;
        Ok(module)
    }

    /// Initialises it.
    pub fn initialize(self) -> Result<(), ModuleError> {
        let mut args = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..CK_C_INITIALIZE_ARGS::default() };
        call!(self, C_Initialize((&raw mut args).cast()))
    }

    /// Loads it.
    pub fn open(path: &Path) -> Result<Self, ModuleError> {
        // SAFETY: whoever runs the benchmark names a PKCS#11 module, whose initialisers are harmless.
        let library = unsafe { Library::new(path) }?;
        let mut list = ptr::null_mut();
        // SAFETY: the symbol has this type in every PKCS#11 module (PKCS#11 2.40 section 5.4).
        let rv = unsafe {
            let function: Symbol<'_, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
                library.get(b"C_GetFunctionList\0")?;
            function(&raw mut list)
        };
        check("C_GetFunctionList", rv)?;
        let list_3_2 = list_3_2(&library);
        core::mem::forget(library);
        // SAFETY: the module's own answer, and the module is never unloaded.
        let list =
            unsafe { list.as_ref() }.ok_or_else(|| ModuleError::Missing("function list".to_owned()))?;
        Ok(Self { list, list_3_2 })
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
    pub fn session(self, slot: CK_SLOT_ID) -> Result<CK_SESSION_HANDLE, ModuleError> {
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

    /// Begins a signature with a P-256 key.
    pub fn begin_signature(
        self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Result<(), ModuleError> {
        let mut mechanism = plain(CKM_ECDSA);
        call!(self, C_SignInit(session, &raw mut mechanism, key))
    }

    /// Signs a digest with a P-256 key.
    pub fn sign_digest(self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Result<(), ModuleError> {
        self.begin_signature(session, key)?;
        let (mut digest, mut signature) = ([0x5a; 32], [0; 64]);
        let mut length = signature.len() as CK_ULONG;
        call!(self, C_Sign(session, digest.as_mut_ptr(), 32, signature.as_mut_ptr(), &raw mut length))
    }
}

fn plain(mechanism: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}
