//! Interfaces (PKCS#11 3.2 section 5.4): those of the real module, and which of them an application may be told of.

use std::ffi::{CStr, c_void};

use cryptoki_sys::*;

/// The name of the interfaces that the standard defines.
pub const STANDARD: &CStr = c"PKCS 11";

/// More than any module offers: a count beyond it is not believed.
const MOST: CK_ULONG = 64;

/// The versions whose function lists the table knows, as major and minor number.
const VERSIONS: [(u8, u8); 4] = [(3, 2), (3, 1), (3, 0), (2, 40)];

/// An interface that stays where it is for the rest of the process's life.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Interface(CK_INTERFACE);

// SAFETY: name and list are never written to, and live as long as the process (`new`).
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

impl Interface {
    /// The interface of the name `name` with the list at `list`.
    ///
    /// # Safety
    /// `list` points to a function list, which begins with its version. It lives as long as the process, and nobody
    /// writes to it.
    pub const unsafe fn new(name: &'static CStr, list: *const c_void) -> Self {
        Self(CK_INTERFACE {
            pInterfaceName: name.as_ptr().cast_mut().cast(),
            pFunctionList: list.cast_mut(),
            // Of a child process, `CKF_INTERFACE_FORK_SAFE` would promise that sessions and logins go on in it. The gate
            // has a child initialise, measure and attest anew.
            flags: 0,
        })
    }

    /// An interface as the real module describes it; `None` where name or list are missing.
    ///
    /// # Safety
    /// The real module gave out `interface`: name and list are NULL, or a string and a list that stay where they are.
    unsafe fn of_module(interface: CK_INTERFACE) -> Option<Self> {
        let is_there = !interface.pInterfaceName.is_null()
            && !interface.pFunctionList.is_null()
            && interface.pFunctionList.cast::<CK_C_Initialize>().is_aligned();
        is_there.then_some(Self(interface))
    }

    /// Its name.
    pub const fn name(&self) -> &'static CStr {
        // SAFETY: names are strings that live as long as the process (`new`, `of_module`).
        unsafe { CStr::from_ptr(self.0.pInterfaceName.cast()) }
    }

    /// Its version, as major and minor number.
    pub const fn version(&self) -> (u8, u8) {
        // SAFETY: lists begin with their version, vendors' own as well (PKCS#11 3.2 section 3.6).
        let version = unsafe { *self.0.pFunctionList.cast::<CK_VERSION>() };
        (version.major, version.minor)
    }

    /// Whether it is one of the standard's.
    pub fn is_standard(&self) -> bool {
        self.name() == STANDARD
    }

    pub(crate) const fn list(&self) -> *mut c_void {
        self.0.pFunctionList
    }

    pub(crate) const fn raw(&self) -> CK_INTERFACE {
        self.0
    }

    pub(crate) const fn flags(&self) -> CK_FLAGS {
        self.0.flags
    }

    pub(crate) const fn as_ptr(&'static self) -> *mut CK_INTERFACE {
        core::ptr::from_ref(&self.0).cast_mut()
    }
}

/// The interfaces that a module gives out by `get_list`, or by `get` where it has nothing better.
///
/// # Safety
/// The functions are the module's `C_GetInterfaceList` and `C_GetInterface`.
pub(crate) unsafe fn of_module(get_list: CK_C_GetInterfaceList, get: CK_C_GetInterface) -> Vec<Interface> {
    // SAFETY: by the promise above.
    let listed = get_list.map(|function| unsafe { listed(function) }).unwrap_or_default();
    if !listed.is_empty() {
        return listed;
    }
    // SAFETY: as above.
    get.map(|function| unsafe { asked_one_by_one(function) }).unwrap_or_default()
}

type GetList = unsafe extern "C" fn(*mut CK_INTERFACE, *mut CK_ULONG) -> CK_RV;
type Get = unsafe extern "C" fn(*mut CK_UTF8CHAR, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

unsafe fn listed(function: GetList) -> Vec<Interface> {
    let mut count: CK_ULONG = 0;
    // SAFETY: a NULL list asks for the number of interfaces.
    if unsafe { function(core::ptr::null_mut(), &raw mut count) } != CKR_OK || count > MOST {
        return Vec::new();
    }
    let none = CK_INTERFACE {
        pInterfaceName: core::ptr::null_mut(),
        pFunctionList: core::ptr::null_mut(),
        flags: 0,
    };
    let mut raw = vec![none; count as usize];
    // SAFETY: there is room for as many interfaces as `count` says.
    if unsafe { function(raw.as_mut_ptr(), &raw mut count) } != CKR_OK {
        return Vec::new();
    }
    raw.truncate(usize::try_from(count).unwrap_or_default());
    // SAFETY: the module has just filled these.
    raw.into_iter().filter_map(|interface| unsafe { Interface::of_module(interface) }).collect()
}

unsafe fn asked_one_by_one(function: Get) -> Vec<Interface> {
    let ask = |(major, minor)| {
        let mut version = CK_VERSION { major, minor };
        let mut place: *mut CK_INTERFACE = core::ptr::null_mut();
        let name = STANDARD.as_ptr().cast_mut().cast();
        // SAFETY: name and version are only read, and `place` is a place for a pointer.
        let rv = unsafe { function(name, &raw mut version, &raw mut place, 0) };
        if rv != CKR_OK || place.is_null() || !place.is_aligned() {
            return None;
        }
        // SAFETY: the module says that an interface is there.
        let interface = unsafe { Interface::of_module(*place) }?;
        // Some modules give their default, whatever they are asked for.
        (interface.version() == (major, minor)).then_some(interface)
    };
    VERSIONS.into_iter().filter_map(ask).collect()
}

/// Of `ours` and of what the real module offers, what an application is told of: our own of those versions of the
/// standard's interface that the real module has, and of the others those that are named in `vendors`, as they are.
pub fn offered(
    ours: &'static [Interface],
    real: &'static [Interface],
    vendors: &[String],
) -> Vec<&'static Interface> {
    let has = |version: (u8, u8)| {
        // Every module has the list of C_GetFunctionList.
        version.0 == 2 || real.iter().any(|real| real.is_standard() && real.version() == version)
    };
    let is_named = |interface: &&Interface| {
        !interface.is_standard()
            && interface.name().to_str().is_ok_and(|name| vendors.iter().any(|vendor| vendor == name))
    };
    let standard = ours.iter().filter(|ours| has(ours.version()));
    standard.chain(real.iter().filter(is_named)).collect()
}
