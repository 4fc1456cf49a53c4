//! The vendor's module: loaded once, never unloaded, reached only with a permit.

use core::hint::cold_path;
use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use cryptoki_sys::*;
use pkcs11_table::Function;

use crate::calls::{self, Call, Covers as _};
use crate::error::{ModuleError, check};
use crate::interfaces::{self, Interface};
use crate::lists::Lists;
use crate::own_functions::own_functions;
use crate::published::Published;
use crate::turns::{Turn, Turns};

/// The vendor's module.
///
/// Its lists stay readable for the rest of the process's life, since the module is never unloaded.
#[derive(Clone, Copy)]
pub struct RealModule {
    lists: Lists,
    interfaces: &'static [Interface],
    turns: Option<&'static dyn Turns>,
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
        let symbol = |name: &CStr| {
            // SAFETY: `library` is a handle that dlopen gave out and that is never closed.
            let address = unsafe { libc::dlsym(library, name.as_ptr()) };
            match address.is_null() {
                true => Ok(None),
                false if same_object(address, ours) => Err(ModuleError::Ourselves(path.into())),
                false => Ok(Some(address)),
            }
        };
        let get_function_list =
            symbol(c"C_GetFunctionList")?.ok_or_else(|| ModuleError::NotAModule(path.into()))?;
        // SAFETY: a symbol of this name has this type (PKCS#11 2.40 section 5.4).
        let list =
            unsafe { function_list(get_function_list) }.ok_or_else(|| ModuleError::NoList(path.into()))?;
        let (get_interface_list, get_interface) =
            (symbol(c"C_GetInterfaceList")?, symbol(c"C_GetInterface")?);
        // SAFETY: a symbol of this name has this type (PKCS#11 3.2 section 5.4).
        let get_interface_list = get_interface_list
            .map(|address| unsafe { core::mem::transmute::<*mut c_void, GetInterfaceList>(address) });
        // SAFETY: as above.
        let get_interface = get_interface
            .map(|address| unsafe { core::mem::transmute::<*mut c_void, GetInterface>(address) });
        // SAFETY: the functions are what they are called.
        let interfaces = unsafe { interfaces::of_module(get_interface_list, get_interface) };
        let lists = own_functions(Lists::of(list, &interfaces), library, get_function_list, ours)
            .ok_or_else(|| ModuleError::Ourselves(path.into()))?;
        Ok(Self { lists, interfaces: lasting(interfaces), turns: None })
    }

    /// The same, each of whose calls waits for its turn.
    pub fn with_turns(self, turns: Option<&'static dyn Turns>) -> Self {
        Self { turns, ..self }
    }

    /// Waits for the turn of a call, where that is needed. One that waits for a slot event would keep all others waiting.
    #[inline]
    pub(crate) fn turn(&self, function: Function) -> Option<Turn> {
        let turns = self.turns.filter(|_| function != Function::C_WaitForSlotEvent)?;
        cold_path();
        Some(Turn::wait(turns, function))
    }

    /// The interfaces that it offers, vendors' own included.
    pub const fn interfaces(&self) -> &'static [Interface] {
        self.interfaces
    }

    /// The versions of the standard's interfaces that it offers, as major and minor number.
    pub fn versions(&self) -> Vec<(u8, u8)> {
        self.interfaces.iter().filter(|interface| interface.is_standard()).map(Interface::version).collect()
    }

    /// Forwards a call that was permitted.
    #[inline]
    pub fn invoke<C: Call>(&self, permit: C::Permit, call: C) -> CK_RV {
        if !permit.covers(C::FUNCTION) {
            return CKR_GENERAL_ERROR;
        }
        let _turn = self.turn(C::FUNCTION);
        // SAFETY: the lists are the real module's (`load`).
        unsafe { call.forward(&self.lists) }
    }

    /// Forwards `C_GetInfo` to the newest list: where an application has an interface of 3.x, that is whose version it is
    /// told. Some modules tell those that have the list of `C_GetFunctionList` another.
    pub fn newest_info(&self, call: calls::C_GetInfo) -> CK_RV {
        let _turn = self.turn(Function::C_GetInfo);
        let Lists { v2_40, v3_0, v3_2 } = self.lists;
        let newest = v3_2.and_then(|list| list.C_GetInfo).or_else(|| v3_0.and_then(|list| list.C_GetInfo));
        match newest.or(v2_40.C_GetInfo) {
            // SAFETY: the argument is the caller's own (`from_caller`).
            Some(function) => unsafe { function(call.info) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    }

    /// Whether it has functions of 3.0 or later.
    pub const fn is_of_3(&self) -> bool {
        self.lists.v3_0.is_some() || self.lists.v3_2.is_some()
    }

    /// Forwards `C_Initialize`, with `reserved` in `CK_C_INITIALIZE_ARGS.pReserved` where it is configured.
    pub fn initialize(&self, call: calls::C_Initialize, reserved: Option<&CStr>) -> CK_RV {
        let Some(function) = self.lists.v2_40.C_Initialize else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        let Some(reserved) = reserved else {
            // SAFETY: the argument is the caller's own (`from_caller`).
            return unsafe { function(call.init_args) };
        };
        let mut args = call.args().unwrap_or_default();
        args.pReserved = reserved.as_ptr().cast_mut().cast();
        // SAFETY: `args` outlives the call, and `reserved` is NUL-terminated as modules that take it expect.
        unsafe { function((&raw mut args).cast()) }
    }

    /// Initialises it in a process that is not an application's, whose threads the system's locks keep apart, with `reserved` in
    /// `CK_C_INITIALIZE_ARGS.pReserved` where it is configured.
    ///
    /// # Errors
    /// [`ModuleError::Failed`].
    pub fn initialize_for_threads(&self, reserved: Option<&CStr>) -> Result<(), ModuleError> {
        const NAME: &str = "C_Initialize";
        let function = self.lists.v2_40.C_Initialize;
        let function =
            function.ok_or(ModuleError::Failed { function: NAME, rv: CKR_FUNCTION_NOT_SUPPORTED })?;
        let mut args = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            pReserved: reserved.map_or(ptr::null_mut(), |reserved| reserved.as_ptr().cast_mut().cast()),
            ..CK_C_INITIALIZE_ARGS::default()
        };
        let _turn = self.turn(Function::C_Initialize);
        // SAFETY: `args` outlives the call, and `reserved` is NUL-terminated as modules that take it expect.
        check(NAME, unsafe { function((&raw mut args).cast()) })
    }

    /// Ends, in a forked child, what the module has copied from the parent; or what the module itself wants ended.
    pub fn finalize_parents(&self) -> CK_RV {
        let Some(function) = self.lists.v2_40.C_Finalize else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: NULL is the only argument that the standard knows.
        unsafe { function(ptr::null_mut()) }
    }

    pub(crate) const fn list(&self) -> &'static CK_FUNCTION_LIST {
        self.lists.v2_40
    }

    pub(crate) const fn lists(&self) -> Lists {
        self.lists
    }
}

/// The same for the rest of the process's life; kept once for all times that a module is loaded.
fn lasting(interfaces: Vec<Interface>) -> &'static [Interface] {
    static KEPT: Published<Vec<Interface>> = Published::new();
    match KEPT.get() {
        Some(kept) if *kept == interfaces => kept,
        _ => KEPT.publish(Box::new(interfaces)),
    }
}

type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
type GetInterfaceList = unsafe extern "C" fn(*mut CK_INTERFACE, *mut CK_ULONG) -> CK_RV;
type GetInterface =
    unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

/// The list that `C_GetFunctionList`, at `address`, gives; `None` where it gives none that can be used.
///
/// # Safety
/// The function at `address` is a module's `C_GetFunctionList`.
unsafe fn function_list(address: *mut c_void) -> Option<&'static CK_FUNCTION_LIST> {
    // SAFETY: by the promise above.
    let function = unsafe { core::mem::transmute::<*mut c_void, GetFunctionList>(address) };
    let mut list = ptr::null_mut();
    // SAFETY: the argument is a place for one pointer.
    let rv = unsafe { function(&raw mut list) };
    if rv != CKR_OK || list.is_null() || !list.is_aligned() {
        return None;
    }
    // SAFETY: the module says that its list is there, and a module's list lives as long as the module.
    let list: &'static CK_FUNCTION_LIST = unsafe { &*list };
    // Some modules give the list of their newest interface here, which begins alike.
    matches!(list.version.major, 2 | 3).then_some(list)
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
