//! The vendor's module: loaded once, never unloaded, reached only with a permit.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use cryptoki_sys::*;

use crate::calls::{self, Call, Covers as _};
use crate::error::ModuleError;
use crate::own_functions::own_functions;

/// The vendor's module.
///
/// The list stays readable for the rest of the process's life, since the module is never unloaded.
#[derive(Clone, Copy)]
pub struct RealModule {
    list: &'static CK_FUNCTION_LIST,
}

impl RealModule {
    /// Loads the module at `path`, also where this library has been preloaded and answers the application's `dlopen`
    /// of it. `ours` is a function of this library: a module whose functions lie in the same file is refused.
    ///
    /// # Errors
    /// The module cannot be loaded, is no PKCS#11 module, or is Trustshim itself.
    pub fn load(path: &Path, ours: *const c_void) -> Result<Self, ModuleError> {
        let c_path =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| ModuleError::BadPath(path.into()))?;
        let library = linux_ffi::loader::Library::load(&c_path)
            .map_err(|message| ModuleError::NotLoaded { path: path.into(), message })?
            .handle();
        // SAFETY: `library` is a handle that dlopen gave out and that is never closed.
        let symbol = unsafe { libc::dlsym(library, c"C_GetFunctionList".as_ptr()) };
        if symbol.is_null() {
            return Err(ModuleError::NotAModule(path.into()));
        }
        if same_object(symbol, ours) {
            return Err(ModuleError::Ourselves(path.into()));
        }
        // SAFETY: a symbol of this name has this type (PKCS#11 2.40 section 5.4).
        let get_function_list = unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(
                symbol,
            )
        };
        let mut list = ptr::null_mut();
        // SAFETY: the argument is a place for one pointer.
        let rv = unsafe { get_function_list(&raw mut list) };
        if rv != CKR_OK || list.is_null() || !list.is_aligned() {
            return Err(ModuleError::NoList(path.into()));
        }
        // SAFETY: the module says that its list is there, and a module's list lives as long as the module.
        let list: &'static CK_FUNCTION_LIST = unsafe { &*list };
        if list.version.major != 2 {
            return Err(ModuleError::NoList(path.into()));
        }
        let list =
            own_functions(list, library, symbol, ours).ok_or_else(|| ModuleError::Ourselves(path.into()))?;
        Ok(Self { list })
    }

    /// Forwards a call that was permitted.
    #[inline]
    pub fn invoke<C: Call>(&self, permit: C::Permit, call: C) -> CK_RV {
        if !permit.covers(C::FUNCTION) {
            return CKR_GENERAL_ERROR;
        }
        // SAFETY: the list is the real module's (`load`).
        unsafe { call.forward(self.list) }
    }

    /// Forwards `C_Initialize`, with `reserved` in `CK_C_INITIALIZE_ARGS.pReserved` where it is configured.
    pub fn initialize(&self, call: calls::C_Initialize, reserved: Option<&CStr>) -> CK_RV {
        let Some(function) = self.list.C_Initialize else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        let Some(reserved) = reserved else {
            // SAFETY: the argument is the caller's own (`from_caller`).
            return unsafe { function(call.init_args) };
        };
        let mut args = if call.init_args.is_null() {
            CK_C_INITIALIZE_ARGS::default()
        } else {
            // SAFETY: a pointer that is not NULL points to this structure (PKCS#11 2.40 section 5.4), by the
            // caller's promise; it may be unaligned where the caller packs its structures.
            unsafe { call.init_args.cast::<CK_C_INITIALIZE_ARGS>().read_unaligned() }
        };
        args.pReserved = reserved.as_ptr().cast_mut().cast();
        // SAFETY: `args` outlives the call, and `reserved` is NUL-terminated as modules that take it expect.
        unsafe { function((&raw mut args).cast()) }
    }

    /// Ends, in a forked child, what the module has copied from the parent; or what the module itself wants ended.
    pub fn finalize_parents(&self) -> CK_RV {
        let Some(function) = self.list.C_Finalize else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: NULL is the only argument that the standard knows.
        unsafe { function(ptr::null_mut()) }
    }

    pub(crate) const fn list(&self) -> &'static CK_FUNCTION_LIST {
        self.list
    }
}

/// Whether two addresses lie in the same loaded file.
pub(crate) fn same_object(one: *const c_void, other: *const c_void) -> bool {
    match (base(one), base(other)) {
        (Some(one), Some(other)) => one == other,
        // An address in no file at all is not a module's function.
        _ => true,
    }
}

fn base(address: *const c_void) -> Option<usize> {
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: dladdr takes any address and fills `info` where it answers with other than 0.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: filled, as just checked.
    (found != 0).then(|| unsafe { info.assume_init() }.dli_fbase.addr())
}
